"""Golden a4: the sequences that the original's rescoring picks from its own traces.

The traces are those of the a3 cases, their valid steps only. `min_len` is not handed on: the
original accepts it and never uses it, ours does. Where the original's padding loses an unfinished
best hypothesis, `unpadded` is what it picks without padding, and what counts.
"""

import json
import os
from pathlib import Path

import pytest

from s2s_ft.decode.beam_search import Trace
from s2s_ft.decode.rescore import best_sequence

GOLDEN = Path(os.environ.get("S2S_FT_GOLDEN") or Path(__file__).parent / "golden")
CASES = sorted(path.name for path in GOLDEN.glob("a4_*"))


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def traces_of(case):
    inputs, expected = load(GOLDEN / case / "inputs.json"), load(GOLDEN / case / "expected.json")
    assert len(inputs["traces"]) == len(expected["traces"])
    searches = {
        name: load(GOLDEN / name / "expected.json")
        for name in {t["trace_from"] for t in inputs["traces"]}
    }
    for origin, answers in zip(inputs["traces"], expected["traces"], strict=True):
        search = searches[origin["trace_from"]]["runs"][origin["run"]]
        source = origin["source"]
        valid = search["valid_frames"][source]
        trace = Trace(
            scores=search["scores"][source][:valid],
            ids=search["wids"][source][:valid],
            parents=search["ptrs"][source][:valid],
        )
        yield origin, trace, answers.get("unpadded", answers["padded"])


def test_there_are_cases():
    assert CASES, f"no a4 case in {GOLDEN}"


@pytest.mark.parametrize("case", CASES)
def test_picks_what_the_original_picks(case):
    combos = load(GOLDEN / case / "inputs.json")["combos"]
    checked = 0
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
            checked += 1
    assert checked == len(combos) * len(load(GOLDEN / case / "inputs.json")["traces"]) > 0
