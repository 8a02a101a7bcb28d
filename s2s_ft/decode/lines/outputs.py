"""What a decoding run writes: one line an example, as text or as JSON, in the order of the input.

Notable: batches are formed by length, so results arrive out of order. What a row gives is made a
`Line` where it is decoded, and lines are brought into order where they are written (`ways/`:
`journal.py` for files, `stream.py` for standard output).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s2s_ft.data.labels import ID_KEY
from s2s_ft.decode.lines.sources import Item
from s2s_ft.decode.lines.traces import trace_line
from s2s_ft.decode.search.hypotheses import Hypothesis, SearchResult, Trace
from s2s_ft.text import LINE_BREAK_MARK, TextCodec

# Every character at which some reader of lines starts a new one: those that `str.splitlines` knows.
_LINE_BREAKS = re.compile("\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class Line:
    """What is written for a row.

    Attributes:
        index: The row's number in the input, from 0.
        output: Its line of the output.
        trace: Its line of the traces, or None where there are none.
        lacks_words: Whether the output does not hold all that it must.
    """

    index: int
    output: str
    trace: str | None = None
    lacks_words: bool = False


def one_line(text: str) -> str:
    """`text` without line breaks of any kind; where one was, stands ` [X_SEP] `."""
    return _LINE_BREAKS.sub(LINE_BREAK_MARK, text)


def hypothesis_row(
    hypothesis: Hypothesis, text: str, tokens: Sequence[str] | None
) -> dict[str, object]:
    """One output as JSON has it.

    Args:
        hypothesis: What the search found.
        text: Its text.
        tokens: Its tokens as words, the end token included if there is one; None leaves them and
            their probabilities out.
    """
    row: dict[str, object] = {
        "text": text,
        "score": hypothesis.score,
        "log_probability": hypothesis.log_probability,
        "tokens": len(hypothesis.ids),
        "finished": hypothesis.finished,
    }
    if tokens is not None:
        row["token_strings"] = list(tokens)
        row["token_log_probabilities"] = list(hypothesis.token_log_probabilities)
    return row


EMPTY_ROW: dict[str, object] = {
    "text": "",
    "score": None,
    "log_probability": None,
    "tokens": 0,
    "finished": True,
}
"""What an empty source has for an output, so that the first one is always there."""


def json_line(index: int, hypotheses: Sequence[dict[str, object]], label: Any = None) -> str:
    """One example as a JSON object.

    Args:
        index: number of the row in the input, from 0.
        hypotheses: as `hypothesis_row` gives them, best first; empty for an empty source.
        label: the row's own `id`, None where it has none.

    Returns:
        `{"index", "id", "hypotheses": [{"text", "score", "log_probability", "tokens",
        "finished"}]}`, without `id` for a row without. `score` is what the hypotheses are ranked by
        (after the length penalty), `log_probability` the natural-log probability, summed; `tokens`
        leaves the end token out, and `finished` says whether there is one.
    """
    rows = list(hypotheses) or [EMPTY_ROW]
    labelled = {} if label is None else {ID_KEY: label}
    return json.dumps({"index": index, **labelled, "hypotheses": rows}, ensure_ascii=False)


@dataclass(frozen=True)
class Wording:
    """Turns results into lines.

    Attributes:
        codec: Turns ids into text.
        as_json: Whether outputs are JSON objects, and not plain text.
        with_tokens: Whether JSON holds tokens and their probabilities.
        with_trace: Whether there are traces.
    """

    codec: TextCodec
    as_json: bool
    with_tokens: bool
    with_trace: bool

    def line(self, item: Item, result: SearchResult) -> Line:
        """What is written for a row; for an empty source that is an empty line."""
        trace = None
        if self.with_trace:
            trace = trace_line(item.index, result.trace or Trace([], [], []))
        return Line(item.index, self._output(item, result.hypotheses), trace)

    def tokens_of(self, hypothesis: Hypothesis) -> list[str]:
        """The tokens of an output, one for each of its `token_log_probabilities`."""
        end = [self.codec.special.sep] if hypothesis.finished else []
        return self.codec.tokens([*hypothesis.ids, *end])

    def _output(self, item: Item, hypotheses: Sequence[Hypothesis]) -> str:
        texts = [self.codec.decode(each.ids) for each in hypotheses]
        if not self.as_json:
            return one_line(texts[0]) if texts else ""
        rows = [
            hypothesis_row(each, text, self.tokens_of(each) if self.with_tokens else None)
            for each, text in zip(hypotheses, texts, strict=True)
        ]
        return json_line(item.index, rows, item.label)
