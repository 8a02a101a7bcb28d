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
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from s2s_ft.layout import Batch
from s2s_ft.model.attention import AttentionPlan, FullPass
from s2s_ft.model.cache import EncodePass, KeyValueCache, StepPass
from s2s_ft.model.loss import smoothed_loss
from s2s_ft.model.positions import RelativePositionBias, position_offset
from s2s_ft.model.rows import leave_out_unread_rows


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
    """

    def __init__(self, encoder: PreTrainedModel, settings: Seq2SeqSettings) -> None:
        """Take an encoder whose attention implementation is ours; a relative bias starts at 0."""
        super().__init__()
        self.encoder = encoder
        self.settings = settings
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

    def forward(self, batch: Batch, label_smoothing: float) -> Tensor:
        """The same as `loss`, under the name that wrappers of modules call."""
        return self.loss(batch, label_smoothing)

    def loss(self, batch: Batch, label_smoothing: float) -> Tensor:
        """Summed label-smoothed loss over the supervised rows.

        Args:
            batch: On the model's device.
            label_smoothing: In [0, 1).

        Returns:
            Float32 scalar; divide by the supervised tokens of the whole update for their mean.
        """
        return smoothed_loss(self.logits(batch), batch.labels, label_smoothing)

    def logits(self, batch: Batch, *, left_to_right_source: bool = False) -> Tensor:
        """[N, V] logits at the supervised rows of a batch."""
        plan = FullPass(
            batch, self.relative_position_bias, left_to_right_source=left_to_right_source
        )
        ids = batch.ids.view(-1)[batch.cells].unsqueeze(0)
        positions = batch.positions.view(-1)[batch.cells].unsqueeze(0)
        place = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
        return self._run(ids, positions, self._types(place >= batch.num_source_tokens), plan)

    def encode(
        self,
        source: Tensor,
        source_lengths: Tensor,
        *,
        capacity: int,
        left_to_right: bool = False,
    ) -> KeyValueCache:
        """Run the sources once and keep what decoding needs of them.

        Args:
            source: [B, S] int64 ids, special tokens included, padded at the end.
            source_lengths: [B] int64 true lengths.
            capacity: Target rows the cache must hold: the longest target and its question.
            left_to_right: Let source tokens see only what stands before them (`--mode l2r`).
        """
        cache = KeyValueCache(self.num_layers, source_lengths, source.shape[1], capacity)
        plan = EncodePass(cache, self.relative_position_bias, left_to_right=left_to_right)
        types = self._types(torch.zeros_like(source, dtype=torch.bool))
        self._run(source, cache.source_positions, types, plan)
        return cache

    def step(self, ids: Tensor, cache: KeyValueCache, *, num_unkept: int) -> Tensor:
        """Feed the next rows of every beam and predict at the last of them.

        Args:
            ids: [B, W, Q] int64, what `Method.question` asks.
            cache: Advanced by the Q - num_unkept rows that stay.
            num_unkept: Rows at the end that leave nothing behind.

        Returns:
            [B, W, V] logits, float32.
        """
        examples, beams, rows = ids.shape
        assert beams == cache.num_beams
        plan = StepPass(cache, self.relative_position_bias, rows)
        flat = ids.reshape(examples, beams * rows)
        plan.read_rows = torch.arange(rows - 1, flat.numel(), rows, device=ids.device)
        types = self._types(torch.ones_like(flat, dtype=torch.bool))
        logits = self._run(flat, plan.positions.repeat(1, beams), types, plan)
        cache.advance(rows - num_unkept)
        return logits.view(examples, beams, -1).float()

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
