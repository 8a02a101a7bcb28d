"""The story of an evaluation: read the files, score the predictions and the baselines, show, write.

`evaluate` is the same without files, for use from Python.
"""

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s2s_ft.cli import EnvironmentFault, parse
from s2s_ft.evaluation.bootstrap import CONFIDENCE
from s2s_ft.evaluation.inputs import has_key, read_predictions, read_texts
from s2s_ft.evaluation.options import EvaluationOptions, ScoringOptions
from s2s_ft.evaluation.scores import Report
from s2s_ft.evaluation.sentences import plain_lines
from s2s_ft.evaluation.table import example_rows, score_table, summary
from s2s_ft.evaluation.words import split_words

logger = logging.getLogger(__name__)

DESCRIPTION = "Score generated texts against references: ROUGE, BLEU and chrF with intervals."
GENERATED = "generated"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m s2s_ft.evaluation`.

    Args:
        argv: The arguments without the program's name; None takes those of the process.

    Returns:
        The exit code, 0.

    Raises:
        ValueError: An option or a file is at fault.
        EnvironmentFault: A tokenizer was asked for whose package is missing, or the scores cannot
            be written.
    """
    options = parse(EvaluationOptions, argv, "python -m s2s_ft.evaluation", DESCRIPTION)
    predictions = read_predictions(options.files.pred)
    references = read_texts(options.files.gold, (options.files.target_key,), flag="--gold")
    _check_rows("--pred", options.files.pred, len(predictions), options, len(references))
    sources = _read_sources(options, len(references))
    _warn_of_case(predictions, references, options.scoring)
    reports = {GENERATED: evaluate(predictions, references, options.scoring)}
    if options.comparison.baselines:
        assert sources is not None
        for name, texts in _baselines(sources, options).items():
            reports[name] = evaluate(texts, references, options.scoring)
    print(summary(reports[GENERATED], num_bootstrap=options.scoring.num_bootstrap), end="\n\n")
    print(score_table(reports))
    if options.comparison.examples:
        print()
        print(example_rows(sources, predictions, references, count=options.comparison.examples))
    output_file = Path(options.files.output_file or f"{options.files.pred}.scores.json")
    try:
        _write_json(_as_json(reports, options), output_file)
    except OSError as error:
        raise EnvironmentFault(
            f"the scores cannot be written to {output_file} ({error.strerror}): give --output_file"
        ) from error
    logger.info("scores and their signatures are in %s", output_file)
    return 0


def evaluate(
    predictions: Sequence[str], references: Sequence[str], scoring: ScoringOptions | None = None
) -> Report:
    """Score predictions against references.

    Args:
        predictions: One text an example; an empty one scores 0.
        references: One text an example, in the same order.
        scoring: Tokenizers, stemming, case and resampling; None for the defaults.

    Returns:
        ROUGE-1, -2, -L, -Lsum, BLEU and chrF with intervals, and counts.

    Raises:
        ValueError: There are no examples, or not as many predictions as references.
        EnvironmentFault: The BLEU tokenizer asked for needs a package that is not installed.
    """
    # Imported here because the libraries behind them take their time, and `--help` should not.
    from s2s_ft.evaluation.bleu import score_bleu_and_chrf
    from s2s_ft.evaluation.rouge import score_rouge

    scoring = scoring or ScoringOptions()
    if not references:
        raise ValueError("there are no examples to score")
    rouge = score_rouge(predictions, references, scoring)
    return Report(
        scores=(*rouge, *score_bleu_and_chrf(predictions, references, scoring)),
        num_examples=len(references),
        num_empty_predictions=sum(not plain_lines(text) for text in predictions),
        num_empty_references=sum(not plain_lines(text) for text in references),
        mean_prediction_words=_mean_words(predictions),
        mean_reference_words=_mean_words(references),
    )


def _mean_words(texts: Sequence[str]) -> float:
    return sum(len(split_words(plain_lines(text))) for text in texts) / len(texts)


def _warn_of_case(
    predictions: Sequence[str], references: Sequence[str], scoring: ScoringOptions
) -> None:
    """An uncased model's texts can match no capital letter, which is easily overlooked."""
    if not scoring.lowercase and _is_lower(predictions) and not _is_lower(references):
        logger.warning(
            "the predictions have no capital letters and the references do: BLEU and chrF "
            "compare case; --lowercase makes them ignore it"
        )


def _is_lower(texts: Sequence[str]) -> bool:
    return all(plain_lines(text) == plain_lines(text).lower() for text in texts)


def _check_rows(
    flag: str, path: str, num_rows: int, options: EvaluationOptions, num_references: int
) -> None:
    if num_rows != num_references:
        raise ValueError(
            f"{flag} {path} has {num_rows} rows, but --gold {options.files.gold} has "
            f"{num_references}: row n of the one belongs to row n of the other; give files of the "
            "same data set, whole"
        )


def _read_sources(options: EvaluationOptions, num_references: int) -> list[str] | None:
    """The sources, where they are asked for and known."""
    comparison, path = options.comparison, options.comparison.source_file
    if not comparison.baselines and not comparison.examples:
        return None
    if path is None and has_key(options.files.gold, comparison.source_key, flag="--gold"):
        path = options.files.gold
    if path is None and comparison.baselines:
        raise ValueError(
            f"--baselines needs sources, and --gold {options.files.gold} has no key "
            f"`{comparison.source_key}`: give --source_file"
        )
    if path is None:
        return None
    sources = read_texts(path, (comparison.source_key,), flag="--source_file")
    _check_rows("--source_file", path, len(sources), options, num_references)
    return sources


def _baselines(sources: Sequence[str], options: EvaluationOptions) -> dict[str, list[str]]:
    """The baselines' texts by name."""
    from s2s_ft.evaluation.baselines import best_num_words, first_sentences, leads

    texts = {"first sentence": first_sentences(sources)}
    dev_file = options.comparison.dev_file
    if dev_file is None:
        logger.info("--dev_file is not given, so there is no baseline of the first k words")
        return texts
    dev_sources = read_texts(dev_file, (options.comparison.source_key,), flag="--dev_file")
    dev_references = read_texts(dev_file, (options.files.target_key,), flag="--dev_file")
    num_words = best_num_words(dev_sources, dev_references, options.scoring)
    return {**texts, f"first {num_words} words": leads(sources, num_words)}


def _as_json(reports: dict[str, Report], options: EvaluationOptions) -> dict[str, Any]:
    return {
        "pred": options.files.pred,
        "gold": options.files.gold,
        "intervals": {
            "confidence": CONFIDENCE,
            "num_bootstrap": options.scoring.num_bootstrap,
            "seed": options.scoring.seed,
        },
        **reports[GENERATED].as_json(),
        "baselines": {name: r.as_json() for name, r in reports.items() if name != GENERATED},
    }


def _write_json(content: dict[str, Any], path: Path) -> None:
    """Write a JSON file in one step: whoever reads it finds the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            json.dump(content, stream, ensure_ascii=False, indent=2)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
