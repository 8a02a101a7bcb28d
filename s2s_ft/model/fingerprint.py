"""Weights told apart by a checksum.

Notable: records of checkpoints and journals of decoding hold these sums, so what they are made of
must stay as it is.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

_LENGTH = 64


def fingerprint(model: nn.Module) -> str:
    """SHA-256 (hex) of all weights, whatever their names, order and number format."""
    digests = [
        hashlib.sha256(
            weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        ).digest()
        for weight in model.parameters()
    ]
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def shortened(value: Any) -> str:
    """A value for a message; fingerprints are cut."""
    text = str(value)
    return f"{text[:12]}…" if len(text) == _LENGTH else text
