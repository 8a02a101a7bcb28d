"""The sequence-to-sequence model: a borrowed encoder with its masked-LM head, driven by attention
plans.

Notable: training and decoding run the same module. The head runs only on the rows that are read: a
hook on the encoder's body picks them, told by the plan that the same call carries, so no family's
code is touched.

Letters: B examples, L row length, N rows read, W beams, Q rows a beam feeds in one step, V
vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from s2s_ft.layout import Batch
from s2s_ft.model.attention import AttentionPlan
from s2s_ft.model.cache import KeyValueCache
from s2s_ft.model.columns import CacheShape
from s2s_ft.model.encode_pass import EncodePass
from s2s_ft.model.full_pass import FullPass
from s2s_ft.model.loss import smoothed_loss
from s2s_ft.model.passes import StepPass
from s2s_ft.model.positions import RelativePositionBias, position_offset
from s2s_ft.model.rows import leave_out_unread_rows
from s2s_ft.model.torch_release import require_torch


@dataclass(frozen=True, kw_only=True)
class Seq2SeqSettings:
    """What a checkpoint must know beyond its family's config; stored in `config.json` under
    `s2s_ft`.

    Attributes:
        method: Name of the fine-tuning method.
        max_source_length: Source tokens in training, special tokens included; None = unknown.
        max_target_length: Target tokens in training, special token included; None = unknown.
        do_lower_case: The casing asked for in training, or None if the tokenizer's own was used.
        source_type_id: Token-type id of source tokens.
        target_type_id: Token-type id of target tokens.
        relative_position_buckets: Buckets of the relative-position bias, 0 = no bias.
        relative_position_max_distance: Its largest distance.
    """

    method: str = "pseudo_mask"
    max_source_length: int | None = None
    max_target_length: int | None = None
    do_lower_case: bool | None = None
    source_type_id: int = 0
    target_type_id: int = 1
    relative_position_buckets: int = 0
    relative_position_max_distance: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, block: dict[str, Any]) -> Seq2SeqSettings:
        """From a config's block; fields of later versions are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in block.items() if name in known})


class Seq2SeqModel(nn.Module):
    """An encoder that generates.

    Attributes:
        encoder: transformers' model with a masked-LM head.
        settings: What is ours in the checkpoint.
        relative_position_bias: UniLMv2's bias, or None.
        teacher: Puts what a larger model says into the loss, see `distillation.Teacher`; or None.
            No part of the module: it is neither trained nor saved.
        cache_dtype: What decoding keeps keys and values in; None = what the layers compute in.
    """

    cache_dtype: torch.dtype | None = None

    def __init__(self, encoder: PreTrainedModel, settings: Seq2SeqSettings) -> None:
        """Take an encoder whose attention implementation is ours; a relative bias starts at 0."""
        super().__init__()
        self.encoder = encoder
        self.settings = settings
        self.teacher: Callable[[Tensor, Tensor, Batch], Tensor] | None = None
        config = encoder.config
        self.num_layers: int = config.num_hidden_layers
        self.relative_position_bias: RelativePositionBias | None = None
        if settings.relative_position_buckets > 0:
            self.relative_position_bias = RelativePositionBias(
                settings.relative_position_buckets,
                settings.relative_position_max_distance,
                config.num_attention_heads,
            )
        self._position_offset = position_offset(encoder)
        self._num_token_types = _num_token_types(encoder)
        self._narrowed_layer = leave_out_unread_rows(encoder)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, batch: Batch, label_smoothing: float, scale: Tensor | float = 1.0) -> Tensor:
        """The same as `loss`, under the name that wrappers of modules call."""
        return self.loss(batch, label_smoothing, scale)

    def loss(self, batch: Batch, label_smoothing: float, scale: Tensor | float = 1.0) -> Tensor:
        """Summed label-smoothed loss over the supervised rows, and the teacher's if there is one.

        Args:
            batch: On the model's device.
            label_smoothing: In [0, 1).
            scale: Factor on the sum; 1 / the supervised tokens of an update makes it their mean.

        Returns:
            Float32 scalar.
        """
        logits = self._rounded_logits(batch)
        if self.teacher is None:
            return smoothed_loss(logits, batch.labels, label_smoothing, scale)
        loss = smoothed_loss(logits, batch.labels, label_smoothing)
        return self.teacher(loss, logits[: batch.num_supervised], batch) * scale

    def logits(self, batch: Batch, *, left_to_right_source: bool = False) -> Tensor:
        """[N, V] logits at the supervised rows of a batch."""
        logits = self._rounded_logits(batch, left_to_right_source=left_to_right_source)
        return logits[: batch.num_supervised]

    def _rounded_logits(self, batch: Batch, *, left_to_right_source: bool = False) -> Tensor:
        """The same, and behind them those of rows that only round their number up."""
        plan = FullPass(
            batch, self.relative_position_bias, left_to_right_source=left_to_right_source
        )
        ids = batch.ids.view(-1)[plan.cells].unsqueeze(0)
        positions = batch.positions.view(-1)[plan.cells].unsqueeze(0)
        place = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        return self.run(ids, positions, place >= batch.num_source_tokens, plan)

    def new_cache(self, shape: CacheShape) -> KeyValueCache:
        """An empty cache on the model's device."""
        return KeyValueCache(self.num_layers, shape, self.device, self.cache_dtype)

    def encode(
        self,
        ids: Tensor,
        lengths: Sequence[int],
        cache: KeyValueCache,
        *,
        rows: Sequence[int] | None = None,
        num_unkept: int,
        left_to_right: bool = False,
    ) -> Tensor:
        """Take examples in: run their sources once, and ask for their first token.

        Args:
            ids: [N, s + 1] int64 sources, special tokens included, padded at the front, and the
                first question in the last column.
            lengths: True source tokens of each.
            cache: Keeps what later steps need.
            rows: Rows of the cache that they take; None = new ones at its end.
            num_unkept: Rows at the end of a question that leave nothing behind, 0 or 1.
            left_to_right: Let source tokens see only what stands before them (`--mode l2r`).

        Returns:
            [N, 1, V] logits of the first token, float32.
        """
        if rows is None:
            rows = range(cache.num_examples, cache.num_examples + len(lengths))
        plan = EncodePass(
            cache.place(rows, lengths, num_kept=1 - num_unkept),
            lengths,
            self.relative_position_bias,
            num_kept=1 - num_unkept,
            left_to_right=left_to_right,
        )
        packed = ids.reshape(-1)[plan.cells].unsqueeze(0)
        logits = self.run(packed, plan.positions, plan.is_question, plan)
        return logits.unsqueeze(1).float()

    def step(
        self, ids: Tensor, cache: KeyValueCache, *, num_unkept: int, compiled: bool = False
    ) -> Tensor:
        """Feed the next rows of every beam and predict at the last of them.

        Args:
            ids: [B, W, Q] int64, what `Method.question` asks.
            cache: Advanced by the Q - num_unkept rows that stay.
            num_unkept: Rows at the end that leave nothing behind.
            compiled: Run the encoder through `torch.compile`; for caches of fixed shape.

        Returns:
            [B, W, V] logits, float32.
        """
        examples, beams, rows = ids.shape
        assert (beams, rows) == (cache.shape.num_beams, cache.shape.num_rows)
        assert examples == cache.num_examples
        plan = StepPass(cache, self.relative_position_bias)
        flat = ids.transpose(1, 2).reshape(examples, rows * beams)
        is_target = torch.ones_like(flat, dtype=torch.bool)
        logits = self.run(flat, plan.positions, is_target, plan, compiled=compiled)
        cache.advance(rows - num_unkept)
        return logits.view(examples, beams, -1).float()

    def run(
        self,
        ids: Tensor,
        positions: Tensor,
        is_target: Tensor,
        plan: AttentionPlan,
        *,
        compiled: bool = False,
    ) -> Tensor:
        """One pass through the encoder; all the others go through here.

        Args:
            ids: [B, L] int64.
            positions: [B, L] int64, counted from 0 in every family.
            is_target: [B, L] bool, which tokens are of the target's type.
            plan: What each layer attends to, and which rows are read.
            compiled: Run the encoder through `torch.compile`; for plans of fixed shape.

        Returns:
            [N, V] logits of the rows the plan reads, in the type the encoder computes in.
        """
        run = self._compiled_run if compiled else self._run
        return run(ids, positions, self._types(is_target), plan)

    @cached_property
    def _compiled_run(self) -> Callable[..., Tensor]:
        """`_run`, compiled when it is first called."""
        require_torch("2.7", "--torch_compile")
        from s2s_ft.model.compiler import compiled

        return compiled(self._run)

    def _types(self, is_target: Tensor) -> Tensor | None:
        """Token-type ids of each token; None for encoders that have no such argument."""
        if self._num_token_types == 0:
            return None
        if self.settings.target_type_id >= self._num_token_types:
            return torch.zeros_like(is_target, dtype=torch.long)
        return torch.where(is_target, self.settings.target_type_id, self.settings.source_type_id)

    def _run(
        self, ids: Tensor, positions: Tensor, types: Tensor | None, plan: AttentionPlan
    ) -> Tensor:
        """[N, V] logits of the rows the plan reads."""
        plan.narrowed_layer = None if plan.read_rows is None else self._narrowed_layer
        keywords: dict[str, Any] = {"attention_plan": plan}
        if types is not None:
            keywords["token_type_ids"] = types
        output = self.encoder(
            input_ids=ids, position_ids=positions + self._position_offset, **keywords
        )
        logits: Tensor = output.logits
        return logits.squeeze(0)


def _num_token_types(encoder: PreTrainedModel) -> int:
    """Rows of the token-type table, 0 where the encoder takes no token types."""
    if "token_type_ids" not in inspect.signature(encoder.forward).parameters:
        return 0
    for name, module in encoder.named_modules():
        if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings
    return 0
