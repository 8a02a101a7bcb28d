"""Tensors of a GPU that is not there: their numbers lie in the memory of the host.

    every operation     is done on the CPU with what is held; before that it is looked at:
      tensors of two devices in it                 ->  MixedDevicesError, as CUDA would refuse it
      a mask no fused attention kernel takes       ->  SlowAttentionError; CUDA would say nothing
      the host needs a number of it                ->  noted in `waits`
      a copy to pinned memory without a wait       ->  arrives when an event behind it has happened
                                                       (`queue.py`); until then there is rubbish

Notable: this finds what otherwise only a GPU would show: a mask that was made on the host, an
`.item()` that stops the queue, a number that is read before it has arrived. It knows nothing of
speed or of how CUDA rounds, and of memory only how large one tensor may be.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from tests.gpu.queue import devices, send_to_host

NAME = "simulated"
"""What torch knows the device as; "cuda" is the name of a device that it was not built for."""

PACKAGE = Path(__file__).parents[2] / "s2s_ft"

READS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "_unique2"}
"""Operations whose result, or the size of it, the host must know."""

INEXACT = {"nll_loss2d_forward", "histc", "median", "put_", "embedding_bag", "_ctc_loss_backward"}
"""Operations that CUDA cannot do the same way every time, of those that a model of text may use;
and sums of floating-point numbers one behind another (torch.use_deterministic_algorithms)."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}

waits: Counter[str] = Counter()
"""What the host waited for the device for, as "what in file:function", and how often."""


class MixedDevicesError(RuntimeError):
    """An operation was handed tensors of more than one device."""


class SlowAttentionError(RuntimeError):
    """Attention was handed tensors that CUDA's fused kernels do not take as they are."""


class SimulatedTensor(Tensor):
    """A tensor of a device.

    Attributes:
        held: Its numbers.
        index: The number of its device.
    """

    held: Tensor
    index: int

    @staticmethod
    def __new__(cls, held: Tensor, index: int) -> SimulatedTensor:
        """Put numbers on a device."""
        made: SimulatedTensor = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, index),
        )
        made.held, made.index = held, index
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, _types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Any operation on such tensors."""
        return operate(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:
        """Where the code under test believes it to be."""
        return torch.device("cuda", self.index)

    @property
    def is_cuda(self) -> bool:
        """The same as a question."""
        return True

    def tolist(self) -> Any:
        """The numbers on the host."""
        note_wait("tolist")
        return self.held.tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        """What tells tensors that share their memory; saving asks for it."""
        return self.held.untyped_storage()

    def data_ptr(self) -> int:
        """No address that torch may read at, so that it copies by `clone`."""
        return 0

    def storage(self) -> torch.storage.TypedStorage:
        """The same, as older code asks for it."""
        return self.held.storage()

    def __repr__(self) -> str:
        """The numbers, and where they are said to be."""
        return f"cuda:{self.index}({self.held})"


def operate(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation of torch, on the host or on a device."""
    try:
        return _operate(func, args, kwargs)
    except Exception:
        if torch._C._current_graph_task_id() != -1:  # torch ends without a word on the way back
            traceback.print_exc(file=sys.__stderr__)
        raise


def _operate(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.split("::")[1]
    tensors: list[Tensor] = []
    mapped(lambda each: tensors.append(each) if isinstance(each, Tensor) else None, (args, kwargs))
    here = [each for each in tensors if isinstance(each, SimulatedTensor)]
    asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    target = None if asked is None else asked.type
    is_spread = any(isinstance(each, DTensor) for each in tensors)  # it asks again for its part
    if is_spread or (not here and target != NAME):
        return _on_the_host(func, name, args, kwargs)
    refuse_mixed(name, tensors)
    if torch.are_deterministic_algorithms_enabled():
        refuse_inexact(name, here)
    if func.namespace == "c10d":
        refuse_to_send(name, here)
    what = what_is_waited_for(name, args, kwargs, target)
    if what is not None:
        note_wait(what)
    if name == "copy_" and not isinstance(args[0], SimulatedTensor):
        place, source = args[0], args[1]
        return send_to_host(place, source.held, source.index, at_once=what is not None)
    if name == "_fused_sdp_choice":
        return 0  # attention from torch's plain operations
    index = asked.index if asked is not None and target == NAME else here[0].index
    args, kwargs = mapped(_held, args), mapped(_held, kwargs)
    if target == NAME:
        kwargs["device"] = torch.device("cpu")
    found = func(*args, **kwargs)
    if target == "cpu":
        return found
    wrappers = {id(each.held): each for each in here}
    return mapped(lambda each: _on_device(each, wrappers, index), found)


def _on_the_host(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    if name == "is_pinned":
        return is_pinned(args[0])
    is_to_be_pinned = kwargs.pop("pin_memory", False)
    made = func(*args, **kwargs)
    return pinned(made) if is_to_be_pinned else made


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """A function's results for all that stands in tuples, lists and dictionaries, which stay."""
    if isinstance(value, (tuple, list)):
        return type(value)([mapped(function, each) for each in value])
    if isinstance(value, dict):
        return {key: mapped(function, each) for key, each in value.items()}
    return function(value)


def refuse_mixed(name: str, tensors: Sequence[Tensor]) -> None:
    """Raise MixedDevicesError where CUDA would refuse an operation.

    Numbers of the host may take part, and copies may go between devices.
    """
    devices = {each.device for each in tensors if _is_of_a_device(each) or each.dim() > 0}
    if len(devices) > 1 and name not in INDEXING and name not in ("copy_", "_to_copy"):
        shapes = [(str(each.device), *each.shape) for each in tensors]
        raise MixedDevicesError(f"{name} of tensors on several devices: {shapes} {_place()}")


def refuse_inexact(name: str, tensors: Sequence[Tensor]) -> None:
    """Raise what CUDA raises where only kernels are allowed that give the same bits every time."""
    is_float_sum = name in ("cumsum", "cumsum_") and tensors[0].is_floating_point()
    if name in INEXACT or is_float_sum:
        raise RuntimeError(f"{name}_cuda does not have a deterministic implementation, but …")


def refuse_slow(tensors: Sequence[Tensor]) -> None:
    """Raise where query, key, value and mask are, or lie in memory, in a way for which CUDA takes
    plain products, or copies a mask in every call.
    """
    if len(tensors) > 3 and tensors[0].shape[1] != tensors[1].shape[1]:
        raise SlowAttentionError(f"attention of unlike numbers of heads with a mask {_place()}")
    for each in tensors:
        if each.stride(-1) != 1 or any(stride % 8 for stride in each.stride()[:-1]):
            where = f"{list(each.shape)}, strides {each.stride()}"
            raise SlowAttentionError(f"attention of {where} {_place()}")


def refuse_to_send(name: str, tensors: Sequence[SimulatedTensor]) -> None:
    """Raise what nccl would complain of, or hang at: it sends what lies in one piece on the GPU of
    this process.
    """
    for each in tensors:
        if each.index != devices.current or not each.held.is_contiguous():
            where = f"{each.device}, strides {each.stride()}"
            raise MixedDevicesError(f"{name} from cuda:{devices.current} of {where} {_place()}")


def what_is_waited_for(name: str, args: Any, kwargs: dict[str, Any], target: str | None) -> Any:
    """Why the host waits for an operation, or None."""
    if name in READS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
        return name
    if name in INDEXING:
        indices = [each for each in args[1] if each is not None]
        if any(each.dtype in (torch.bool, torch.uint8) for each in indices):
            return f"{name} by a mask"
        if not all(_is_of_a_device(each) for each in indices):
            return f"{name} by indices of the host"
    if name == "_to_copy" and target == "cpu":
        return "to the host"
    if name not in ("_to_copy", "copy_"):
        return None
    source, place = args[0], None
    if name == "copy_":
        place, source = args[0], args[1]
    is_patient = kwargs.get("non_blocking") or (name == "copy_" and args[2:3] == (True,))
    if place is not None and _held(place).data_ptr() == _held(source).data_ptr():
        return None  # what another process sent lies there already
    host = next((each for each in (source, place) if not _is_of_a_device(each)), None)
    if host is None or host.dim() == 0 or (is_patient and is_pinned(host)):
        return None
    return "to the device" if host is source else "to the host"


def note_wait(what: str) -> None:
    """Count a wait at the place in the project that it comes from."""
    waits[f"{what} {_place()}"] += 1


def pinned(tensor: Tensor) -> Tensor:
    """The same tensor of the host, in memory that a device is said to reach by itself."""
    tensor.is_said_to_be_pinned = True
    return tensor


def is_pinned(tensor: Tensor) -> bool:
    """Whether `pinned` had it."""
    return getattr(tensor, "is_said_to_be_pinned", False)


def _on_device(each: Any, wrappers: Mapping[int, SimulatedTensor], index: int) -> Any:
    """What an operation gave: new on the device, or the tensor that it changed in place."""
    if not isinstance(each, Tensor):
        return each
    if id(each) in wrappers:
        return wrappers[id(each)]
    if devices.most_bytes is not None and each.nbytes > devices.most_bytes:
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {each.nbytes} bytes.")
    return SimulatedTensor(each, index)


def _held(each: Any) -> Any:
    return each.held if isinstance(each, SimulatedTensor) else each


def _is_of_a_device(each: Any) -> bool:
    return isinstance(each, SimulatedTensor)


def _place() -> str:
    """The function of the project that an operation comes from."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE):
            return f"in {path.relative_to(PACKAGE)}:{frame.name}"
    return "outside the project"
