"""Whether there is a compiled kernel that computes what it should.

Notable: it is used once it has agreed with torch's own operations on a small batch.
"""

from __future__ import annotations

import functools
import logging

import torch
from torch.autograd.grad_mode import inference_mode

from s2s_ft.model.native.attention import attend, kernel
from s2s_ft.model.native.library import discard
from s2s_ft.model.native.rows import Examples, Pattern

logger = logging.getLogger(__name__)

_LARGEST_ERRORS = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
"""Of the trial, relative to the largest entry; of each type that there is a kernel for."""


@functools.cache
def is_available() -> bool:
    """Whether there is a kernel here, and it computes what it should."""
    library = kernel()
    if library is None:
        return False
    plain = torch.autocast("cpu", enabled=False)
    with inference_mode(mode=False), torch.enable_grad(), plain:
        agrees = all(_error_of_trial(dtype) < most for dtype, most in _LARGEST_ERRORS.items())
    if not agrees:
        discard(library)
        logger.warning(
            "attention's compiled kernel is wrong on this processor and is left aside: training "
            "is right without it, but slower"
        )
    return agrees


def takes(dtype: torch.dtype) -> bool:
    """Whether rows of this type can be given to `attend`."""
    return dtype in _LARGEST_ERRORS and is_available()


def _error_of_trial(dtype: torch.dtype) -> float:
    """Largest relative error of result and gradients of a small batch; NaN if one of them is."""
    heads, size, sources, counts = 2, 40, (17, 5), (30, 9)
    total = sum(counts)
    starts = torch.tensor([0, counts[0], total])
    examples = Examples(
        torch.arange(total), starts, torch.tensor(sources), torch.arange(total), max(counts), total
    )
    column = torch.arange(total)
    source_end = torch.where(column < counts[0], sources[0], counts[0] + sources[1])
    allowed = (column <= column[:, None]) | (column < source_end)
    pattern = Pattern.of(
        examples, allowed.expand(2, -1, -1), source_sees_all=True, rest_sees_source=True
    )
    waves = torch.arange(3 * total * heads * size).mul(0.37).sin().mul(1.5).to(dtype)
    inputs = waves.view(3, 1, heads, total, size).requires_grad_()
    upstream = inputs.detach()[0].roll(1, dims=2)
    found = attend(
        *inputs, examples=examples, pattern=pattern, scaling=0.3, dropout=0.0, rest_only=False
    )
    (gradient,) = torch.autograd.grad(found, inputs, upstream)
    exact = inputs.detach().double().requires_grad_()
    scores = exact[0] @ exact[1].transpose(-1, -2) * 0.3
    of_example = torch.where(column < counts[0], 0, 1)
    together = of_example == of_example[:, None]
    weights = scores.masked_fill(~(allowed & together), -torch.inf).softmax(-1)
    wanted = weights @ exact[2]
    (wanted_gradient,) = torch.autograd.grad(wanted, exact, upstream.double())
    pairs = ((found, wanted), (gradient, wanted_gradient))
    errors = [(a.double() - b).abs().max() / b.abs().max() for a, b in pairs]
    return float(torch.stack(errors).detach().max())
