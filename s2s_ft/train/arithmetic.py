"""On what a training run computes, and with which kernels."""

from __future__ import annotations

import logging

import torch

from s2s_ft.model.large_pages import use_large_pages
from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.native.trial import is_available
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import TrainOptions
from s2s_ft.train.distributed import World
from s2s_ft.train.precision import Precision, choose_precision
from s2s_ft.train.sharding import check_torch

logger = logging.getLogger(__name__)

TORCHS = "torch's operations"


def attention_of(model: Seq2SeqModel, device: torch.device) -> str:
    """What computes attention, in words: the kernel of our own draws other dropout masks.

    Args:
        model: One with a bias that learns leaves attention to autograd.
        device: Where it is trained.
    """
    is_ours = device.type == "cpu" and model.relative_position_bias is None and is_available()
    return "a compiled kernel" if is_ours else TORCHS


def choose_arithmetic(options: TrainOptions, world: World) -> Precision:
    """The GPU if there is one and it may be used, else the CPU; and the precision on it."""
    runtime = options.runtime
    on_gpu = torch.cuda.is_available() and not runtime.no_cuda
    device = torch.device("cuda", world.local_rank) if on_gpu else torch.device("cpu")
    if runtime.fsdp and world.size > 1:
        check_torch(device, looks=options.validation.dev_file is not None)
    precision = choose_precision(
        device, fp16=runtime.fp16, bf16=runtime.bf16, fp16_opt_level=runtime.fp16_opt_level
    )
    ranks = f"{world.size} processes, this one" if world.size > 1 else "training"
    if on_gpu:
        name = torch.cuda.get_device_name(device)
        logger.info("%s on %s (%s), %s", ranks, device, name, precision.name)
    else:
        keep_freed_memory()
        use_large_pages()
        products = fast_float32_matmul()
        logger.info(
            "%s on the CPU, %d threads, %s (matmul %s)",
            ranks,
            torch.get_num_threads(),
            precision.name,
            products,
        )
        is_available()  # has attention's kernel compiled now, and told if that cannot be
    return precision
