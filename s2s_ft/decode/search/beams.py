"""The beams of a batch while it is searched: all on the device, without a word to the host.

Notable: every step is written into one record shared by the batch, step after step; an example
that came later simply has its first entry later (`Record`). Whether an example is decided is
known on the device too, and stays as it was found: looking at it late changes nothing.

An example is decided when every beam has ended, or when no live beam can still enter the hypotheses
to be returned. Totals only fall, so a live beam can at best reach its total over the largest
divisor (with a reward per token, at best its total and the reward of the longest output).

Letters: B examples, W beams, L most tokens, N hypotheses returned, R steps that the record holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2s_ft.decode.search.hypotheses import Trace, length_divisor
from s2s_ft.decode.search.requests import Choice, Progress
from s2s_ft.decode.search.settings import SearchSettings

LIVE, DECIDED, NOT_FINITE = 0, 1, 2
"""What `Beams.status` says of an example."""

ABSENT = -1e9
"""Total of a beam that there is none for, where a first step has fewer choices than beams."""


@dataclass
class Beams:
    """The state of the search, a row an example.

    Attributes:
        totals: [B, W] float32 summed natural-log probabilities.
        last: [B, W] int64 newest tokens.
        ended: [B, W] bool, whether a beam holds the end token.
        history: [B, W, L] int64 tokens of each beam, the end token behind them.
        steps: [B] int64 tokens that each beam holds.
        best: [B, N] float32 ranked scores of the best ended hypotheses, best first.
        status: [B] int64, `LIVE`, `DECIDED` or `NOT_FINITE`.
        decided_at: [B] int64 tokens that the beams held when the example was decided.
        slots: [B] int64 rows of the rules' tables.
    """

    totals: Tensor
    last: Tensor
    ended: Tensor
    history: Tensor
    steps: Tensor
    best: Tensor
    status: Tensor
    decided_at: Tensor
    slots: Tensor

    @classmethod
    def fresh(cls, slots: Tensor, settings: SearchSettings) -> Beams:
        """Examples before their first step: one beam each, without a token."""
        examples, device = slots.shape[0], slots.device
        return cls(
            totals=torch.zeros(examples, 1, device=device),
            last=torch.full((examples, 1), -1, device=device),
            ended=torch.zeros(examples, 1, dtype=torch.bool, device=device),
            history=torch.full((examples, 1, settings.max_length), settings.eos_id, device=device),
            steps=torch.zeros(examples, dtype=torch.long, device=device),
            best=torch.full((examples, settings.num_return), -torch.inf, device=device),
            status=torch.full((examples,), LIVE, device=device),
            decided_at=torch.zeros(examples, dtype=torch.long, device=device),
            slots=slots,
        )

    def progress(self) -> Progress:
        """What rules see."""
        return Progress(self.history, self.steps, self.totals, self.slots)

    def after(self, choice: Choice, settings: SearchSettings) -> tuple[Beams, Choice]:
        """The state after a step, and the choice with as many beams as there must be."""
        choice = filled_up(choice, settings.beam_size, settings.eos_id)
        parents, tokens = choice.parents, choice.tokens
        is_end = tokens == settings.eos_id
        was_ended = self.ended.gather(1, parents)
        # Rows that are vacant run on; they must not count beyond what a history holds.
        steps = (self.steps + 1).clamp(max=settings.max_length)
        index = parents.unsqueeze(-1).expand(-1, -1, self.history.shape[-1])
        history = self.history.gather(1, index)
        column = self.steps.clamp(max=self.history.shape[-1] - 1)
        history.scatter_(2, column[:, None, None].expand(-1, tokens.shape[1], 1), tokens[..., None])
        just_ended = is_end & ~was_ended
        if settings.num_groups > 1:
            just_ended = just_ended & ~_are_worse_twins(history, choice.totals, just_ended)
        best = self._best_ended(choice.totals, just_ended, steps, settings)
        found = _status(choice.totals, is_end, best, steps, settings)
        live = self.status == LIVE
        beams = Beams(
            totals=choice.totals,
            last=tokens,
            ended=was_ended | is_end,
            history=history,
            steps=steps,
            best=best,
            status=torch.where(live, found, self.status),
            decided_at=torch.where(live, steps, self.decided_at),
            slots=self.slots,
        )
        return beams, choice

    def _best_ended(
        self, totals: Tensor, just_ended: Tensor, steps: Tensor, settings: SearchSettings
    ) -> Tensor:
        """`best` with the hypotheses that have just ended."""
        scores = totals + settings.length_reward * steps[:, None]
        if settings.length_penalty > 0.0:
            scores = totals / ((5.0 + steps[:, None]) / 6.0) ** settings.length_penalty
        scores = torch.where(just_ended, scores, -torch.inf)
        return torch.cat([self.best, scores], dim=1).topk(self.best.shape[1], dim=1).values

    def replaced(self, rows: Tensor, others: Beams, size: int) -> Beams:
        """The state with other examples in some of its rows, grown to `size` rows."""
        tensors = {}
        for name, mine in vars(self).items():
            theirs = vars(others)[name]
            grown = mine.new_zeros(size, *theirs.shape[1:])
            grown[: mine.shape[0]] = mine
            grown[rows] = theirs
            tensors[name] = grown
        return Beams(**tensors)

    def kept(self, order: Tensor) -> Beams:
        """Some of the rows, in this order."""
        return Beams(**{name: tensor[order] for name, tensor in vars(self).items()})


def _are_worse_twins(history: Tensor, totals: Tensor, counted: Tensor) -> Tensor:
    """Which beams have the tokens of another that counts and is better, or comes first.

    Args:
        history: [B, W, L] int64; beams with the same tokens have them at the same step.
        totals: [B, W] float32.
        counted: [B, W] bool, the beams that count.

    Returns:
        [B, W] bool.
    """
    same = (history[:, :, None] == history[:, None]).all(dim=-1) & counted[:, None]  # [B, W, W]
    better = totals[:, None] > totals[:, :, None]
    first = (totals[:, None] == totals[:, :, None]).tril(-1)
    return (same & (better | first)).any(dim=-1)


def filled_up(choice: Choice, size: int, eos_id: int) -> Choice:
    """A choice of as many beams as there must be; the missing ones count as ended and absent."""
    missing = size - choice.totals.shape[1]
    if missing <= 0:
        return choice
    pad = (0, missing)
    return Choice(
        torch.nn.functional.pad(choice.totals, pad, value=ABSENT),
        torch.nn.functional.pad(choice.parents, pad),
        torch.nn.functional.pad(choice.tokens, pad, value=eos_id),
    )


def _status(
    totals: Tensor, is_end: Tensor, best: Tensor, steps: Tensor, settings: SearchSettings
) -> Tensor:
    """[B] int64 what is known of each example after a step."""
    live = totals.masked_fill(is_end, -torch.inf).amax(dim=1)
    decided = is_end.all(dim=1) | (steps >= settings.max_length)
    if not settings.keep_trace:
        bound = live / length_divisor(settings.max_length, settings.length_penalty)
        if settings.length_reward > 0.0:
            bound = bound + settings.length_reward * settings.max_length
        elif settings.length_reward < 0.0:
            bound = bound + settings.length_reward * (steps + 1)
        decided = decided | (best[:, -1] >= bound)
    status = torch.where(decided, DECIDED, LIVE)
    return torch.where(totals.isnan().any(dim=1), NOT_FINITE, status)


class Record:
    """Totals, tokens and back-pointers of the last steps of a batch, [R, B, W] each; steps are
    numbered from 0 over the whole run and written around.
    """

    def __init__(self, num_steps: int, num_beams: int, device: torch.device) -> None:
        """An empty record of R = `num_steps` steps."""
        self._size = num_steps
        shape = (num_steps, 0, num_beams)
        self._totals = torch.empty(shape, device=device)
        self._pairs = torch.empty((2, *shape), dtype=torch.long, device=device)

    def grow(self, rows: int) -> None:
        """Make room for `rows` examples."""
        missing = rows - self._totals.shape[1]
        if missing > 0:
            shape = (self._size, missing, self._totals.shape[2])
            self._totals = torch.cat([self._totals, self._totals.new_zeros(shape)], dim=1)
            more = self._pairs.new_zeros((2, *shape))
            self._pairs = torch.cat([self._pairs, more], dim=2)

    def write(self, step: int, choice: Choice, rows: Tensor | None = None) -> None:
        """Write down a step of all examples, or of those in some rows."""
        where = step % self._size
        index = slice(choice.totals.shape[0]) if rows is None else rows
        self._totals[where, index] = choice.totals
        self._pairs[0, where, index] = choice.tokens
        self._pairs[1, where, index] = choice.parents

    def keep(self, order: Tensor) -> None:
        """Only some of the rows, in this order."""
        self._totals = self._totals[:, order]
        self._pairs = self._pairs[:, :, order]

    def traces(self, rows: Tensor, starts: Sequence[int], lengths: Sequence[int]) -> list[Trace]:
        """Bring the steps of some examples to the host.

        Args:
            rows: [N] int64 where they are.
            starts: The step of each one's first token.
            lengths: Steps of each that count.
        """
        totals = self._totals[:, rows].cpu()
        tokens, parents = self._pairs[:, :, rows].cpu()
        found = []
        for place, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            steps = (start + torch.arange(length)) % self._size
            found.append(
                Trace(
                    totals[steps, place].tolist(),
                    tokens[steps, place].tolist(),
                    parents[steps, place].tolist(),
                )
            )
        return found
