"""The held-out rows: their texts, and their token ids laid out as questions with known answers.

Notable: a row is asked exactly as decoding asks, with the reference's tokens in place of generated
ones. Where decoding appends a `[MASK]` that is not kept (masked, pseudo_mask), a pseudo block of
clean `[MASK]`s is just that: each one sees the source, the true tokens before it and itself.

    source           target          pseudo                read at the pseudo block:
    [CLS] x y [SEP]  a b [SEP]       [M] [M] [M]           a   b   [SEP]

Where decoding reads at the newest token (causal), the layout of training does, uncorrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from s2s_ft.data.examples import read_examples
from s2s_ft.data.features import FeatureStore, build_or_open
from s2s_ft.data.files import named_by
from s2s_ft.layout import Batch, IntArray
from s2s_ft.methods import Method
from s2s_ft.options import TrainOptions
from s2s_ft.text import TextCodec, spelled
from s2s_ft.train.distributed import World
from s2s_ft.train.shared_store import built_by_main


@dataclass(frozen=True)
class HeldOutRows:
    """The rows of `--dev_file`.

    Attributes:
        method: As in training; decides lengths and how a token is asked for.
        store: Token ids of the rows.
        texts: Source and reference of each row; empty on all ranks but the main one.
    """

    method: Method
    store: FeatureStore
    texts: Sequence[tuple[str, str]]

    @classmethod
    def open(
        cls, options: TrainOptions, codec: TextCodec, method: Method, world: World, folder: Path
    ) -> HeldOutRows | None:
        """Read and tokenise the rows; None without `--dev_file`.

        Args:
            options: All options of training.
            codec: The tokenizer of the run.
            method: The method of the run.
            world: All its ranks must come here; the main one tokenises.
            folder: Where token ids are kept.

        Raises:
            ValueError: There is no such file, or one of its rows is at fault.
        """
        file = options.validation.dev_file
        if file is None:
            return None
        source_key, target_key = options.data.source_key, options.data.target_key
        limit = options.validation.num_dev_examples

        def build() -> FeatureStore:
            with named_by("--dev_file", file):
                return build_or_open(
                    file,
                    codec,
                    folder=folder,
                    limit=limit,
                    source_key=source_key,
                    target_key=target_key,
                    num_workers=options.data.num_workers,
                )

        store = built_by_main(world, build)
        texts = []
        if world.is_main:
            read = read_examples(file, source_key=source_key, target_key=target_key, limit=limit)
            rows = [(row.source, row.target or "") for row in read]
            sources, targets = (spelled([row[side] for row in rows]) for side in (0, 1))
            texts = [*zip(sources, targets, strict=True)]
        return cls(method, store, texts)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.store)

    def batches(self, size: int) -> list[IntArray]:
        """Row numbers in batches of `size`, the longest rows first."""
        method = self.method.teacher_forced()
        costs = method.row_lengths(self.store.source_lengths, self.store.target_lengths)
        order = np.argsort(-costs, kind="stable")
        return [order[start : start + size] for start in range(0, len(order), size)]

    def sources(self, rows: Sequence[int]) -> list[IntArray]:
        """What the search is given for each of some rows."""
        return [self.method.source(self.store.source(row)) for row in rows]

    def questions(self, rows: Sequence[int]) -> Batch:
        """Some rows, every target token asked for; nothing is corrupted or drawn."""
        method, unused = self.method.teacher_forced(), np.random.default_rng(0)
        return method.lay_out(
            [method.corrupt(self.store.source(row), self.store.target(row), unused) for row in rows]
        )

    def evenly(self, count: int) -> list[int]:
        """`count` row numbers, or as many as there are, spread evenly over the file."""
        count = min(count, len(self))
        return [(2 * place + 1) * len(self) // (2 * count) for place in range(count)]
