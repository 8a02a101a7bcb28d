"""Training rows whose targets are a teacher's outputs (`python -m s2s_ft.distill.rows`).

    rows of the training data     {"src": …, "tgt": the reference}
    the teacher's outputs         {"index", "hypotheses": [{"text", "log_probability", …}]}
    what is written               {"src": …, "tgt": the teacher's text}

This is sequence-level distillation (Kim and Rush 2016): the student learns to write what the
teacher writes, whatever their vocabularies are.

Notable: filters look at one output at a time, so they compare across files. Outputs that are empty
or come twice for a row are always left out. The file is written whole or not at all. Importing this
module loads nothing but the standard library.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2s_ft.cli import parse, run
from s2s_ft.data.labels import ID_KEY, require_same_row
from s2s_ft.options import flag
from s2s_ft.options.checks import at_most, count, finite, not_empty, within
from s2s_ft.storage.output_file import checked_output, write_output

if TYPE_CHECKING:
    from s2s_ft.data.examples import Example

logger = logging.getLogger(__name__)

PROGRAM = "python -m s2s_ft.distill.rows"
DESCRIPTION = "Make training rows of a teacher's outputs."


@dataclass(frozen=True, kw_only=True)
class RowsOptions:
    """What is joined, and what of it is kept."""

    train_file: str = field(
        metadata=flag("The rows that the teacher decoded: JSON lines.", metavar="FILE")
    )
    outputs: str = field(
        metadata=flag(
            "Its outputs: decode_seq2seq.py with --output_format jsonl wrote them.", metavar="FILE"
        )
    )
    output_file: str = field(metadata=flag("Rows to train a student on.", metavar="FILE"))
    source_key: str = field(default="src", metadata=flag("Key of a row's source.", metavar="KEY"))
    target_key: str = field(default="tgt", metadata=flag("Key of a row's target.", metavar="KEY"))
    num_hypotheses: int = field(
        default=1, metadata=flag("Outputs of a row to use, best first, each as a row of its own.")
    )
    min_log_probability: float | None = field(
        default=None,
        metadata=flag(
            "Leave out outputs that the teacher finds less likely: natural-log probability per "
            "token, below 0."
        ),
    )
    min_rouge: float | None = field(
        default=None,
        metadata=flag("Leave out outputs whose ROUGE-L with the reference is lower, 0 to 100."),
    )
    add_references: bool = field(
        default=False, metadata=flag("Write the rows as they were, too, before the new ones.")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            train_file=self.train_file,
            outputs=self.outputs,
            output_file=self.output_file,
            source_key=self.source_key,
            target_key=self.target_key,
        )
        if self.source_key == self.target_key:
            raise ValueError(
                f"--target_key {self.target_key} is the --source_key, too: the outputs would take "
                "the place of the sources; give another one"
            )
        count(1, num_hypotheses=self.num_hypotheses)
        at_most(0, min_log_probability=self.min_log_probability)
        finite(min_log_probability=self.min_log_probability)
        within(0, 100, min_rouge=self.min_rouge)


@dataclass(frozen=True)
class Output:
    """One output of a row.

    Attributes:
        text: What the teacher wrote.
        log_probability: Natural log, mean over its tokens, the end token included where there is
            one; None where the file does not say.
    """

    text: str
    log_probability: float | None


def rows_main(argv: Sequence[str] | None = None) -> int:
    """Run the command (``python -m s2s_ft.distill.rows``)."""
    return run(lambda: main(argv))


def main(argv: Sequence[str] | None = None) -> int:
    """Join rows and outputs; see `write_rows`."""
    return write_rows(parse(RowsOptions, argv, PROGRAM, DESCRIPTION))


def write_rows(options: RowsOptions) -> int:
    """Write the rows, and tell what was left out.

    Args:
        options: Everything the command line says.

    Returns:
        Exit code 0.

    Raises:
        ValueError: A file is not as described, the two do not fit, nothing is left, or it would be
            written in the place of one of them.
        OSError: The rows cannot be written.
    """
    from s2s_ft.data.examples import read_examples
    from s2s_ft.data.files import named_by, require_file

    require_file(options.train_file, "--train_file")
    require_file(options.outputs, "--outputs")
    reads = (("--train_file", options.train_file), ("--outputs", options.outputs))
    output = checked_output(options.output_file, reads)
    needs_target = options.add_references or options.min_rouge is not None
    with named_by("--train_file", options.train_file):
        examples = list(
            read_examples(
                options.train_file,
                source_key=options.source_key,
                target_key=options.target_key,
                target_required=needs_target,
                allow_empty_source=True,
            )
        )
    counts: Counter[str] = Counter()
    taught = list(_taught(options, examples, counts))
    if not taught:
        raise ValueError(
            f"--outputs {options.outputs}: nothing is left of it ({_listed(counts)}): lower "
            "--min_rouge or --min_log_probability"
        )
    rows = taught
    if options.add_references:
        rows = [(each.source, each.target) for each in examples if not each.is_empty] + taught
    lines = (
        json.dumps({options.source_key: source, options.target_key: target}, ensure_ascii=False)
        for source, target in rows
    )
    write_output(output, (f"{line}\n" for line in lines))
    logger.info("%s: %d rows, %d of them the teacher's", output, len(rows), len(taught))
    if counts:
        logger.info("left out: %s", _listed(counts))
    return 0


def _taught(
    options: RowsOptions, examples: Sequence[Example], counts: Counter[str]
) -> Iterator[tuple[Any, Any]]:
    """Source and text of each output that is kept; the others are counted by why they are not."""
    pairs = list(_pairs(options, examples))
    overlaps = _overlaps(options, pairs)
    seen: set[tuple[int, str]] = set()
    for (example, output), overlap in zip(pairs, overlaps, strict=True):
        reason = None
        if example.is_empty or not output.text.strip():
            reason = "empty"
        elif (example.line, output.text) in seen:
            reason = "twice"
        elif _is_unlikely(output, options):
            reason = "unlikely"
        elif options.min_rouge is not None and overlap < options.min_rouge:
            reason = "unlike the reference"
        seen.add((example.line, output.text))
        if reason is None:
            yield example.source, output.text
        else:
            counts[reason] += 1


def _is_unlikely(output: Output, options: RowsOptions) -> bool:
    """Whether the teacher itself finds an output too unlikely."""
    if options.min_log_probability is None:
        return False
    if output.log_probability is None:
        raise ValueError(
            f"--min_log_probability: {options.outputs} holds no log_probability: decode with "
            "--output_format jsonl, or leave the flag out"
        )
    return output.log_probability < options.min_log_probability


def _pairs(options: RowsOptions, examples: Sequence[Example]) -> Iterator[tuple[Example, Output]]:
    """Each row with each output that is looked at."""
    outputs = _read_outputs(options)
    for rows, (example, found) in enumerate(zip_longest(examples, outputs)):
        if example is None or found is None:
            more, less = ("--outputs", "--train_file")[:: 1 if example is None else -1]
            raise ValueError(
                f"{more} has more rows than the {rows} of {less}: the teacher must have decoded "
                "these very rows, all of them"
            )
        label, hypotheses = found
        require_same_row(
            rows + 1,
            (f"--outputs {options.outputs}", label),
            (f"--train_file {options.train_file}", example.label),
        )
        for output in hypotheses:
            yield example, output


def _read_outputs(options: RowsOptions) -> Iterator[tuple[Any, list[Output]]]:
    """The `id` of each row and its first outputs, in order."""
    from s2s_ft.data.examples import parsed_row, raw_rows
    from s2s_ft.data.files import named_by

    with named_by("--outputs", options.outputs):
        for number, raw in enumerate(raw_rows(Path(options.outputs))):
            row = parsed_row(raw)
            try:
                index, hypotheses = row["index"], row["hypotheses"]
                found = [_output(each) for each in hypotheses[: options.num_hypotheses]]
            except (KeyError, TypeError, AttributeError) as error:
                raise raw.fault(
                    "no output of decode_seq2seq.py --output_format jsonl "
                    f"({type(error).__name__}: {error})"
                ) from error
            if index != number:
                raise raw.fault(f"is the output of row {index}, not of {number}")
            yield row.get(ID_KEY), found


def _output(hypothesis: dict[str, Any]) -> Output:
    total = hypothesis.get("log_probability")
    text = hypothesis["text"]
    if not isinstance(text, str):
        raise TypeError("text is no text")
    if total is None:
        return Output(text, None)
    # What was cut at the maximum length has no end token; files from before said nothing of it.
    end = 1 if hypothesis.get("finished", True) else 0
    return Output(text, total / max(1, hypothesis["tokens"] + end))


def _overlaps(options: RowsOptions, pairs: Sequence[tuple[Example, Output]]) -> list[float]:
    """ROUGE-L of each output with its reference, 0 to 100; 0 where it does not matter."""
    if options.min_rouge is None:
        return [0.0] * len(pairs)
    from s2s_ft.evaluation.rouge import rouge_scores
    from s2s_ft.text import spelled

    references = spelled([example.target or "" for example, _ in pairs])
    scores = rouge_scores([output.text for _, output in pairs], references)
    return [100.0 * float(each) for each in scores["rougeL"]]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())) or "no output"


if __name__ == "__main__":
    raise SystemExit(rows_main())
