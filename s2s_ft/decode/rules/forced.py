"""What a request says must come out: its forced prefix, and the table that holds such sequences.

Notable: the tables are on the device, a row per slot, and are written only when a request comes in
that has something to hold, or takes the slot of one that had; a run without any never pays.

Letters: B examples, W beams, V vocabulary, S slots, C sequences of a request, T tokens of the
longest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2s_ft.decode.rules.words import holds
from s2s_ft.decode.search.requests import FORBIDDEN, Edits, Progress, Request
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.transfer import sent

Sequences = Sequence[tuple[int, ...]]


class SlotTable:
    """Token sequences by slot."""

    def __init__(self, device: torch.device) -> None:
        """Start empty."""
        self._device = device
        self._held: dict[int, Sequences] = {}
        self._ids = torch.empty(0)

    @property
    def is_empty(self) -> bool:
        """Whether no slot holds anything."""
        return not self._held

    def fill(self, slots: Sequence[int], rows: Sequence[Sequences]) -> None:
        """Put sequences into slots, in place of what these held.

        Args:
            slots: N numbers.
            rows: The sequences for each.
        """
        if self.is_empty and not any(rows):
            return
        for slot, sequences in zip(slots, rows, strict=True):
            self._held.pop(slot, None)
            if sequences:
                self._held[slot] = sequences
        if self._held:
            self._ids = sent(self._padded(), self._device)

    def rows(self, slots: Tensor) -> Tensor:
        """The sequences of some slots; not to be asked of an empty table.

        Args:
            slots: [B] int64.

        Returns:
            [B, C, T] int64, filled up with -1.
        """
        # Slots past the last one that holds anything read the table's empty last row.
        return self._ids[slots.clamp(max=len(self._ids) - 1)]

    def _padded(self) -> Tensor:
        """[S, C, T] int64: the rows of all slots up to the last that holds anything, and one."""
        every = list(self._held.values())
        tokens = max(len(sequence) for row in every for sequence in row)
        ids = torch.full((max(self._held) + 2, max(map(len, every)), tokens), -1)
        for slot, row in self._held.items():
            for number, sequence in enumerate(row):
                ids[slot, number, : len(sequence)] = torch.tensor(sequence)
        return ids


class ForcedPrefix:
    """The first tokens of a request's outputs are given: all others are forbidden there."""

    def __init__(self, settings: SearchSettings, vocabulary: int, device: torch.device) -> None:
        """Take what requests are checked against, and the width of the model's output."""
        self._settings = settings
        self._every = torch.arange(vocabulary, device=device)
        self._table = SlotTable(device)

    def admit(self, slots: Sequence[int], requests: Sequence[Request]) -> None:
        """Take the prefixes of requests that enter the batch.

        Raises:
            ValueError: A request wants what cannot be (see `check_request`).
        """
        for request in requests:
            check_request(request, self._settings)
        rows = [(request.prefix,) if request.prefix else () for request in requests]
        self._table.fill(slots, rows)

    def wanted(self, progress: Progress) -> Tensor | None:
        """The next token of a prefix.

        Returns:
            [B, 1, 1] int64, -1 where a prefix is over or was none; None = no prefix anywhere.
        """
        if self._table.is_empty:
            return None
        prefixes = self._table.rows(progress.slots)[:, 0]  # [B, T]
        longest = prefixes.shape[1]
        column = progress.steps.clamp(max=longest - 1)[:, None]
        token = torch.where(progress.steps[:, None] < longest, prefixes.gather(1, column), -1)
        return token.unsqueeze(-1)

    def edits(self, progress: Progress) -> Edits | None:
        """`FORBIDDEN` is added to all tokens but the wanted one."""
        wanted = self.wanted(progress)
        if wanted is None or (wanted.is_cpu and not bool((wanted >= 0).any())):
            return None  # on a CPU the look is free; elsewhere it would wait for the device
        shape = (*progress.history.shape[:2], len(self._every))
        wrong = (wanted >= 0) & (self._every != wanted)  # [B, 1, V]
        return Edits(tokens=self._every.expand(shape), amounts=(wrong * FORBIDDEN).expand(shape))


def check_request(request: Request, settings: SearchSettings) -> None:
    """Refuse a prefix or phrases that no output can have under these settings.

    Phrases that are only too long together are no mistake: what misses least comes out.

    Raises:
        ValueError: One line that names the flags; the row is for the caller to name.
    """
    if not (request.prefix or request.phrases):
        return
    most = settings.max_length
    if len(request.prefix) >= most:
        raise ValueError(
            f"its prefix has {len(request.prefix)} tokens, which leaves no room below "
            f"--max_tgt_length {most}: shorten the prefix or raise --max_tgt_length"
        )
    if request.phrases and (settings.sample or settings.num_groups > 1):
        flag = "do_sample" if settings.sample else "num_beam_groups"
        raise ValueError(f"force_words and --{flag} exclude each other: leave one of them")
    given = {"prefix": (request.prefix,), "force_words": request.phrases}
    for name, sequences in given.items():
        for ids in sequences:
            if settings.eos_id in ids or (name == "force_words" and not ids):
                raise ValueError(f"its {name} is empty or holds the end token")
            if any(holds(ids, word) for word in settings.bad_words):
                raise ValueError(f"its {name} holds what --bad_words forbids: change one of them")
