"""The two graphs as modules: tensors in, tensors out, nothing remembered.

    encode    source, source_lengths                            ->  keys and values of every layer
    step      tokens, parents, source_lengths, these keys and
              values, those of the target so far                ->  logits, those of the target

Notable: `parents` re-orders the beams inside of the step, so whoever drives the graphs hands the
target's keys and values from one step to the next without touching them. At the first step they
have no rows (T = 0) and one beam.

Letters: B examples, W beams before the step, W' beams of the step, Q rows a beam feeds, S source,
T target tokens so far, G key/value heads, D head size, V vocabulary, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from s2s_ft.export.plans import EncodePlan, KeyValue, StepPlan
from s2s_ft.model.seq2seq import Seq2SeqModel


class EncodeGraph(nn.Module):
    """Runs the sources once."""

    def __init__(self, model: Seq2SeqModel) -> None:
        """Take the model, in evaluation mode."""
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, source_lengths: Tensor) -> tuple[Tensor, ...]:
        """Keys and values of the sources.

        Args:
            source: [B, S] int64 ids, special tokens included, padded at the end.
            source_lengths: [B] int64 true lengths.

        Returns:
            Key and value of each layer in turn, [B, G, S, D] each.
        """
        plan = EncodePlan(
            source_lengths,
            source.shape[1],
            self.model.relative_position_bias,
            self.model.num_layers - 1,
        )
        plan.read_rows = torch.zeros(1, dtype=torch.long, device=source.device)
        is_target = torch.zeros_like(source, dtype=torch.bool)
        self.model.run(source, plan.positions, is_target, plan)
        return flat(plan.kept)


class StepGraph(nn.Module):
    """Feeds the next rows of every beam and predicts at the last of them."""

    def __init__(self, model: Seq2SeqModel, num_unkept: int) -> None:
        """Take the model, in evaluation mode, and `Method.num_unkept`."""
        super().__init__()
        self.model = model
        self.num_unkept = num_unkept

    def forward(
        self,
        tokens: Tensor,
        parents: Tensor,
        source_lengths: Tensor,
        source: tuple[Tensor, ...],
        target: tuple[Tensor, ...],
    ) -> tuple[Tensor, ...]:
        """One step.

        Args:
            tokens: [B, W', Q] int64, what `Method.question` asks.
            parents: [B, W'] int64, the beam of the step before that each beam goes on from.
            source_lengths: [B] int64.
            source: What `EncodeGraph` gave.
            target: What the step before gave behind the logits, [B, W, G, T, D] each; at the first
                step T = 0 and W = 1.

        Returns:
            [B, W', V] float32 logits, then key and value of each layer in turn,
            [B, W', G, T + Q - num_unkept, D] each.
        """
        examples, beams, rows = tokens.shape
        order = torch.arange(examples, device=tokens.device)[:, None], parents
        plan = StepPlan(
            paired(source),
            paired([kept[order] for kept in target]),
            source_lengths,
            rows,
            self.num_unkept,
            self.model.relative_position_bias,
        )
        fed = tokens.flatten(1)
        plan.read_rows = torch.arange(rows - 1, examples * beams * rows, rows, device=tokens.device)
        is_target = torch.ones_like(fed, dtype=torch.bool)
        logits = self.model.run(fed, plan.positions.repeat(1, beams), is_target, plan)
        return (torch.unflatten(logits, 0, (examples, beams)).float(), *flat(plan.kept))


def flat(pairs: Sequence[KeyValue]) -> tuple[Tensor, ...]:
    """Pairs of tensors -> one tensor after another."""
    return tuple(tensor for pair in pairs for tensor in pair)


def paired(tensors: Sequence[Tensor]) -> list[KeyValue]:
    """One tensor after another -> pairs of tensors."""
    return list(zip(tensors[::2], tensors[1::2], strict=True))
