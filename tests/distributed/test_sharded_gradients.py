"""What FSDP2 leaves on each rank between the micro-batches of an update."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from s2s_ft.model.pretrained import load_for_training
from s2s_ft.options.model import ModelOptions
from s2s_ft.text import TextCodec
from s2s_ft.train.distributed import wrap
from s2s_ft.train.launch import join
from s2s_ft.train.step import _gradient_exchange
from tests.distributed.ranks import together
from tests.distributed.test_training import SHARDS
from tests.unit.model.test_attention import batch_of


def pass_back_twice(folder: Path) -> int:
    options = ModelOptions(model_name_or_path=str(folder), dropout=0.0)
    codec = TextCodec.load(str(folder))
    with join(local_rank=-1, on_gpu=False) as world:
        model = load_for_training(options, codec, max_source_length=24, max_target_length=10)
        network = wrap(model, world, torch.device("cpu"), fsdp=True)
        assert isinstance(network, FSDPModule)
        for is_last in (False, True):
            with _gradient_exchange(network, wanted=is_last):
                network(batch_of(6, 4, pseudo=True), 0.1, 1.0).backward()
            gradients = [weight.grad for weight in network.parameters()]
            parts = [each.to_local() for each in gradients if isinstance(each, DTensor)]
            assert len(parts) == len(gradients), "some are kept whole on every rank"
            known = sum(float(part.square().sum()) for part in parts)
            if not is_last:
                first = known
        assert abs(known / first - 4.0) < 1e-4, "both passes count"
    return 0


@SHARDS
def test_gradients_are_never_whole_on_a_rank(
    tiny_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    ended = together(partial(pass_back_twice, tiny_checkpoint("bert")), 2, tmp_path)
    assert [each.code for each in ended] == [0, 0], ended
