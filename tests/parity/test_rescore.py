"""Golden a4: the sequences that the original's rescoring picks from its own traces.

The traces are those of the a3 cases, their valid steps only. `min_len` is not handed on: the
original accepts it and never uses it, ours does. Where the original's padding loses an unfinished
best hypothesis, `unpadded` is what it picks without padding, and what counts.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s2s_ft.decode.rescore import best_sequence
from s2s_ft.decode.search.hypotheses import Trace
from tests.parity.conftest import GOLDEN, cases, read_json


def traces_of(case: Path) -> Iterator[tuple[dict[str, Any], Trace, list[list[int]]]]:
    """Where each trace is from, its valid steps, and the sequences that the original picks."""
    inputs, expected = read_json(case, "inputs"), read_json(case, "expected")
    for origin, answers in zip(inputs["traces"], expected["traces"], strict=True):
        run = read_json(GOLDEN / origin["trace_from"], "expected")["runs"][origin["run"]]
        source = origin["source"]
        valid = run["valid_frames"][source]
        trace = Trace(
            scores=run["scores"][source][:valid],
            ids=run["wids"][source][:valid],
            parents=run["ptrs"][source][:valid],
        )
        yield origin, trace, answers.get("unpadded", answers["padded"])


@pytest.mark.parametrize("case", cases("a4_"), ids=lambda case: case.name)
def test_picks_what_the_original_picks(case: Path) -> None:
    combos = read_json(case, "inputs")["combos"]
    num_checked = 0
    for origin, trace, answers in traces_of(case):
        for combo, answer in zip(combos, answers, strict=True):
            picked = best_sequence(
                trace,
                eos_id=origin["eos_id"],
                pad_id=origin["pad_id"],
                length_penalty=combo.get("length_penalty", 0.0),
                alpha=combo.get("alpha", 0.0),
                expected_length=combo.get("expect"),
            )
            assert picked == answer, (origin, combo)
            num_checked += 1
    assert num_checked > 0
