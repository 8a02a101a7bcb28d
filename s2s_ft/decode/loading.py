"""What decodes, and where: the checkpoint's model, its tokenizer, its method, and the device.

Notable: what a checkpoint says of itself is taken from there; a flag only overrides it. The source
room is a matter of the run, not of the batch: `--max_seq_length` less `--max_tgt_length` tokens,
special ones included, so that the longest target always has a position behind the longest source.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from s2s_ft.decode.identity import weights_of
from s2s_ft.methods import Method, method_named
from s2s_ft.model.heads import head_modules
from s2s_ft.model.int8 import quantize_linear_layers
from s2s_ft.model.memory import keep_freed_memory
from s2s_ft.model.packed import pack_linear_layers
from s2s_ft.model.positions import num_positions
from s2s_ft.model.precision import fast_float32_matmul
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.options import DecodeOptions
from s2s_ft.options.decode import DecodeRuntimeOptions
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)

UNKNOWN_SEQUENCE_LENGTH, UNKNOWN_TARGET_LENGTH = 512, 128
"""The original's defaults, for checkpoints that do not know the lengths of their training."""


@dataclass(frozen=True)
class FineTuned:
    """A checkpoint made ready.

    Attributes:
        model: on the device, in evaluation mode.
        codec: its tokenizer.
        method: its method, with the lengths of this run.
        tokenizer: folder or hub name that the tokenizer was loaded from.
        do_lower_case: the casing that it was loaded with; None = as its files say.
        weights: SHA-256 of its weights, as its files hold them.
    """

    model: Seq2SeqModel
    codec: TextCodec
    method: Method
    tokenizer: str
    do_lower_case: bool | None
    weights: str = ""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def fitted(self, options: DecodeOptions) -> FineTuned:
        """The same checkpoint with the lengths of other options.

        Raises:
            ValueError: there is no room for them.
        """
        target = _longest_target(self.model, options)
        source = _sequence_room(self.model, options) - target
        method = replace(self.method, max_source_length=source, max_target_length=target)
        return replace(self, method=method)


def find_checkpoints(model_path: str) -> list[str]:
    """The checkpoints that `--model_path` names.

    Returns:
        The folder or hub id, or every checkpoint folder that fits the pattern, sorted by name.

    Raises:
        ValueError: a pattern that no checkpoint folder fits.
    """
    if Path(model_path).is_dir() or not has_magic(model_path):
        return [model_path]
    found = [name for name in sorted(glob(model_path)) if (Path(name) / "config.json").is_file()]
    if not found:
        raise ValueError(f"--model_path: no checkpoint folder fits {model_path}")
    return found


def choose_device(options: DecodeRuntimeOptions, number: int | None = None) -> torch.device:
    """CUDA where there is one, unless `--no_cuda`.

    Args:
        options: The device and the number format.
        number: Which of several processes this is: they take the GPUs in turn. None for one
            process: torch's current GPU.

    Raises:
        ValueError: a number format that the device does not have.
    """
    if torch.cuda.is_available() and not options.no_cuda:
        if options.int8:
            raise ValueError("--int8 is for CPUs: give --no_cuda, too, or --bf16 in its place")
        if number is None:
            return torch.device("cuda")
        torch.cuda.set_device(number % torch.cuda.device_count())
        return torch.device("cuda", torch.cuda.current_device())
    if options.fp16:
        raise ValueError("--fp16 needs a CUDA device; give --bf16 to compute faster on a CPU")
    return torch.device("cpu")


class NumberFormat(Protocol):
    """Options that say in which numbers is computed."""

    @property
    def fp16(self) -> bool:
        """`--fp16`."""

    @property
    def bf16(self) -> bool:
        """`--bf16`."""

    @property
    def int8(self) -> bool:
        """`--int8`."""


def tell_place(
    device: torch.device, numbers: NumberFormat, *, ranks: int = 1, workers: int = 1
) -> None:
    """Log where the model computes and in which numbers: nobody shall wait for a CPU unawares.

    Args:
        device: Of this process.
        numbers: The number format.
        ranks: Processes of a launcher.
        workers: Of `--workers`.
    """
    told = {"float16": numbers.fp16, "bfloat16": numbers.bf16, "8-bit integers": numbers.int8}
    chosen = next((name for name, is_chosen in told.items() if is_chosen), "float32")
    on_gpu = device.type == "cuda"
    if workers > 1:
        place = f"the GPUs ({torch.cuda.device_count()})" if on_gpu else "the CPU"
        processes = f"{workers} workers "
    else:
        place = _gpu_named(device) if on_gpu else f"the CPU, {torch.get_num_threads()} threads"
        processes = f"{ranks} processes, this one " if ranks > 1 else ""
    logger.info("decoding: %son %s, %s", processes, place, chosen)


def _gpu_named(device: torch.device) -> str:
    index = torch.cuda.current_device() if device.index is None else device.index
    return f"cuda:{index} ({torch.cuda.get_device_name(index)})"


def make_ready(device: torch.device) -> None:
    """Give a process whose business is decoding the memory and the products that suit it."""
    if device.type == "cpu":
        keep_freed_memory()
        fast_float32_matmul()


def autocast(options: DecodeRuntimeOptions, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the number format of `--fp16` or `--bf16` is used."""
    if options.fp16 or options.bf16:
        return torch.autocast(device.type, dtype=torch.float16 if options.fp16 else torch.bfloat16)
    return nullcontext()


def load(name: str, options: DecodeOptions, device: torch.device) -> FineTuned:
    """Load a checkpoint and settle what its own settings and the flags say.

    Args:
        name: folder or hub id.
        options: all options of the run.
        device: where the model goes.

    Raises:
        ValueError: the checkpoint or tokenizer cannot be loaded, they do not fit each other, or
            there is no room for `--max_tgt_length`.
    """
    flags = options.model
    torch.manual_seed(options.runtime.seed)  # only weights that the checkpoint lacks are drawn
    model = load_finetuned(name, config_path=flags.config_path, cache_dir=flags.cache_dir)
    _warn_of_untrained_head(model, name)
    tokenizer = flags.tokenizer_name or name
    lower = True if flags.do_lower_case else model.settings.do_lower_case
    codec = TextCodec.load(
        tokenizer,
        do_lower_case=lower,
        cache_dir=flags.cache_dir,
        flag="--tokenizer_name" if flags.tokenizer_name else "--model_path",
    )
    embeddings = model.encoder.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    codec = codec.with_vocab_size(embeddings.num_embeddings)  # which fails if they do not fit
    method = method_named(
        _method_name(model, pos_shift=flags.pos_shift),
        special=codec.special,
        max_source_length=_sequence_room(model, options) - _longest_target(model, options),
        max_target_length=_longest_target(model, options),
    )
    weights = weights_of(model)
    model = _in_its_format(model.to(device).eval(), options.runtime)
    return FineTuned(model, codec, method, tokenizer, lower, weights)


def _in_its_format(model: Seq2SeqModel, options: DecodeRuntimeOptions) -> Seq2SeqModel:
    """The model in the number format of `--fp16`, `--bf16` or `--int8`, and on a CPU with weights
    in the order of its products; autocast alone would make the weights anew at every step.
    """
    if options.fp16:
        return model.half()
    if options.int8:
        if quantize_linear_layers(model) == 0:
            logger.warning(
                "--int8: encoders of type '%s' have no layers that could be put into 8 bits: "
                "decoding in float32",
                model.encoder.config.model_type,
            )
        return model
    if options.bf16:
        model = model.bfloat16()
    if model.device.type == "cpu" and not options.torch_compile:  # graphs know no packed weights
        pack_linear_layers(model)
    return model


def _warn_of_untrained_head(model: Seq2SeqModel, name: str) -> None:
    """Say so where the head's transform is still what `initialize_fresh_head` makes it."""
    decoder = model.encoder.get_output_embeddings()
    for where, module in head_modules(model.encoder):
        if module is decoder or not isinstance(module, nn.Linear):
            continue
        if torch.equal(module.weight, torch.eye(*module.weight.shape)):
            logger.warning(
                "%s: its output head (%s) was never trained, so expect word salad; is it a "
                "checkpoint from before the first update?",
                name,
                where,
            )


def _method_name(model: Seq2SeqModel, *, pos_shift: bool) -> str:
    own = model.settings.method
    if pos_shift and own != "causal":
        logger.warning(
            "--pos_shift: decoding as causal, though the checkpoint was fine-tuned as %s", own
        )
        return "causal"
    return own


def _longest_target(model: Seq2SeqModel, options: DecodeOptions) -> int:
    """`--max_tgt_length`, or what the checkpoint was fine-tuned with.

    Raises:
        ValueError: `--min_len` is more than that.
    """
    known = model.settings.max_target_length
    longest = options.search.max_tgt_length or known or UNKNOWN_TARGET_LENGTH
    if (options.search.min_len or 0) > longest:
        raise ValueError(
            f"--min_len {options.search.min_len} is more than the longest output, {longest} "
            "tokens: lower it or raise --max_tgt_length"
        )
    return longest


def _sequence_room(model: Seq2SeqModel, options: DecodeOptions) -> int:
    """Positions that source and target share.

    `--max_seq_length`, or the lengths of training, or what the model has if that is less.

    Raises:
        ValueError: no source fits beside the longest target.
    """
    longest_target = _longest_target(model, options)
    known = model.settings.max_source_length
    wanted = options.data.max_seq_length or (
        UNKNOWN_SEQUENCE_LENGTH if known is None else known + longest_target
    )
    if wanted < longest_target + 3:
        raise ValueError(
            f"--max_seq_length {wanted} leaves no room for a source beside outputs of "
            f"{longest_target} tokens: raise it or lower --max_tgt_length"
        )
    available = num_positions(model.encoder)
    if available is None or available >= wanted:
        return wanted
    if available < longest_target + 3:  # [CLS], one token, [SEP]
        raise ValueError(
            f"--max_tgt_length {longest_target} leaves no room for a source in --max_seq_length, "
            f"which is the model's {available} positions at most: give at most {available - 3}"
        )
    logger.warning(
        "--max_seq_length %d is more than the %d positions of the model: using %d",
        wanted,
        available,
        available,
    )
    return available
