"""The commands' options, with the least that each of them must be given."""

from typing import Any

from s2s_ft.decode.rescore import RescoreOptions
from s2s_ft.options import DecodeOptions, TrainOptions, build

CLASSES: dict[str, type[Any]] = {
    "train": TrainOptions,
    "decode": DecodeOptions,
    "rescore": RescoreOptions,
}
TRAIN = {"train_file": "train.jsonl", "model_name_or_path": "encoder", "output_dir": "out"}
DECODE = {"model_path": "out/ckpt-6", "input_file": "test.jsonl"}


def train(**values: Any) -> TrainOptions:
    return build(TrainOptions, {**TRAIN, **values})


def decode(**values: Any) -> DecodeOptions:
    return build(DecodeOptions, {**DECODE, **values})
