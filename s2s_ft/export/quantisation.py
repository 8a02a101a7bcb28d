"""Graphs with weights in 8 bits: onnxruntime's dynamic quantisation.

Notable: the output head shares its weights with the word embeddings and reads them transposed, and
what is read so would not be quantised. It gets a table of its own first; both together are then
half of what the one was. Weights of products have one scale a column, and use 7 of their 8 bits:
on processors without VNNI two products of 8 bits overflow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

QUANTISED = ("MatMul", "Gather")

BIGGEST_GRAPH = 1_900_000_000
"""Bytes from which on weights lie in a file of their own: a graph holds 2 GB at most."""


def quantise(path: Path) -> None:
    """Replace a graph by one with weights in 8 bits.

    Args:
        path: The graph; of weights that lie beside it, nothing stays.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = path.with_name(f"whole.{path.name}")
    _write_untied(path, whole)
    for leftover in path.parent.glob(f"{path.name}*"):
        leftover.unlink()
    with _quiet():
        quantize_dynamic(
            whole,
            path,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
    for leftover in path.parent.glob(f"{whole.name}*"):
        leftover.unlink()


def _write_untied(path: Path, target: Path) -> None:
    """Write a graph anew whose transposed weights are weights themselves."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    for node in list(graph.node):
        if node.op_type != "Transpose" or node.input[0] not in weights:
            continue
        table = numpy_helper.to_array(weights[node.input[0]]).transpose(node.attribute[0].ints)
        graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(table), node.output[0])
        )
        graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for name, weight in weights.items():
        if name not in read:
            graph.initializer.remove(weight)
    onnx.save(
        model,
        target,
        save_as_external_data=model.ByteSize() > BIGGEST_GRAPH,
        location=f"{target.name}.data",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advice that does not fit."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
