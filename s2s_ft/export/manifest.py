"""`s2s_ft_onnx.json`: what a program needs to know to drive the graphs, whatever it is written in.

Notable: it names every input and output with its axes, the ids with a meaning, and, in words, the
loop of a decoder; so nothing but the tokenizer's files is needed beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from s2s_ft.text import SpecialIds

FILE = "s2s_ft_onnx.json"
ENCODE, STEP = "encode.onnx", "step.onnx"
FORMAT = 1
"""Version of the file and of what the graphs take and give."""

DRIVING = (
    "Frame each source as the method has it: causal [cls] x, else [cls] x [sep]; pad at the end.",
    "Run encode once; hand its outputs to every step under the same names.",
    "First step: one beam, tokens = first_question, parents = 0, target_* without rows "
    "([batch, 1, heads, 0, size]).",
    "Later steps: tokens = [last] (causal) or [last, mask]; parents = the beam of the step before "
    "that each beam goes on from; target_* = what the step before gave as new_target_*.",
    "logits are of the next token; a beam ends at sep.",
)

Axes = Mapping[str, tuple[str | int, ...]]
"""Tensors of a graph by name, with their axes: a word where the size is free."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What is in the file.

    Attributes:
        method: Name of the fine-tuning method.
        num_unkept: Rows at the end of a question that leave nothing behind.
        first_question: Tokens that ask for the first one.
        special: Ids with a meaning.
        max_source_length: Longest source of training in tokens, special ones included; or None.
        max_target_length: Longest target of training, likewise.
        num_positions: Positions that source and target share; None = no limit.
        do_lower_case: Casing of the tokenizer; None = as its files say.
        num_layers: Layers, each with a key and a value.
        opset: Of the graphs.
        int8: Whether weights are quantised.
        graphs: Of each file, the tensors that go in and come out.
        versions: Of what wrote it.
        format: See `FORMAT`.
        driving: The decoder's loop, in words.
    """

    method: str
    num_unkept: int
    first_question: tuple[int, ...]
    special: SpecialIds
    max_source_length: int | None
    max_target_length: int | None
    num_positions: int | None
    do_lower_case: bool | None
    num_layers: int
    opset: int
    int8: bool
    graphs: Mapping[str, Mapping[str, Axes]]
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT
    driving: tuple[str, ...] = DRIVING

    def write(self, folder: Path) -> None:
        """Write the file."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """What `write` wrote.

        Raises:
            ValueError: There is no such file, or it is damaged or of another version.
        """
        path = folder / FILE
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ValueError(
                f"{folder} has no {FILE}: name a folder that python -m s2s_ft.export wrote"
            ) from error
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is damaged ({error}): export the checkpoint anew") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path} is not of format {FORMAT}: export the checkpoint anew")
        special = SpecialIds(**content.pop("special"))
        first = tuple(content.pop("first_question"))
        return cls(special=special, first_question=first, **content)


def tensor_names(num_layers: int, prefix: str) -> list[str]:
    """Names of the keys and values of all layers: `source_key.0`, `source_value.0`, …"""
    return [f"{prefix}_{part}.{layer}" for layer in range(num_layers) for part in ("key", "value")]


def graph_tensors(
    num_layers: int, heads: int, size: int, vocab_size: int
) -> dict[str, dict[str, dict[str, tuple[str | int, ...]]]]:
    """Tensors that go into the graphs and come out, with their axes.

    Args:
        num_layers: Layers of the encoder.
        heads: Key/value heads.
        size: Width of a head.
        vocab_size: Width of the output.
    """
    source: tuple[str | int, ...] = ("batch", heads, "source", size)
    old: tuple[str | int, ...] = ("batch", "old_beams", heads, "target", size)
    new: tuple[str | int, ...] = ("batch", "beams", heads, "new_target", size)
    sources = dict.fromkeys(tensor_names(num_layers, "source"), source)
    targets = dict.fromkeys(tensor_names(num_layers, "target"), old)
    kept = dict.fromkeys(tensor_names(num_layers, "new_target"), new)
    return {
        ENCODE: {
            "inputs": {"source": ("batch", "source"), "source_lengths": ("batch",)},
            "outputs": dict(sources),
        },
        STEP: {
            "inputs": {
                "tokens": ("batch", "beams", "rows"),
                "parents": ("batch", "beams"),
                "source_lengths": ("batch",),
                **sources,
                **targets,
            },
            "outputs": {"logits": ("batch", "beams", vocab_size), **kept},
        },
    }
