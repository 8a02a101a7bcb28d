"""How fast exported graphs decode beside torch: tokens per second of processor time, one thread.

    python benchmarks/onnx_speed.py --model_path CKPT --onnx DIR [--int8 DIR] [--rows N] [--beams N]

Notable: processor time and not wall time is what is divided by, so that other work on the machine
matters little; both sides decode the same texts in the same batches, with the same search, and how
many of their outputs are the same is told beside the figures.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks.command_line import SAMPLE
from s2s_ft import Generator
from s2s_ft.export.runtime import OnnxDecoder


def texts(count: int) -> list[str]:
    """Sources of the sample's test rows."""
    with gzip.open(SAMPLE / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["src"] for line in file][:count]


def measured(
    decode: Callable[[list[str]], list[str]], sources: list[str]
) -> tuple[list[str], float]:
    """Outputs, and the seconds of processor time that they took; the first rows warm up."""
    decode(sources[:4])
    start = time.process_time()
    outputs = decode(sources)
    return outputs, time.process_time() - start


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--onnx", required=True)
    parser.add_argument("--int8")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--beams", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sources = texts(given.rows)
    generator = Generator.from_pretrained(given.model_path, device="cpu")
    ways: dict[str, Callable[[list[str]], list[str]]] = {
        "torch float32": partial(generator, num_beams=given.beams, batch_size=16)
    }
    for name, folder in (("onnxruntime float32", given.onnx), ("onnxruntime int8", given.int8)):
        if folder:
            decoder = OnnxDecoder.from_folder(folder, num_threads=1)
            ways[name] = partial(decoder, num_beams=given.beams, batch_size=16)
    expected: list[str] | None = None
    for name, decode in ways.items():
        outputs, seconds = measured(decode, sources)
        expected = expected or outputs
        words = sum(len(text.split()) for text in outputs)
        same = sum(one == other for one, other in zip(outputs, expected, strict=True))
        print(
            f"{name:22} {words / seconds:8.1f} words/s {seconds:8.1f} s  {same} of {len(outputs)}"
        )


if __name__ == "__main__":
    main()
