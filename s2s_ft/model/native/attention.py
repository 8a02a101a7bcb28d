"""Attention of a packed batch by the compiled kernel of `attention.c`, which draws it.

Notable: scores are never stored, rows are not copied into rectangles first, and example by example
no cell of padding is computed.

Letters: C packed rows, H heads, D head size, n examples, L rows of an example.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from s2s_ft.model.dropout import LEVELS, kept_levels
from s2s_ft.model.native.library import load_library
from s2s_ft.model.native.rows import Examples, Pattern

_POINTERS = (
    *("query", "key", "value", "result", "given", "out", "to_query", "to_key", "to_value"),
    *("log_sum", "rows", "starts", "sources", "patterns", "seen", "scratch"),
)
_COUNTS = (
    *("examples", "heads", "size", "longest", "is_bfloat16"),
    *("source_sees_all", "rest_sees_source", "rest_only"),
)


class _Call(ctypes.Structure):
    """The structure `Call` of `example.h`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in _COUNTS),
        ("scaling", ctypes.c_float),
        ("kept_factor", ctypes.c_float),
        ("kept_below", ctypes.c_uint32),
        ("seed", ctypes.c_uint32 * 2),
    )


@functools.cache
def kernel() -> ctypes.CDLL | None:
    """The compiled kernel, on its word, or None (see `trial.py`)."""
    library = load_library()
    if library is None:
        return None
    for name in ("s2s_ft_forward", "s2s_ft_backward"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_int]
        getattr(library, name).restype = None
    library.s2s_ft_scratch.argtypes = [ctypes.c_void_p]
    library.s2s_ft_scratch.restype = ctypes.c_int64
    return library


def attend(  # noqa: PLR0913 (what one layer's attention is made of)
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    examples: Examples,
    pattern: Pattern,
    scaling: float,
    dropout: float,
    rest_only: bool,
) -> Tensor:
    """Source rows over source keys, all other rows over all keys.

    Args:
        query: [1, H, C, D], float32 or bfloat16.
        key: [1, H, C, D], of the same type.
        value: [1, H, C, D], of the same type.
        examples: Where the rows belong.
        pattern: Who looks at whom.
        scaling: Factor on the products.
        dropout: Probability to drop a weight.
        rest_only: Nobody reads what the source rows give, which is then 0.

    Returns:
        [1, H, C, D], stored row by row with the heads side by side; 0 for rows of nobody.
    """
    seed = 0
    if dropout > 0.0:
        seed = int(torch.randint(2**63 - 1, ()))  # torch's generator, as all dropout
    result: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, _Task(examples, pattern, scaling, dropout, rest_only, seed)
    )
    return result


@dataclass(frozen=True)
class _Task:
    """What a call of the kernel is about, its tensors aside."""

    examples: Examples
    pattern: Pattern
    scaling: float
    dropout: float
    rest_only: bool
    seed: int

    def empty_like(self, rows: Tensor) -> Tensor:
        """[1, C, H, D] for the kernel to write; 0 where it does not."""
        written = torch.empty_like(rows)
        written[:, len(self.examples.rows) :].zero_()
        return written

    def run(self, name: str, rows: Tensor, **tensors: Tensor) -> None:
        """Call a function of the kernel.

        Args:
            name: Which.
            rows: [1, C, H, D], for their shape and type.
            tensors: The other pointers of the call, all contiguous.
        """
        library, examples, pattern = kernel(), self.examples, self.pattern
        assert library is not None
        threads = torch.get_num_threads()
        kept = LEVELS if self.dropout == 0.0 else kept_levels(self.dropout)
        call = _Call(
            examples=len(examples.sources),
            heads=rows.shape[2],
            size=rows.shape[3],
            longest=examples.longest,
            is_bfloat16=rows.dtype is torch.bfloat16,
            source_sees_all=pattern.source_sees_all,
            rest_sees_source=pattern.rest_sees_source,
            rest_only=self.rest_only,
            scaling=self.scaling,
            kept_factor=LEVELS / kept,
            kept_below=0 if self.dropout == 0.0 else kept,
            seed=(ctypes.c_uint32 * 2)(self.seed & 0xFFFFFFFF, self.seed >> 32),
        )
        scratch = torch.empty(threads * library.s2s_ft_scratch(ctypes.byref(call)))
        tensors |= {
            "rows": examples.rows,
            "starts": examples.starts,
            "sources": examples.sources,
            "patterns": pattern.starts,
            "seen": pattern.seen,
            "scratch": scratch,
        }
        for pointer, tensor in tensors.items():
            setattr(call, pointer, tensor.data_ptr())
        getattr(library, name)(ctypes.byref(call), threads)


class _Attention(torch.autograd.Function):
    """Keeps what came in, the result and a number a row for the way back."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, task: _Task) -> Tensor:
        """[1, H, C, D] three times -> [1, H, C, D]."""
        given = [each.transpose(1, 2).contiguous() for each in (query, key, value)]
        out = task.empty_like(given[0])
        log_sum = torch.empty(out.shape[1:3], dtype=torch.float32)
        inputs = dict(zip(("query", "key", "value"), given, strict=True))
        task.run("s2s_ft_forward", out, out=out, log_sum=log_sum, **inputs)
        ctx.task = task
        ctx.save_for_backward(*given, out, log_sum)
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        *inputs, result, log_sum = ctx.saved_tensors
        given = upstream.to(result.dtype).transpose(1, 2).contiguous()
        names = ("query", "key", "value")
        read = dict(zip(names, inputs, strict=True))
        written = {f"to_{name}": ctx.task.empty_like(result) for name in names}
        ctx.task.run(
            "s2s_ft_backward",
            result,
            result=result,
            given=given,
            log_sum=log_sum,
            **read,
            **written,
        )
        return (*(each.transpose(1, 2) for each in written.values()), None)
