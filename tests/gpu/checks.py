"""What the simulated GPU must notice; run by `test_device.py` in a process that has one.

python -m tests.gpu.checks > faults.json
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.gpu.process import simulate_gpus
from tests.gpu.queue import RUBBISH, devices
from tests.gpu.tensors import MixedDevicesError, SlowAttentionError, waits


def waits_of(act: Callable[[], object]) -> int:
    """How often the host waits for something."""
    waits.clear()
    act()
    return sum(waits.values())


def check_mixed_devices_are_refused() -> None:
    """As by CUDA: numbers of the host may take part, tensors of it may not."""
    on_gpu = torch.ones(3, device="cuda")
    assert (on_gpu * torch.tensor(2.0)).tolist() == [2.0, 2.0, 2.0]
    for other in (torch.ones(3), torch.ones(3, device="cuda:1")):
        with pytest.raises(MixedDevicesError, match="several devices"):
            on_gpu + other
    with pytest.raises(MixedDevicesError):
        torch.ones(3) + on_gpu.sum()
    with pytest.raises(MixedDevicesError):
        nn.Linear(3, 2).to("cuda")(torch.ones(1, 3))


def check_a_wait_is_a_wait() -> None:
    """Whatever makes the host stop until the device has come so far."""
    numbers = torch.arange(4.0, device="cuda")
    mask, host = numbers > 1, torch.tensor([0, 2])
    for act in (
        numbers.sum().item,
        numbers.tolist,
        numbers.cpu,
        lambda: bool(mask.any()),
        lambda: numbers[mask],
        lambda: numbers[host],
        lambda: mask.nonzero(),
        lambda: torch.tensor([1.0], device="cuda"),
        lambda: host.to("cuda"),
        lambda: host.to("cuda", non_blocking=True),  # not from memory that the system may move
        lambda: host.pin_memory().to("cuda"),
        lambda: torch.empty(4, pin_memory=True).copy_(numbers),
    ):
        assert waits_of(act) == 1


def check_what_is_no_wait() -> None:
    """Work that the device does by itself."""
    numbers, places = torch.arange(4.0, device="cuda"), torch.zeros(2, device="cuda").long()
    for act in (
        lambda: numbers.softmax(0) @ numbers,
        lambda: numbers[places],
        lambda: torch.zeros(3, device="cuda"),
        lambda: torch.tensor([1.0]).pin_memory().to("cuda", non_blocking=True),
        lambda: torch.empty(4, pin_memory=True).copy_(numbers, non_blocking=True),
    ):
        assert waits_of(act) == 0


def check_numbers_arrive_with_the_event_behind_them() -> None:
    """And with no event of another device; what is changed afterwards does not arrive."""
    numbers = torch.arange(3.0, device="cuda:1")
    host = torch.empty(3, pin_memory=True)
    host.copy_(numbers, non_blocking=True)
    numbers += 1
    other, own = torch.cuda.Event(), torch.cuda.Event()
    other.record()
    assert other.query()
    other.synchronize()
    assert host.tolist() == [RUBBISH] * 3
    own.record(torch.cuda.current_stream(numbers.device))
    assert not own.query()
    own.synchronize()
    assert host.tolist() == [0.0, 1.0, 2.0]


def check_an_event_behind_another_happens_after_it() -> None:
    """Whoever waits for the second may read what the first stands behind, not the other way."""
    host = [torch.empty(1, pin_memory=True) for _ in range(2)]
    events = [torch.cuda.Event() for _ in range(2)]
    for number, (place, event) in enumerate(zip(host, events, strict=True)):
        place.copy_(torch.full((1,), float(number), device="cuda"), non_blocking=True)
        event.record()
    events[0].synchronize()
    assert [place.item() for place in host] == [0.0, RUBBISH]
    host[0].copy_(torch.full((1,), 2.0, device="cuda"), non_blocking=True)
    torch.cuda.current_stream().record_event().synchronize()
    assert [place.item() for place in host] == [2.0, 1.0]


def check_what_nccl_cannot_send() -> None:
    """What lies on another GPU than that of the process, or in pieces; the host's goes by gloo."""
    numbers = torch.arange(6.0, device="cuda").view(2, 3)
    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for good in (numbers, torch.ones(2)):
            dist.all_reduce(good)
        for bad in (numbers.t(), numbers.to("cuda:1")):
            with pytest.raises(MixedDevicesError, match="allreduce_ from cuda:0 of cuda:"):
                dist.all_reduce(bad)
    finally:
        dist.destroy_process_group()


def check_gradients_and_ties() -> None:
    """A module on the device learns as one on the host."""
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        words, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        head.weight = words.weight
        model = nn.ModuleList([words, head]).to(device)
        assert words.weight is head.weight
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        head(words(torch.tensor([1, 2], device=device))).logsumexp(-1).sum().backward()
        optimizer.step()
        found.append(words.weight.detach().cpu())
    torch.testing.assert_close(*found)
    assert found[0].device.type == "cpu"


def check_autocast() -> None:
    """Products in the lower precision, norms in float32, gradients in the type of the weights."""
    layer, norm = nn.Linear(4, 4).to("cuda"), nn.LayerNorm(4).to("cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        product = layer(torch.ones(2, 4, device="cuda"))
        assert product.dtype is torch.bfloat16
        normed = norm(product)
    assert normed.dtype is torch.float32
    normed.square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype is torch.float32
    assert layer.half().weight.dtype is torch.float16


def check_kernels_that_are_the_same_every_time() -> None:
    """What has no such kernel is refused where they are asked for."""
    numbers = torch.rand(4, device="cuda")
    torch.use_deterministic_algorithms(True)
    try:
        for act in (lambda: numbers.cumsum(0), lambda: numbers.median(0)):
            with pytest.raises(RuntimeError, match="deterministic implementation"):
                act()
        (numbers > 0.5).long().cumsum(0)
        numbers.sum().sqrt()
    finally:
        torch.use_deterministic_algorithms(False)


def check_attention_that_cuda_would_do_the_slow_way() -> None:
    """By plain products where keys of the mask do not lie side by side, or with a copy of it."""
    query = torch.rand(2, 4, 16, 8, device="cuda")
    mask = torch.zeros(2, 1, 16, 16, device="cuda")
    attend = nn.functional.scaled_dot_product_attention
    for good in (mask, mask[:, :, -1:], mask.expand(-1, 4, -1, -1)):
        attend(query[:, :, : good.shape[2]], query, query, attn_mask=good)
    narrow = torch.zeros(2, 1, 16, 15, device="cuda")
    for bad, keys in ((mask.transpose(2, 3), query), (narrow, query[:, :, 1:])):
        with pytest.raises(SlowAttentionError, match="attention of"):
            attend(query, keys, keys, attn_mask=bad)
    with pytest.raises(SlowAttentionError, match="numbers of heads"):
        attend(query, query[:, :2], query[:, :2], attn_mask=mask, enable_gqa=True)


def check_memory_is_short_where_it_is_said_to_be() -> None:
    """The error is torch's own."""
    devices.start_anew(most_bytes=400)
    numbers = torch.zeros(100, device="cuda")
    for act in (lambda: numbers.double(), lambda: torch.zeros(101, device="cuda")):
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            act()


CHECKS = {name: each for name, each in globals().items() if name.startswith("check_")}


def fault_of(check: Callable[[], None]) -> str:
    """What is wrong, as a traceback; empty if nothing is."""
    devices.start_anew()
    try:
        check()
    except BaseException:  # pytest's own faults are none of Exception
        return traceback.format_exc()
    return ""


if __name__ == "__main__":
    simulate_gpus()
    json.dump({name: fault_of(check) for name, check in CHECKS.items()}, sys.stdout)
