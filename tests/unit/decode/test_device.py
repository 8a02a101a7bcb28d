"""What is told of where decoding computes."""

import logging
import re

import pytest
import torch

from s2s_ft.decode.device import tell_place
from s2s_ft.options import DecodeOptions, build


@pytest.mark.parametrize(
    ("flags", "ranks", "expected"),
    [
        ({}, 1, r"on the CPU, \d+ threads, float32"),
        ({"bf16": True}, 1, r"on the CPU, \d+ threads, bfloat16"),
        ({"int8": True}, 2, r"2 processes, this one on the CPU, \d+ threads, 8-bit integers"),
        ({"workers": 3}, 1, "3 workers on the CPU, float32"),
    ],
)
def test_where_it_is_decoded_is_told(caplog, flags, ranks, expected):
    runtime = build(DecodeOptions, {"model_path": "m", "input_file": "i", **flags}).runtime
    with caplog.at_level(logging.INFO):
        tell_place(torch.device("cpu"), runtime, ranks=ranks, workers=runtime.workers)
    (message,) = caplog.messages
    assert re.fullmatch(f"decoding: {expected}", message)
