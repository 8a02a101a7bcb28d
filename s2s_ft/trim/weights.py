"""A model whose vocabulary is cut down: its rows, what it knows by id, and its files.

Notable: what the config and the generation config call `…_token_id` is renumbered with the rows.
Weights keep the number format they were stored in; a head that the checkpoint did not hold is not
written either, so what starts fresh from the whole model starts fresh from the trimmed one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from s2s_ft.model.located import weight_files
from s2s_ft.model.parts import origin_of
from s2s_ft.model.positions import position_offset
from s2s_ft.model.pretrained import load_unchanged
from s2s_ft.model.saving import stored_weights
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.model.vocabulary import change_rows

WEIGHTS, GENERATION = "model.safetensors", "generation_config.json"
_HALVES = {"F16": torch.float16, "BF16": torch.bfloat16}


@dataclass
class TrimmedModel:
    """A model on its way from all tokens to some.

    Attributes:
        model: As loaded, then trimmed.
        stored: Number format of its weights in the file it came from.
        generation: Content of its generation config, empty where it has none.
        before: What it was: parameters, bytes of its weights and of its tokenizer.
    """

    model: Seq2SeqModel
    stored: torch.dtype
    generation: dict[str, Any]
    before: tuple[int, int | None, int | None]

    @classmethod
    def load(cls, name: str, cache_dir: str | None) -> TrimmedModel:
        """Load a model of any kind, pretrained or fine-tuned.

        Raises:
            ValueError: It cannot be loaded.
        """
        model = load_unchanged(name, cache_dir=cache_dir)
        path = Path(name) / GENERATION
        generation = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        before = _num_parameters(model), *_file_sizes(Path(name))
        return cls(model, _stored_format(name), generation, before)

    @property
    def num_rows(self) -> int:
        """Rows of the vocabulary."""
        words = self.model.encoder.get_input_embeddings()
        return int(words.get_parameter("weight").shape[0])

    def fixed_ids(self, pad: int) -> set[int]:
        """Ids that stay whatever is read: those of the configs, and those before the padding's
        where positions are counted from it.
        """
        known = [*_token_ids(self._config), *_token_ids(self.generation)]
        ids = {token_id for _, token_id in known if 0 <= token_id < self.num_rows}
        return ids | set(range(pad + 1)) if position_offset(self.model.encoder) else ids

    def keep(self, kept: Sequence[int]) -> None:
        """Leave only the rows of these ids; their order gives the new ids."""
        encoder, index = self.model.encoder, torch.tensor(kept)
        new_id = {old: new for new, old in enumerate(kept)}
        for name, old in _token_ids(self._config):
            setattr(encoder.config, name, new_id.get(old, old))
        for name, old in _token_ids(self.generation):
            self.generation[name] = new_id.get(old, old)
        change_rows(encoder, lambda rows: rows[index])
        words = encoder.get_input_embeddings()
        if isinstance(words, nn.Embedding) and words.padding_idx is not None:
            words.padding_idx = new_id.get(words.padding_idx)

    def save(self, folder: Path) -> None:
        """Write config, weights and generation config."""
        encoder = self.model.encoder
        encoder.config.dtype = self.stored
        encoder.config.save_pretrained(folder)
        state, fresh = stored_weights(self.model, self.model.state_dict()), origin_of(encoder).fresh
        weights = {name: self._as_stored(x) for name, x in state.items() if name not in fresh}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        if self.generation:
            text = json.dumps(self.generation, indent=2, ensure_ascii=False) + "\n"
            (folder / GENERATION).write_text(text, encoding="utf-8")

    def sizes(self, folder: Path) -> str:
        """Parameters and files before and after, in words."""
        after = _num_parameters(self.model), *_file_sizes(folder)
        parts = [f"parameters {self.before[0] / 1e6:.2f} -> {after[0] / 1e6:.2f} million"]
        names = ("weights", "tokenizer")
        for name, old, new in zip(names, self.before[1:], after[1:], strict=True):
            parts.append(f"{name} {_megabytes(old)} -> {_megabytes(new)} MB")
        return ", ".join(parts)

    @property
    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.model.encoder.config.to_dict()
        return config

    def _as_stored(self, tensor: Tensor) -> Tensor:
        tensor = tensor.to(self.stored) if tensor.is_floating_point() else tensor
        return tensor.contiguous()


def _token_ids(config: Mapping[str, Any]) -> list[tuple[str, int]]:
    """What a config knows by a token's id."""
    return [
        (name, value)
        for name, value in config.items()
        if name.endswith("_token_id") and isinstance(value, int)
    ]


def _stored_format(name: str) -> torch.dtype:
    """Half precision if all weights of a folder are in one kind of it, else float32."""
    formats: set[str] = set()
    for file in weight_files(Path(name)):
        if file.suffix != ".safetensors":
            return torch.float32
        with safe_open(str(file), framework="pt") as tensors:
            formats |= {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
    return _HALVES.get(formats.pop(), torch.float32) if len(formats) == 1 else torch.float32


def _num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _file_sizes(folder: Path) -> tuple[int | None, int | None]:
    """Bytes of the weights and the tokenizer in a folder, None where they are elsewhere."""
    tokenizer = [folder / name for name in ("tokenizer.json", "vocab.txt", "vocab.json")]
    files = [path for path in tokenizer if path.is_file()][:1]
    weights, vocabulary = (
        sum(path.stat().st_size for path in each) or None for each in (weight_files(folder), files)
    )
    return weights, vocabulary


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.2f}"
