"""The pattern of who looks at whom, against masks drawn by hand; and what holds of attention under
it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from s2s_ft.layout import Batch, Corrupted, lay_out
from s2s_ft.model.attention import AttentionCall, attention, kernel_bias, without_cudnn
from s2s_ft.model.pattern import distance_bias, visible
from s2s_ft.model.pretrained import load_finetuned


def batch_of(
    source: int, target: int, pseudo: bool, pad_source: int = 0, pad_target: int = 0
) -> Batch:
    """A batch whose first example has the given lengths, the second one is longer by the padding
    asked for.
    """

    def example(n: int, m: int) -> Corrupted:
        block = np.full(m, 6)
        return Corrupted(np.full(n, 5), block, block if pseudo else block[:0], np.arange(m), block)

    examples = [example(source, target)]
    if pad_source or pad_target:
        examples.append(example(source + pad_source, target + pad_target))
    return lay_out(examples, 0, 2 if pseudo else 1)


def drawn(picture: str) -> list[list[bool]]:
    return [[mark == "x" for mark in line.split()] for line in picture.strip().splitlines()]


def test_causal_and_masked_pattern() -> None:
    assert visible(batch_of(3, 2, pseudo=False))[0].tolist() == drawn(
        """
        x x x . .
        x x x . .
        x x x . .
        x x x x .
        x x x x x
        """
    )


def test_pseudo_pattern() -> None:
    assert visible(batch_of(3, 2, pseudo=True))[0].tolist() == drawn(
        """
        x x x . . . .
        x x x . . . .
        x x x . . . .
        x x x x . . .
        x x x x x . .
        x x x . . x .
        x x x x . . x
        """
    )


def test_left_to_right_source() -> None:
    assert visible(batch_of(3, 2, pseudo=False), left_to_right_source=True)[0].tolist() == drawn(
        """
        x . . . .
        x x . . .
        x x x . .
        x x x x .
        x x x x x
        """
    )


def test_padding_is_never_seen() -> None:
    seen = visible(batch_of(2, 1, pseudo=True, pad_source=1, pad_target=1))[0]
    assert seen[[0, 1, 3, 5]].tolist() == drawn(
        """
        x x . . . . .
        x x . . . . .
        x x . x . . .
        x x . . . x .
        """
    )


def test_window_counts_positions_not_columns() -> None:
    """A pseudo token three columns on shares its target's position, so it is as near."""
    positions = torch.tensor([[0, 1, 2, 2]])
    bias = distance_bias(torch.ones(1, 4, 4, dtype=torch.bool), positions, positions, None, 2)
    assert (bias[0, 0] == 0).tolist() == drawn(
        """
        x x . .
        x x x x
        . x x x
        . x x x
        """
    )


def test_a_row_without_any_key_is_finite() -> None:
    query = torch.randn(1, 2, 3, 4, requires_grad=True)
    bias = distance_bias(
        torch.zeros(1, 3, 3, dtype=torch.bool), torch.zeros(1, 3), torch.zeros(1, 3), None, None
    )
    attention(query, query, query, bias, AttentionCall(0.5, 0.0, None)).sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


def test_cpu_path_equals_the_fused_kernel() -> None:
    query, key, value = (torch.randn(2, heads, 5, 8) for heads in (4, 2, 2))
    allowed = torch.rand(2, 5, 5) < 0.7
    allowed |= torch.eye(5, dtype=torch.bool)
    bias = distance_bias(allowed, torch.zeros(2, 5), torch.zeros(2, 5), None, None)
    ours = attention(query, key, value, bias, AttentionCall(0.3, 0.0, None))
    theirs = torch.nn.functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(2, 1),
        value.repeat_interleave(2, 1),
        attn_mask=allowed[:, None],
        scale=0.3,
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("keys", [32, 37])
def test_a_bias_lies_in_memory_as_the_kernels_of_gpus_take_it(keys: int) -> None:
    """With any other layout CUDA multiplies everything out, without a word."""
    bias = torch.empty(2, 5, keys, 4, device="meta").permute(0, 3, 1, 2)
    found = kernel_bias(bias, torch.bfloat16)
    assert (found.shape, found.dtype) == (bias.shape, torch.bfloat16)
    assert found.stride(-1) == 1
    assert not any(stride % 16 for stride in found.stride()[:-1])
    assert kernel_bias(found, torch.bfloat16) is found  # and is made so once


def test_the_pattern_is_in_one_piece() -> None:
    assert visible(batch_of(3, 2, pseudo=True, pad_source=2)).is_contiguous()


def test_cudnn_is_left_out_and_comes_back() -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    with suppress(KeyError), without_cudnn():
        assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
        raise KeyError
    assert torch.backends.cuda.cudnn_sdp_enabled() is before  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("family", ["bert", "modernbert", "unilm"])
def test_padding_changes_no_prediction(tiny_checkpoint: Callable[[str], Path], family: str) -> None:
    """The first example's logits are the same alone and beside a longer one."""
    model = load_finetuned(str(tiny_checkpoint(family)))
    alone = batch_of(4, 3, pseudo=True)
    padded = batch_of(4, 3, pseudo=True, pad_source=5, pad_target=4)
    with torch.no_grad():
        torch.testing.assert_close(
            model.logits(padded)[:3], model.logits(alone), atol=1e-5, rtol=1e-5
        )
