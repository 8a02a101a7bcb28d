"""The arithmetic of a training run: float32, bfloat16 or float16.

Notable: weights, gradients and optimizer state are float32 always; the lower precisions are
autocast around the forward pass. float16 needs its loss scaled so that small gradients survive,
and only CUDA has it. Without scaling every method of `Precision` is the plain operation, so that
the loop has one path.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Precision:
    """How a loss is computed, sent back and turned into an update.

    Attributes:
        device: Where the model is.
        dtype: Type of the products in the forward pass; float32 means no autocast.
        scaler: Scales the loss in float16 and is switched off otherwise.
    """

    device: torch.device
    dtype: torch.dtype
    scaler: torch.amp.GradScaler

    @property
    def name(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return str(self.dtype).removeprefix("torch.")

    def autocast(self) -> AbstractContextManager[object]:
        """The context the forward pass runs in."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a (scaled) loss to those already there."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients back to the scale of the loss."""
        self.scaler.unscale_(optimizer)

    def step(
        self, optimizer: torch.optim.Optimizer, *, norm: Tensor, max_norm: float, skip: Tensor
    ) -> None:
        """Clip the gradient and take the update, unless it must be left out.

        Args:
            optimizer: Its parameters have their gradients, brought back by `unscale`.
            norm: Float32 scalar, L2 norm of the whole gradient; where it is not finite, nothing is
                stepped (float16: an overflow, after which the scaler lowers its scale).
            max_norm: Norm that the gradient is scaled down to; 0 = never.
            skip: Bool scalar, whether nothing may be stepped for another reason.
        """
        skip = skip | ~torch.isfinite(norm)
        if optimizer.defaults.get("fused"):
            # torch's kernel divides by the one and heeds the other in its one pass.
            factor = (norm / max_norm).clamp(min=1.0) if max_norm > 0 else torch.ones_like(norm)
            optimizer.grad_scale = factor  # type: ignore[attr-defined]
            optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
            optimizer.step()
        elif not bool(skip):  # apex's has no such arguments: the host waits for the device
            if max_norm > 0:
                parameters = [each for group in optimizer.param_groups for each in group["params"]]
                nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
            optimizer.step()
        self.scaler.update()

    def may_overflow(self) -> Tensor:
        """Bool scalar on the device, whether an overflowing gradient is part of normal work: a
        smaller scale will cure it.
        """
        # The scale itself is asked for without a wait only in this way.
        return self.scaler.scale(torch.ones((), device=self.device)) > 1.0


def choose_precision(
    device: torch.device, *, fp16: bool, bf16: bool, fp16_opt_level: str
) -> Precision:
    """The precision that the flags ask for on `device`.

    Args:
        device: Where the model is.
        fp16: `--fp16`.
        bf16: `--bf16`.
        fp16_opt_level: `--fp16_opt_level`; `O0` keeps float32, every other level is autocast.

    Raises:
        ValueError: Both flags are given, or float16 on a device that does not have it.
    """
    if fp16 and bf16:
        raise ValueError("--fp16 and --bf16 exclude each other; give one of them")
    if fp16 and device.type != "cuda":
        raise ValueError(
            f"--fp16 needs a CUDA device, and this run is on {device.type}; use --bf16 or neither"
        )
    dtype = torch.bfloat16 if bf16 else torch.float32
    if fp16:
        level = fp16_opt_level.upper()
        dtype = torch.float32 if level == "O0" else torch.float16
        logger.info(
            "--fp16_opt_level %s: %s",
            level,
            "float32" if level == "O0" else "torch autocast, float16",
        )
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    return Precision(device, dtype, scaler)
