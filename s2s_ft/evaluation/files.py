"""Reads the files of an evaluation as its options name them, and writes its scores.

Notable: row n of one file belongs to row n of the other, so that files of different lengths are
refused, and those whose rows have an `id` and not the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from s2s_ft.data.files import require_file
from s2s_ft.evaluation.inputs import PREDICTION_KEYS, Rows, has_key, read_rows
from s2s_ft.evaluation.languages import file_of, names
from s2s_ft.evaluation.options import EvaluationOptions
from s2s_ft.evaluation.testset import TestSet
from s2s_ft.storage.output_file import checked_output, write_output


def for_language(options: EvaluationOptions, language: str) -> EvaluationOptions:
    """The options with the language's name in the names of its files.

    Raises:
        ValueError: A flag that names a file has no place for the language.
    """
    files, other = options.files, options.comparison.compare
    return replace(
        options,
        files=replace(
            files,
            pred=file_of(files.pred, language, flag="--pred"),
            gold=file_of(files.gold, language, flag="--gold"),
        ),
        comparison=replace(
            options.comparison,
            compare=None if other is None else file_of(other, language, flag="--compare"),
        ),
    )


def read_test_set(options: EvaluationOptions) -> tuple[TestSet, list[str], Sequence[Rows]]:
    """The references with their protocol, the predictions, and the rows that both are of.

    Raises:
        ValueError: A file is at fault, or the two are not of the same rows.
    """
    _require_what_is_read_again(options)
    predictions = read_rows(options.files.pred, PREDICTION_KEYS, flag="--pred")
    gold = read_rows(options.files.gold, (options.files.target_key,), flag="--gold")
    predictions.require_pairs_with(gold)
    both = (gold, predictions)
    sources = None
    if options.protocol.protocol == "qg":
        key = options.protocol.group_key or options.comparison.source_key
        sources = _sources(options, key, both, needed_by="--protocol qg")
    test_set = TestSet(gold.texts, options.scoring, options.protocol, sources)
    return test_set, predictions.texts, both


def read_other(options: EvaluationOptions, beside: Sequence[Rows]) -> list[str] | None:
    """The predictions of `--compare`, of the same rows as others; None where it is not given."""
    path = options.comparison.compare
    if path is None:
        return None
    return _paired(read_rows(path, PREDICTION_KEYS, flag="--compare"), beside)


def read_sources(options: EvaluationOptions, beside: Sequence[Rows]) -> list[str] | None:
    """The sources of the same rows, where baselines or examples ask for them and they are known."""
    comparison = options.comparison
    if not comparison.baselines and not comparison.examples:
        return None
    needed_by = "--source_key" if comparison.has_own_source_key else None
    if comparison.baselines:
        needed_by = "--baselines"
    return _sources(options, comparison.source_key, beside, needed_by=needed_by)


def scores_file(options: EvaluationOptions) -> Path:
    """Where the scores go: `--output_file`, or beside the predictions.

    Raises:
        ValueError: That is a folder, or a file that is read.
    """
    files, languages = options.files, options.protocol.languages
    own = [for_language(options, each) for each in names(languages)] if languages else [options]
    reads = [
        (flag, file)
        for each in own
        for flag, file in (
            ("--pred", each.files.pred),
            ("--gold", each.files.gold),
            ("--compare", each.comparison.compare),
            ("--source_file", each.comparison.source_file),
            ("--dev_file", each.comparison.dev_file),
        )
    ]
    default = f"{files.pred.replace('{lang}', 'all')}.scores.json"
    return checked_output(files.output_file or default, reads)


def write_scores(content: Mapping[str, Any], path: Path) -> None:
    """Write the scores in one step.

    Raises:
        OSError: The file cannot be written.
    """
    write_output(path, [json.dumps(content, ensure_ascii=False, indent=2), "\n"])


def _require_what_is_read_again(options: EvaluationOptions) -> None:
    comparison = options.comparison
    readings = [options.protocol.protocol == "qg", comparison.baselines or comparison.examples > 0]
    if any(readings) and comparison.source_file is None:
        require_file(options.files.gold, "--gold", rereads=True)
    if all(readings) and comparison.source_file is not None:
        require_file(comparison.source_file, "--source_file", rereads=True)
    if comparison.dev_file is not None:
        require_file(comparison.dev_file, "--dev_file", rereads=True)


def _sources(
    options: EvaluationOptions, key: str, beside: Sequence[Rows], *, needed_by: str | None
) -> list[str] | None:
    path = options.comparison.source_file
    if path is None and has_key(options.files.gold, key, flag="--gold"):
        path = options.files.gold
    if path is None and needed_by is not None:
        raise ValueError(
            f"{needed_by} needs sources, and --gold {options.files.gold} has no key "
            f"`{key}`: give --source_file"
        )
    if path is None:
        return None
    return _paired(read_rows(path, (key,), flag="--source_file"), beside)


def _paired(rows: Rows, beside: Sequence[Rows]) -> list[str]:
    """The texts, if they are of the same rows as those of other files."""
    for others in beside:
        rows.require_pairs_with(others)
    return rows.texts
