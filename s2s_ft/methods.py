"""The three fine-tuning methods: what is corrupted, what is predicted, and how decoding asks.

Notable: everything that differs between the methods is in this file. The rest of the package sees
only a `Batch` of blocks, the rows that are read, and the tokens a decoding step feeds.

    method       source                 target                read at
    causal       [CLS] x1 .. xn         [SEP] y1 .. ym        every target row: the next token
    masked       [CLS] x1 .. xn [SEP]   y1 [M] .. ym [SEP]    the masked target rows
    pseudo_mask  [CLS] x1 .. xn [SEP]   y1 y2 .. ym [SEP]     the rows of a pseudo block behind it,
                                                              [P] [P] .. [P] [P], one a target token

Source: "s2s-ft: Fine-Tuning Pretrained Transformer Encoders for Sequence-to-Sequence Learning"
(arXiv 2110.13640).

Letters: B examples, W beams, Q rows a beam feeds in one step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from s2s_ft.corruption import CLEAN, USUAL, Corruption
from s2s_ft.layout import Batch, Corrupted, IntArray, lay_out
from s2s_ft.text import SpecialIds


@dataclass(frozen=True)
class Method(ABC):
    """A fine-tuning method.

    Attributes:
        special: Special token ids and the vocabulary size.
        max_source_length: Most source tokens, special tokens included.
        max_target_length: Most target tokens, special token included.
        corruption: How tokens are corrupted while training.
    """

    special: SpecialIds
    max_source_length: int
    max_target_length: int
    corruption: Corruption = USUAL

    name: ClassVar[str]
    num_source_special: ClassVar[int]
    """Special tokens around the source: 1 for `[CLS]`, 2 for `[CLS]` and `[SEP]`."""
    num_target_special: ClassVar[int] = 1
    num_target_blocks: ClassVar[int] = 1
    caps_masks: ClassVar[bool] = False
    """Whether `corruption.num_max_mask_token` is read."""

    @abstractmethod
    def source(self, ids: IntArray) -> IntArray:
        """Frame and truncate a source.

        Args:
            ids: [n] int64 without special tokens.

        Returns:
            At most `max_source_length` ids with their special tokens.
        """

    @abstractmethod
    def corrupt(self, source: IntArray, target: IntArray, rng: np.random.Generator) -> Corrupted:
        """Frame, truncate and corrupt one example for training.

        Args:
            source: [n] int64 without special tokens.
            target: [m] int64 without special tokens.
            rng: Generator of this example alone, so that nothing else changes what is drawn.
        """

    @abstractmethod
    def question(self, last: Tensor | None, num_examples: int) -> Tensor:
        """The ids a decoding step feeds to ask for the next token; the last row of each beam is
        read.

        Args:
            last: [B, W] int64 newest token of each beam, or None before the first token (then W is
                1).
            num_examples: B.

        Returns:
            [B, W, Q] int64. Causal feeds `[last]`; the others feed `[last, MASK]`, and the `[MASK]`
            is never kept.
        """

    @property
    @abstractmethod
    def num_unkept(self) -> int:
        """How many of the last rows of a question leave no keys and values behind (1 for an
        appended `[MASK]`).
        """

    @abstractmethod
    def teacher_forced(self) -> Method:
        """The method whose layout puts decoding's question at every target token at once, each
        after the true tokens before it; it corrupts nothing.
        """

    def row_lengths(self, source_lengths: IntArray, target_lengths: IntArray) -> IntArray:
        """Tokens that examples take in a batch, after truncation: what batches are grouped by.

        Args:
            source_lengths: [N] int64 source tokens without special ones.
            target_lengths: [N] int64 target tokens without special ones.
        """
        source = np.minimum(source_lengths + self.num_source_special, self.max_source_length)
        target = np.minimum(target_lengths + self.num_target_special, self.max_target_length)
        lengths: IntArray = source + self.num_target_blocks * target
        return lengths

    def lay_out(self, examples: Sequence[Corrupted]) -> Batch:
        """Lay examples out as one batch (see `layout.lay_out`)."""
        return lay_out(examples, self.special.pad, self.num_target_blocks)

    def _replacements(self, tokens: IntArray, rng: np.random.Generator) -> IntArray:
        """What each token becomes where it is corrupted: `[MASK]`, a random id, or itself."""
        draw = rng.random(len(tokens))
        random_ids = rng.integers(0, self.special.vocab_size, len(tokens))
        keep_from = 1.0 - self.corruption.keep_prob
        random_from = keep_from - self.corruption.random_prob
        chosen = np.where(draw < random_from, self.special.mask, random_ids)
        return np.where(draw >= keep_from, tokens, chosen)

    def _corrupt_source(self, source: IntArray, rng: np.random.Generator) -> IntArray:
        """A framed source whose ordinary tokens are corrupted with `source_mask_prob`."""
        if self.corruption.source_mask_prob <= 0.0:
            return source
        hit = rng.random(len(source)) < self.corruption.source_mask_prob
        hit &= (source != self.special.cls) & (source != self.special.sep)
        return np.where(hit, self._replacements(source, rng), source)


class Causal(Method):
    """Each target row predicts the next token; `[SEP]` starts the target (the original's `v0`)."""

    name = "causal"
    num_source_special = 1

    def source(self, ids: IntArray) -> IntArray:
        """`[CLS] x`, without a closing `[SEP]`."""
        return np.concatenate([[self.special.cls], ids[: self.max_source_length - 1]])

    def corrupt(self, source: IntArray, target: IntArray, rng: np.random.Generator) -> Corrupted:
        """Corrupt every input token but the start symbol; the labels stay clean and end in
        `[SEP]`.
        """
        framed = self._corrupt_source(self.source(source), rng)
        kept = target[: self.max_target_length - 1]
        inputs = np.concatenate([[self.special.sep], kept])
        hit = rng.random(len(inputs)) < self.corruption.target_mask_prob
        hit[0] = False
        return Corrupted(
            source=framed,
            target=np.where(hit, self._replacements(inputs, rng), inputs),
            pseudo=np.empty(0, dtype=np.int64),
            read=np.arange(len(inputs)),
            labels=np.concatenate([kept, [self.special.sep]]),
        )

    def question(self, last: Tensor | None, num_examples: int) -> Tensor:
        """The newest token alone; the prediction is read at it."""
        if last is None:
            return torch.full((num_examples, 1, 1), self.special.sep)
        return last.unsqueeze(-1)

    @property
    def num_unkept(self) -> int:
        """Every row is a true token and is kept."""
        return 0

    def teacher_forced(self) -> Method:
        """The layout of training, uncorrupted: every target row predicts the next token."""
        return replace(self, corruption=CLEAN)


class _MaskedStyle(Method):
    """What masked and pseudo-masked fine-tuning share: `[SEP]` closes both sides, and a `[MASK]`
    asks.
    """

    num_source_special = 2

    def source(self, ids: IntArray) -> IntArray:
        """`[CLS] x [SEP]`, cut before the `[SEP]`."""
        return np.concatenate(
            [[self.special.cls], ids[: self.max_source_length - 2], [self.special.sep]]
        )

    def _clean_target(self, target: IntArray) -> IntArray:
        """`y [SEP]`, cut before the `[SEP]`."""
        return np.concatenate([target[: self.max_target_length - 1], [self.special.sep]])

    def question(self, last: Tensor | None, num_examples: int) -> Tensor:
        """The newest token and a `[MASK]` after it, or the `[MASK]` alone before the first
        token.
        """
        if last is None:
            return torch.full((num_examples, 1, 1), self.special.mask)
        return torch.stack([last, torch.full_like(last, self.special.mask)], dim=-1)

    @property
    def num_unkept(self) -> int:
        """The `[MASK]` is a question, not a token of the target."""
        return 1

    def teacher_forced(self) -> Method:
        """A pseudo block of clean `[MASK]`s: each sees what an appended one would see."""
        return PseudoMask(self.special, self.max_source_length, self.max_target_length, CLEAN)


class Masked(_MaskedStyle):
    """Random target tokens are masked and predicted, as in masked language modelling (the
    original's `v1`).
    """

    name = "masked"
    caps_masks = True

    def corrupt(self, source: IntArray, target: IntArray, rng: np.random.Generator) -> Corrupted:
        """Mask int(p · length) target positions, at least one, at most `num_max_mask_token`; only
        these are read.
        """
        framed = self._corrupt_source(self.source(source), rng)
        clean = self._clean_target(target)
        count = max(1, int(self.corruption.target_mask_prob * len(clean)))
        if self.corruption.num_max_mask_token > 0:
            count = min(count, self.corruption.num_max_mask_token)
        read = np.sort(rng.choice(len(clean), size=count, replace=False))
        inputs = clean.copy()
        inputs[read] = self._replacements(clean[read], rng)
        return Corrupted(
            source=framed,
            target=inputs,
            pseudo=np.empty(0, dtype=np.int64),
            read=read,
            labels=clean[read],
        )


class PseudoMask(_MaskedStyle):
    """Every target token is predicted at a pseudo mask that shares its position (the original's
    `v2`).
    """

    name = "pseudo_mask"
    num_target_blocks = 2

    def corrupt(self, source: IntArray, target: IntArray, rng: np.random.Generator) -> Corrupted:
        """Draw the pseudo tokens; with `target_mask_prob` a true token becomes what its pseudo
        slot holds.
        """
        framed = self._corrupt_source(self.source(source), rng)
        clean = self._clean_target(target)
        pseudo = self._replacements(clean, rng)
        hit = rng.random(len(clean)) < self.corruption.target_mask_prob
        return Corrupted(
            source=framed,
            target=np.where(hit, pseudo, clean),
            pseudo=pseudo,
            read=np.arange(len(clean)),
            labels=clean,
        )


METHODS: tuple[type[Method], ...] = (Causal, Masked, PseudoMask)


def method_named(
    name: str,
    *,
    special: SpecialIds,
    max_source_length: int,
    max_target_length: int,
    corruption: Corruption | None = None,
) -> Method:
    """The method with the name used by `--fine_tuning_method`.

    Raises:
        ValueError: There is no such method.
    """
    for method in METHODS:
        if method.name == name:
            return method(special, max_source_length, max_target_length, corruption or USUAL)
    names = ", ".join(method.name for method in METHODS)
    raise ValueError(f"--fine_tuning_method: '{name}' is none of {names}")
