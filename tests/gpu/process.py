"""A process that believes it has two GPUs.

    torch.cuda.is_available()       ->  True
    tensor.to("cuda")               ->  a tensor of `tensors.py`
    torch.autocast("cuda", …)       ->  the operations that CUDA computes in the lower precision,
                                        and those that it computes in float32
    init_process_group("…:nccl")    ->  tensors travel by gloo; what nccl cannot send is refused

Notable: it holds for the rest of the process, since torch takes a backend in once and for all. Not
simulated are kernels of CUDA's own, torch.compile, streams (there is one), inference mode (it is
`no_grad` here), random numbers of the device (they are the host's), that nccl lets the host go on
while tensors travel, and the threads that torch sends gradients back in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import device_mesh
from torch.distributed.fsdp._fully_shard import _fsdp_init, _fully_shard
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from tests.gpu.queue import Event, Stream, devices, index_of
from tests.gpu.tensors import (
    NAME,
    SimulatedTensor,
    mapped,
    note_wait,
    operate,
    pinned,
    refuse_slow,
)

CAN_SIMULATE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
"""Whether this torch lets a backend be written in Python."""

_HAS_ITS_OWN = hasattr(_fully_shard, "_move_states_to_device")  # torch 2.10

LOWERED = ("linear", "matmul", "bmm", "mm", "addmm", "baddbmm", "scaled_dot_product_attention")
RAISED = ("layer_norm", "softmax.int", "log_softmax.int", "nll_loss", "logsumexp", "sum")
"""What autocast computes in its type, and what in float32, of the operations of encoders."""

_stays = ExitStack()


class _Named(TorchFunctionMode):
    """Lets "cuda" be the name of the device, and memory be called pinned."""

    def __torch_function__(
        self, func: Any, _types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.device:
            return func(*args, **kwargs)
        is_to_be_pinned = kwargs.pop("pin_memory", False)
        if func is Tensor.pin_memory:
            return pinned(args[0])
        args = tuple(map(_renamed, args))
        kwargs = {name: _renamed(each) for name, each in kwargs.items()}
        if func is nn.functional.scaled_dot_product_attention:
            refuse_slow(
                [each for each in (*args, *kwargs.values()) if isinstance(each, SimulatedTensor)]
            )
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and device is not None:
            kwargs.pop("device")  # torch would move it where nobody sees it
            return func(*args, **kwargs).to(device)
        found = func(*args, **kwargs)
        return pinned(found) if is_to_be_pinned else found


class _Watched(TorchDispatchMode):
    """Sees what makes tensors of a device out of nothing."""

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return operate(func, args, kwargs or {})


def simulate_gpus() -> None:
    """Have this process believe that it has two GPUs, until it ends."""
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    backend_registration._setup_privateuseone_for_python_backend(NAME, module)
    _teach_autocast()
    devices.on_wait = note_wait
    for name, stand_in in _stand_ins().items():
        _stays.enter_context(patch.object(torch.cuda, name, stand_in))
    autocast, run = torch.autocast, threading.Thread.run

    def named(device: str, **keywords: Any) -> torch.autocast:
        return autocast(NAME if device == "cuda" else device, **keywords)

    def run_under_modes(thread: threading.Thread) -> None:
        with _Named(), _Watched():
            run(thread)

    send_back = torch.autograd._engine_run_backward

    def send_back_under_modes(*arguments: Any, **keywords: Any) -> Any:
        with _Named():  # which is off inside of what it was asked about
            return send_back(*arguments, **keywords)

    for owner, name, stand_in in (
        (torch.autograd, "_engine_run_backward", send_back_under_modes),
        (torch, "autocast", named),
        (torch.accelerator, "current_stream", Stream),
        (torch, "inference_mode", torch.no_grad),
        (threading.Thread, "run", run_under_modes),
        (nn.Module, "_apply", _swapping(nn.Module._apply)),
        (dist, "init_process_group", _by_way_of_the_host(dist.init_process_group)),
        (device_mesh, "new_group", _by_way_of_the_host(dist.new_group)),  # torch 2.10
        (_fsdp_init, "_move_states_to_device", _move),
        *([(_fully_shard, "_move_states_to_device", _move)] if _HAS_ITS_OWN else []),
    ):
        _stays.enter_context(patch.object(owner, name, stand_in))
    # Modes hold in the thread that enters them, so gradients are sent back in this one.
    _stays.enter_context(torch.autograd.set_multithreading_enabled(False))
    _stays.enter_context(_Named())
    _stays.enter_context(_Watched())


def _stand_ins() -> dict[str, Any]:
    """What takes the place of functions of torch.cuda."""

    def set_device(device: torch.device | int) -> None:
        devices.current = index_of(device)

    return {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "current_device": lambda: devices.current,
        "set_device": set_device,
        "current_stream": Stream,
        "Stream": Stream,
        "stream": nullcontext,
        "Event": Event,
        "get_device_name": lambda _device=None: "simulated GPU",
        "is_current_stream_capturing": lambda: False,
        "max_memory_allocated": lambda _device=None: 0,
        "empty_cache": lambda: None,
        "manual_seed_all": lambda _seed: None,
    }


def _by_way_of_the_host(meet: Callable[..., Any]) -> Callable[..., Any]:
    """What lets processes meet. The tensors of devices lie on the host and travel as such."""

    def renamed(each: Any) -> Any:
        return "gloo" if isinstance(each, str) and each == "cpu:gloo,cuda:nccl" else each

    def by_way_of_the_host(*arguments: Any, **keywords: Any) -> Any:
        named = {name: renamed(each) for name, each in keywords.items()}
        return meet(*map(renamed, arguments), **named)

    return by_way_of_the_host


def _renamed(each: Any) -> Any:
    """A device as torch knows it."""
    if isinstance(each, str) and each.partition(":")[0] == "cuda":
        each = torch.device(each)
    if isinstance(each, torch.device) and each.type == "cuda":
        return torch.device(NAME, index_of(each))
    return each


def _swapping(apply: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """What moves or converts a module's weights. On a device each parameter stays the object that
    it is, as with CUDA, so that tied weights stay tied.
    """

    def swapping(
        module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> nn.Module:
        tried = [change(torch.zeros(())), *module.parameters()]
        is_ours = any(isinstance(each, SimulatedTensor) for each in tried)
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(is_ours or before)
        try:
            return apply(module, change, recurse)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    return swapping


def _move(parameters: list[nn.Parameter], buffers: list[Tensor], device: torch.device) -> None:
    """Move what FSDP2 is about to spread to the device of this rank."""
    for each in [*parameters, *buffers]:
        if each.device != device:
            with torch.no_grad():
                moved = each.to(device)
            is_parameter = isinstance(each, nn.Parameter)
            torch.utils.swap_tensors(each, nn.Parameter(moved) if is_parameter else moved)


def _teach_autocast() -> None:
    """Have autocast do on the device what it does with CUDA."""
    key = "AutocastPrivateUse1"
    others = torch.library.Library("_", "IMPL", key)
    others.fallback(torch.library.fallthrough_kernel)
    library = torch.library.Library("aten", "IMPL", key)
    for name in LOWERED:
        library.impl(name, _casting(name, lambda: torch.get_autocast_dtype(NAME)))
    for name in RAISED:
        library.impl(name, _casting(name, lambda: torch.float32))
    _stays.push(lambda *_ending, kept=(library, others): None)  # they hold as long as they live


def _casting(name: str, dtype: Callable[[], torch.dtype]) -> Callable[..., Any]:
    """An operation of torch that casts what it is handed."""
    packet, _, overload = name.partition(".")
    operation = getattr(getattr(torch.ops.aten, packet), overload or "default")

    def cast(each: Any) -> Any:
        is_cast = isinstance(each, SimulatedTensor) and each.is_floating_point()
        return each.to(dtype()) if is_cast else each

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cuda", enabled=False):
            return operation(*mapped(cast, args), **mapped(cast, kwargs))

    return run
