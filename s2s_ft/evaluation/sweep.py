"""Pick length penalty and minimum length on a development set from the traces of one search.

`python -m s2s_ft.evaluation.sweep --input OUTPUT --gold DEV` ranks the hypotheses of every trace
anew for each setting, as `s2s_ft.decode.rescore` does, scores what comes out and names the best
setting with the flags that apply it. Notable: a text that several settings choose is scored once,
and the gain over the settings of the run itself is tested with a paired bootstrap. A length penalty
or reward does not change which hypotheses a search keeps, so that decoding anew with the flags
named gives the very texts; a minimum length does: the figure to report is that of a new run.

Letters: G settings, M different texts of all examples.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s2s_ft.cli import parse, run
from s2s_ft.evaluation.bootstrap import percentile_interval
from s2s_ft.evaluation.inputs import read_texts
from s2s_ft.evaluation.significance import p_value
from s2s_ft.evaluation.sweep_options import Setting, SweepOptions, settings_of
from s2s_ft.evaluation.testset import TestSet
from s2s_ft.storage.output_file import checked_output, write_output

if TYPE_CHECKING:
    from s2s_ft.decode.lines.traces import TraceHeader
    from s2s_ft.decode.rescore import Candidate
    from s2s_ft.decode.search.hypotheses import Trace
    from s2s_ft.evaluation.measures import Measure
    from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)

PROGRAM = "python -m s2s_ft.evaluation.sweep"
_ROUGE_MEAN = ("rouge1", "rouge2", "rougeLsum")

Draw = Callable[[Setting], NDArray[np.float64]]
"""Draws the compared score of a setting, on the same resamples for all of them."""


@dataclass(frozen=True)
class Row:
    """What a setting scores.

    Attributes:
        setting: The setting.
        objective: The score that is compared.
        scores: All scores by key.
        mean_tokens: Mean length of its texts in tokens, the end mark not counted.
    """

    setting: Setting
    objective: float
    scores: dict[str, float]
    mean_tokens: float


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and sweep; returns the exit code."""
    options = parse(SweepOptions, argv, PROGRAM, "Pick length penalty and minimum length on dev.")
    return sweep(options)


def sweep(options: SweepOptions) -> int:
    """Sweep as the options say, print the table and write the JSON file.

    Raises:
        ValueError: The traces or the references are at fault, do not fit each other, or would be
            written over.
        OSError: The JSON file cannot be written.
    """
    from s2s_ft.decode.lines.traces import TRACE_SUFFIX, codec_of, read_header, read_traces

    files = options.traces
    name = files.input.removesuffix(TRACE_SUFFIX)
    path = Path(name + TRACE_SUFFIX)
    if not path.is_file():
        raise ValueError(f"--input: no trace file {path}; decode with --need_score_traces first")
    reads = (("--input", path), ("--input", name), ("--gold", files.gold))
    output = checked_output(files.output_file or f"{name}.sweep.json", reads)
    header = read_header(path)
    references = read_texts(files.gold, (files.target_key,), flag="--gold")
    if header.num_examples != len(references):
        raise ValueError(
            f"--input {path} has {header.num_examples} examples, --gold {files.gold} "
            f"{len(references)} rows; give the references of the rows that were decoded"
        )
    # Decoding takes a penalty below 0 for none.
    own = Setting(alpha=max(0.0, header.length_penalty), reward=header.length_reward)
    settings = list(dict.fromkeys([*settings_of(options.grid), own]))
    codec = codec_of(header, path, tokenizer_name=files.tokenizer_name, cache_dir=files.cache_dir)
    chosen = Chosen(settings, header, codec)
    for trace in read_traces(path):
        chosen.add(trace)
    rows, draw = chosen.score(references, options)
    best = best_row(rows)
    _report(rows, best, draw, own, options, output)
    return 0


class Chosen:
    """The text that each setting chooses for each example; equal texts of an example once."""

    def __init__(self, settings: Sequence[Setting], header: TraceHeader, codec: TextCodec) -> None:
        """Begin without examples."""
        self.settings = settings
        self.texts: list[str] = []  # M
        self.examples: list[int] = []  # M, the example of each text
        self.lengths: list[int] = []  # M, in tokens
        self.rows: list[list[int]] = []  # an example's text under each setting, as a place in M
        self._header, self._codec = header, codec

    def add(self, trace: Trace) -> None:
        """Rank the hypotheses of the next example under every setting."""
        from s2s_ft.decode.rescore import best_candidate, candidates_of

        candidates = candidates_of(trace, self._header.eos_id, self._header.pad_id)
        winners = [
            best_candidate(
                candidates,
                length_penalty=setting.reward,
                alpha=setting.alpha,
                min_length=setting.min_len,
            )
            for setting in self.settings
        ]
        places = self._places(trace, list(dict.fromkeys(winners)))
        self.rows.append([places[winner] for winner in winners])

    def _places(
        self, trace: Trace, winners: Sequence[Candidate | None]
    ) -> dict[Candidate | None, int]:
        """Write out what won under some setting, equal texts once; returns their places in M."""
        from s2s_ft.decode.rescore import sequence_of

        of_text: dict[tuple[int, ...], int] = {}
        places = {}
        for winner in winners:
            ids = sequence_of(trace, winner)
            length = 0 if winner is None else winner.text_length
            key = tuple(ids[:length])
            if key not in of_text:
                of_text[key] = len(self.texts)
                self.texts.append(self._text(ids))
                self.examples.append(len(self.rows))
                self.lengths.append(length)
            places[winner] = of_text[key]
        return places

    def score(self, references: Sequence[str], options: SweepOptions) -> tuple[list[Row], Draw]:
        """Score every setting.

        Returns:
            A row a setting, and what draws the compared score of one of them.
        """
        repeated = [references[example] for example in self.examples]
        test_set = TestSet(repeated, options.scoring, options.protocol)
        measures = test_set.measures(self.texts)
        keys = _ROUGE_MEAN if options.grid.metric == "rouge" else (options.grid.metric,)
        missing = set(keys) - {measure.key for measure in measures}
        if missing:
            shown = ", ".join(measure.key for measure in measures)
            raise ValueError(f"--metric {options.grid.metric}: this protocol has only {shown}")
        table = np.asarray(self.rows)  # [N, G]
        lengths = np.asarray(self.lengths)

        def under(setting: Setting) -> list[Measure]:
            picked = table[:, self.settings.index(setting)]
            return [replace(m, statistics=m.statistics[picked]) for m in measures]

        def draw(setting: Setting) -> NDArray[np.float64]:
            return _samples([m for m in under(setting) if m.key in keys], options)

        rows = []
        for column, setting in enumerate(self.settings):
            scores = {m.key: float(m.values()[0]) for m in under(setting)}
            objective = float(np.mean([scores[key] for key in keys]))
            mean = float(lengths[table[:, column]].mean())
            rows.append(Row(setting, objective, scores, mean))
        return rows, draw

    def _text(self, ids: Sequence[int]) -> str:
        from s2s_ft.decode.lines.outputs import one_line

        return one_line(self._codec.decode(list(ids)))


def best_row(rows: Sequence[Row]) -> Row:
    """The row with the highest score; of equal ones the first, which changes least."""
    highest = max(row.objective for row in rows)
    return next(row for row in rows if row.objective >= highest - 1e-9)


def sweep_table(rows: Sequence[Row], best: Row) -> str:
    """One line a setting, the best one marked."""
    keys = list(rows[0].scores)
    lines = [["", "alpha", "reward", "min_len", "compared", *keys, "tokens"]]
    for row in rows:
        setting = row.setting
        cells = [f"{setting.alpha:g}", f"{setting.reward:g}", str(setting.min_len)]
        scores = [f"{score:.2f}" for score in (row.objective, *row.scores.values())]
        lines.append(["*" if row is best else "", *cells, *scores, f"{row.mean_tokens:.1f}"])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _samples(measures: Sequence[Measure], options: SweepOptions) -> NDArray[np.float64]:
    draw = {"num_bootstrap": options.scoring.num_bootstrap, "seed": options.scoring.seed}
    return np.asarray(np.mean([m.samples(**draw)[:, 0] for m in measures], axis=0))


def _report(
    rows: Sequence[Row],
    best: Row,
    draw: Draw,
    own: Setting,
    options: SweepOptions,
    output: Path,
) -> None:
    """Print the table and the flags, and write the JSON file."""
    run_row = next(row for row in rows if row.setting == own)
    gain = gain_over(best, run_row, draw)
    print(sweep_table(rows, best))
    print(
        f"\nbest {options.grid.metric}: {best.objective:.2f}, {gain['value']:+.2f} "
        f"[{gain['low']:+.2f}, {gain['high']:+.2f}] over the settings of the run "
        f"(p {gain['p_value']:.4f}; the best of {len(rows)} on the same data flatters itself)"
    )
    print(f"rescore this search:  {best.setting.rescore_flags() or '(no flags)'}")
    print(f"decode anew:          {best.setting.decode_flags()}")
    content = {
        "input": options.traces.input,
        "gold": options.traces.gold,
        "protocol": options.protocol.protocol,
        "metric": options.grid.metric,
        "best": asdict(best.setting),
        "rescore_flags": best.setting.rescore_flags(),
        "decode_flags": best.setting.decode_flags(),
        "run": asdict(own),
        "gain": gain,
        "settings": [asdict(row) for row in rows],
    }
    write_output(output, [json.dumps(content, ensure_ascii=False, indent=2), "\n"])
    logger.info("the table is in %s", output)


def gain_over(best: Row, run_row: Row, draw: Draw) -> dict[str, float]:
    """What the best setting gains over that of the run, with interval and p-value."""
    gains = draw(best.setting) - draw(run_row.setting)
    observed = best.objective - run_row.objective
    low, high = percentile_interval(gains)
    return {"value": observed, "low": low, "high": high, "p_value": p_value(gains, observed)}


if __name__ == "__main__":
    raise SystemExit(run(main))
