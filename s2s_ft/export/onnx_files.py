"""Writes the graphs with torch's exporter, and what a program has to know of them.

Notable: it is the exporter over `torch.export`. The older one, which records a run, knows no
tensors without rows, as the first step has them, and is no longer maintained. Sizes are symbols
while it works, which takes about 15 s for a graph of two layers and more for deeper ones.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from s2s_ft.cli import EnvironmentFault
from s2s_ft.export.graphs import EncodeGraph, StepGraph
from s2s_ft.export.manifest import ENCODE, STEP, Axes, Manifest, graph_tensors
from s2s_ft.export.options import ExportOptions
from s2s_ft.export.quantisation import BIGGEST_GRAPH, quantise
from s2s_ft.methods import Method, method_named
from s2s_ft.model.positions import num_positions
from s2s_ft.model.pretrained import load_finetuned
from s2s_ft.model.seq2seq import Seq2SeqModel
from s2s_ft.model.torch_release import require_torch
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)

OPSET = 20
"""The first with the operator Gelu."""

LIBRARIES = ("s2s-ft", "torch", "transformers", "onnx", "onnxscript", "onnxruntime")


def check_packages(*, int8: bool) -> None:
    """Make sure that what is needed is installed.

    Raises:
        EnvironmentFault: A package is missing, or torch is too old.
    """
    require_torch("2.8", "python -m s2s_ft.export")
    for name in ("onnx", "onnxscript", *(["onnxruntime"] if int8 else [])):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise EnvironmentFault(
                f"the package {name} is missing: pip install 's2s-ft[onnx]'"
            ) from error


def write_graphs(options: ExportOptions, folder: Path) -> None:
    """Write graphs, manifest and tokenizer.

    Args:
        options: What to export.
        folder: Existing folder.

    Raises:
        ValueError: The checkpoint cannot be used.
    """
    model = load_finetuned(options.model_path, cache_dir=options.cache_dir)
    codec = _codec_of(model, options)
    method = method_of(model, codec)
    manifest = manifest_of(model, codec, method, int8=options.int8)
    axes = manifest.graphs
    logger.info("writing %s", ENCODE)
    source, lengths = _sample_sources()
    encoded = _export(EncodeGraph(model), (source, lengths), folder / ENCODE, axes[ENCODE])
    logger.info("writing %s", STEP)
    _export(
        StepGraph(model, method.num_unkept),
        _sample_step(method, lengths, encoded),
        folder / STEP,
        axes[STEP],
    )
    if options.int8:
        for name in (ENCODE, STEP):
            quantise(folder / name)
    codec.save(folder)
    manifest.write(folder)


def _codec_of(model: Seq2SeqModel, options: ExportOptions) -> TextCodec:
    """The checkpoint's tokenizer, which has to fit the model."""
    codec = TextCodec.load(
        options.model_path,
        do_lower_case=model.settings.do_lower_case,
        cache_dir=options.cache_dir,
    )
    table = model.encoder.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    return codec.with_vocab_size(table.num_embeddings)


def method_of(model: Seq2SeqModel, codec: TextCodec) -> Method:
    """The checkpoint's method; its lengths do not matter to the graphs."""
    return method_named(
        model.settings.method,
        special=codec.special,
        max_source_length=model.settings.max_source_length or 0,
        max_target_length=model.settings.max_target_length or 0,
    )


def _sample_sources() -> tuple[Tensor, Tensor]:
    """Sources of some size, [B, S] and [B]; which sizes does not matter if they are not 1."""
    return torch.ones(3, 11, dtype=torch.long), torch.tensor([11, 4, 7])


def _sample_step(method: Method, lengths: Tensor, encoded: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """Arguments of a step from two beams to five, behind seven target tokens."""
    examples, heads, _, size = encoded[0].shape
    old_beams, beams, held = 2, 5, 7
    tokens = method.question(torch.ones(examples, beams, dtype=torch.long), examples)
    target = tuple(torch.zeros(examples, old_beams, heads, held, size) for _ in encoded)
    parents = torch.zeros(examples, beams, dtype=torch.long)
    return tokens, parents, lengths, encoded, target


def _export(
    graph: nn.Module, arguments: tuple[Any, ...], path: Path, axes: Mapping[str, Axes]
) -> tuple[Tensor, ...]:
    """Write one graph; returns what it gives for the sample."""
    graph.eval()
    size = sum(each.numel() * each.element_size() for each in graph.parameters())
    names = list(axes["inputs"])
    flat = [each for part in arguments for each in (part if isinstance(part, tuple) else (part,))]
    shapes = dict(zip(names, map(_free_axes, axes["inputs"].values(), flat), strict=True))
    with torch.no_grad(), _quiet_exporter():
        torch.onnx.export(
            graph,
            arguments,
            str(path),
            input_names=names,
            output_names=list(axes["outputs"]),
            dynamic_shapes=_nested(shapes, arguments),
            opset_version=OPSET,
            external_data=size > BIGGEST_GRAPH,
            verbose=False,
            dynamo=True,
        )
        result: tuple[Tensor, ...] = graph(*arguments)
    return result


def _free_axes(axes: tuple[str | int, ...], sample: Tensor) -> dict[int, Any]:
    """The axes of a tensor whose size is free; a single row (causal) stays one.

    The graphs take sizes of 0 and 1, too. They are not asked for because torch 2.9 then sees that
    its own shortcuts for them are not in the graph, and refuses to write it.
    """
    return {
        place: torch.export.Dim(axis, min=2)
        for place, axis in enumerate(axes)
        if isinstance(axis, str) and not (axis == "rows" and sample.shape[place] == 1)
    }


def _nested(shapes: dict[str, Any], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Shapes by name, in the structure of the arguments."""
    waiting = iter(shapes.values())
    return tuple(
        tuple(next(waiting) for _ in part) if isinstance(part, tuple) else next(waiting)
        for part in arguments
    )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what the exporter says to its developers."""
    noisy = logging.getLogger("torch.onnx")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        noisy.setLevel(level)


def manifest_of(
    model: Seq2SeqModel, codec: TextCodec, method: Method, *, int8: bool = False
) -> Manifest:
    """What a program has to know of a model's graphs."""
    settings = model.settings
    with torch.no_grad():
        key = EncodeGraph(model)(*_sample_sources())[0]
    return Manifest(
        method=settings.method,
        num_unkept=method.num_unkept,
        first_question=tuple(method.question(None, 1)[0, 0].tolist()),
        special=codec.special,
        max_source_length=settings.max_source_length,
        max_target_length=settings.max_target_length,
        num_positions=num_positions(model.encoder),
        do_lower_case=settings.do_lower_case,
        num_layers=model.num_layers,
        opset=OPSET,
        int8=int8,
        graphs=graph_tensors(
            model.num_layers, key.shape[1], key.shape[3], codec.special.vocab_size
        ),
        versions={name: found for name in LIBRARIES if (found := _version(name))},
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
