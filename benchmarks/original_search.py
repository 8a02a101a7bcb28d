"""Beam search done plainly, in the manner of the original toolkit: the base of the decoding
figures.

Every beam has its own copy of the source. What is kept of the past is the input of every layer, and
each step projects keys and values of the whole history of every beam anew. Bookkeeping is on the
host, step by step; the batch goes on until the last step. The search itself is the same as ours, so
in float32 the sequences must be identical.

Two switches take its costs away one by one: `keep_projections` keeps keys and values in place of
layer inputs, `share_source` lets the beams of an example share those of the source.

Notable: for encoders built like BERT only.

Letters: B examples, W beams, S source, t kept target tokens, H heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from s2s_ft.decode.search.hypotheses import SearchResult, Trace, read_off
from s2s_ft.decode.search.requests import FORBIDDEN
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.layout import IntArray
from s2s_ft.methods import Method
from s2s_ft.model.seq2seq import Seq2SeqModel

HIDDEN = -30000.0


@dataclass
class PlainSearch:
    """The model and what is kept of the past.

    Attributes:
        model: In evaluation mode; a BERT.
        method: Any of the three. Masked style asks with a `[MASK]` that is not kept; causal with
            the newest token, at first a `[SEP]`, which is.
        settings: What to search for.
        keep_projections: Keep keys and values, not layer inputs.
        share_source: Keep the source's once an example, not once a beam; needs `keep_projections`.
    """

    model: Seq2SeqModel
    method: Method
    settings: SearchSettings
    keep_projections: bool = False
    share_source: bool = False
    past: list[tuple[Tensor, ...]] = field(default_factory=list)  # of each layer, per beam
    source: list[tuple[Tensor, ...]] = field(default_factory=list)  # of each layer, per example

    def run(self, sources: Sequence[IntArray]) -> list[SearchResult]:
        """Search a batch."""
        lengths = torch.tensor([len(source) for source in sources])
        ids = torch.full((len(sources), int(lengths.max())), self.method.special.pad)
        for row, source in enumerate(sources):
            ids[row, : len(source)] = torch.from_numpy(source)
        real = torch.arange(ids.shape[1]) < lengths[:, None]
        logits = self.encode(ids, lengths, real)
        beams = _HostBeams(len(sources), self.settings)
        beams.add(logits)
        self.expand(self.settings.beam_size)
        first_kept = 1 - self.method.num_unkept
        for step in range(1, self.settings.max_length):
            logits = self.step(beams.last(), lengths, real, step - 1 + first_kept)
            beams.add(logits)
            self.reorder(beams.parents())
        return [read_off(trace, self.settings) for trace in beams.traces]

    # -- the encoder, layer by layer ---------------------------------------------------------------

    @property
    def _layers(self) -> Any:
        body: Any = self.model.encoder.base_model
        return body.encoder.layer

    def _embed(self, ids: Tensor, positions: Tensor, kind: int) -> Tensor:
        types = torch.full_like(ids, kind)
        embeddings: Any = self.model.encoder.base_model.embeddings
        result: Tensor = embeddings(input_ids=ids, token_type_ids=types, position_ids=positions)
        return result

    def _head(self, hidden: Tensor) -> Tensor:
        head: Any = self.model.encoder.cls
        result: Tensor = head(hidden)
        return result

    def _project(self, layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
        own = layer.attention.self
        return _by_heads(own.key(hidden), own), _by_heads(own.value(hidden), own)

    def encode(self, ids: Tensor, lengths: Tensor, real: Tensor) -> Tensor:
        """Sources and the first question in one pass; [B, 1, V] log-probabilities."""
        examples, size = ids.shape
        settings = self.model.settings
        positions = torch.arange(size).expand(examples, -1)
        hidden = self._embed(ids, positions, settings.source_type_id)
        question = self.method.question(None, examples).flatten(0, 1)
        asked = self._embed(question, lengths[:, None], settings.target_type_id)
        source_bias = torch.where(real, 0.0, HIDDEN)[:, None, None, :]
        bias = torch.cat([source_bias, torch.zeros(examples, 1, 1, 1)], dim=-1)
        for layer in self._layers:
            self._keep_source(layer, hidden, asked)
            key, value = self._project(layer, torch.cat([hidden, asked], dim=1))
            left, right = key[:, :, :size], value[:, :, :size]
            hidden, asked = (
                _rest(layer, hidden, left, right, source_bias),
                _rest(layer, asked, key, value, bias),
            )
        return self._head(asked)

    def _keep_source(self, layer: Any, hidden: Tensor, asked: Tensor) -> None:
        if self.method.num_unkept:
            asked = asked[:, :0]
        if self.share_source:
            self.source.append(self._project(layer, hidden))
            self.past.append(self._project(layer, asked))
            return
        together = torch.cat([hidden, asked], dim=1)
        if self.keep_projections:
            self.past.append(self._project(layer, together))
        else:
            self.past.append((together.unsqueeze(1),))

    def step(self, last: Tensor, lengths: Tensor, real: Tensor, kept: int) -> Tensor:
        """Every beam's previous token and a question; [B, W, V] log-probabilities.

        Args:
            last: [B, W] int64.
            lengths: [B] int64 source tokens.
            real: [B, S] bool.
            kept: t.
        """
        examples, beams = last.shape
        question = self.method.question(last, examples).flatten(0, 1)  # [B * W, Q]
        asked, unkept = question.shape[1], self.method.num_unkept
        positions = lengths.repeat_interleave(beams)[:, None] + kept + torch.arange(asked)
        hidden = self._embed(question, positions, self.model.settings.target_type_id)
        source = torch.where(real, 0.0, HIDDEN).repeat_interleave(beams, 0)[:, None, None, :]
        before = torch.zeros(1, 1, asked, kept)
        new = torch.full((1, 1, asked, asked), HIDDEN).triu(1)
        target = torch.cat([before, new], dim=-1)
        whole = torch.cat(
            [source.expand(-1, -1, asked, -1), target.expand(len(question), -1, -1, -1)], dim=-1
        )
        for number, layer in enumerate(self._layers):
            if not self.keep_projections:
                everything = torch.cat([self.past[number][0][:, 0], hidden], dim=1)
                key, value = self._project(layer, everything)
                self.past[number] = (everything[:, : everything.shape[1] - unkept].unsqueeze(1),)
                hidden = _rest(layer, hidden, key, value, whole)
                continue
            new_pair = self._project(layer, hidden)
            key, value = (
                torch.cat([old, part], dim=2)
                for old, part in zip(self.past[number], new_pair, strict=True)
            )
            size = key.shape[2] - unkept
            self.past[number] = (key[:, :, :size], value[:, :, :size])
            if self.share_source:
                hidden = _rest_shared(
                    layer, hidden, self.source[number], (key, value), real, target
                )
            else:
                hidden = _rest(layer, hidden, key, value, whole)
        return self._head(hidden[:, -1]).view(examples, beams, -1)

    def expand(self, beams: int) -> None:
        """One copy of the past for every beam."""
        self.past = [tuple(part.repeat_interleave(beams, 0) for part in kept) for kept in self.past]

    def reorder(self, parents: Tensor) -> None:
        """Beams take their parents' past with them."""
        examples, beams = parents.shape
        index = (torch.arange(examples)[:, None] * beams + parents).view(-1)
        self.past = [tuple(part[index] for part in kept) for kept in self.past]


def _by_heads(rows: Tensor, attention: Any) -> Tensor:
    """[B, L, H * D] -> [B, H, L, D]."""
    split = torch.unflatten(rows, -1, (attention.num_attention_heads, -1))
    return split.transpose(1, 2)


def _rest(layer: Any, hidden: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """A layer from its queries on."""
    query = _by_heads(layer.attention.self.query(hidden), layer.attention.self)
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias
    return _behind_attention(layer, hidden, scores.softmax(-1) @ value)


def _rest_shared(
    layer: Any,
    hidden: Tensor,
    source: tuple[Tensor, ...],
    own: tuple[Tensor, Tensor],
    real: Tensor,
    target_bias: Tensor,
) -> Tensor:
    """The same, with source keys and values [B, H, S, D] shared by the beams of an example."""
    examples = real.shape[0]
    query = _by_heads(layer.attention.self.query(hidden), layer.attention.self)
    rows, size = query.shape[2:]
    together = torch.unflatten(query, 0, (examples, -1)).transpose(1, 2)  # [B, H, W, Q, D]
    source_scores = together.flatten(2, 3) @ source[0].transpose(-1, -2)
    source_scores = source_scores * size**-0.5 + torch.where(real, 0.0, HIDDEN)[:, None, None]
    source_scores = torch.unflatten(source_scores, 2, (-1, rows)).transpose(1, 2).flatten(0, 1)
    target_scores = query @ own[0].transpose(-1, -2) * size**-0.5 + target_bias
    weights = torch.cat([source_scores, target_scores], dim=-1).softmax(-1)
    split = source_scores.shape[-1]
    by_example = torch.unflatten(weights[..., :split], 0, (examples, -1))
    seen = by_example.transpose(1, 2).flatten(2, 3) @ source[1]
    seen = torch.unflatten(seen, 2, (-1, rows)).transpose(1, 2).flatten(0, 1)
    return _behind_attention(layer, hidden, seen + weights[..., split:] @ own[1])


def _behind_attention(layer: Any, hidden: Tensor, seen: Tensor) -> Tensor:
    merged = seen.transpose(1, 2).flatten(2)
    attended = layer.attention.output(merged, hidden)
    result: Tensor = layer.output(layer.intermediate(attended), attended)
    return result


class _HostBeams:
    """The books of a batch, kept in Python lists."""

    def __init__(self, examples: int, settings: SearchSettings) -> None:
        self._settings = settings
        self._state: tuple[Tensor, Tensor] | None = None  # totals and last tokens, [B, W] each
        self._histories: list[list[list[int]]] = [[[]] for _ in range(examples)]
        self.traces = [Trace() for _ in range(examples)]

    def last(self) -> Tensor:
        """[B, W] newest tokens."""
        assert self._state is not None
        return self._state[1]

    def parents(self) -> Tensor:
        """[B, W] beams of the step before that each goes on from."""
        return torch.tensor([trace.parents[-1] for trace in self.traces])

    def add(self, logits: Tensor) -> None:
        """One step."""
        settings, count = self._settings, self._settings.beam_size
        scores = logits.log_softmax(dim=-1)
        if settings.ngram_size > 0 and self._state is not None:
            scores = scores + self._forbidden(scores)
        if len(self.traces[0].ids) < settings.min_length:
            scores[..., settings.eos_id] = FORBIDDEN
        best, tokens = scores.topk(count, dim=-1)
        if self._state is not None:
            ended = (self._state[1] == settings.eos_id).unsqueeze(-1)
            best = best + self._state[0].unsqueeze(-1) + ended * FORBIDDEN
        totals, picked = best.flatten(1).topk(count, dim=-1)
        parents = picked // count
        last = tokens.flatten(1).gather(1, picked)
        self._state = (totals, last)
        written = zip(self.traces, totals.tolist(), last.tolist(), parents.tolist(), strict=True)
        for row, (trace, score, ids, back) in enumerate(written):
            old = self._histories[row]
            self._histories[row] = [
                [*old[parent], token] for parent, token in zip(back, ids, strict=True)
            ]
            # What comes after every beam has ended counts for nothing.
            if trace.ids and all(token == settings.eos_id for token in trace.ids[-1]):
                score, ids, back = trace.scores[-1], trace.ids[-1], list(range(count))
            trace.scores.append(score)
            trace.ids.append(ids)
            trace.parents.append(back)

    def _forbidden(self, scores: Tensor) -> Tensor:
        """What would repeat an n-gram, found hypothesis by hypothesis."""
        size = self._settings.ngram_size
        penalty = torch.zeros_like(scores)
        for row, beams in enumerate(self._histories):
            for beam, history in enumerate(beams):
                tail = history[len(history) - size + 1 :]
                for start in range(len(history) - size + 1):
                    if history[start : start + size - 1] == tail:
                        penalty[row, beam, history[start + size - 1]] = FORBIDDEN
        return penalty
