"""The story of an evaluation: read the files, score the predictions and the baselines, show, write.

`evaluate` is the same without files, for use from Python.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from s2s_ft.cli import parse
from s2s_ft.data.accents import count_accented, has_accents
from s2s_ft.evaluation import languages, significance
from s2s_ft.evaluation.bootstrap import CONFIDENCE
from s2s_ft.evaluation.files import (
    for_language,
    read_other,
    read_sources,
    read_test_set,
    scores_file,
    write_scores,
)
from s2s_ft.evaluation.inputs import read_texts
from s2s_ft.evaluation.options import EvaluationOptions, ProtocolOptions, ScoringOptions
from s2s_ft.evaluation.protocols import settle
from s2s_ft.evaluation.scores import Report
from s2s_ft.evaluation.sentences import plain_lines
from s2s_ft.evaluation.significance import Difference, comparison_table
from s2s_ft.evaluation.table import example_rows, score_table, summary
from s2s_ft.evaluation.testset import TestSet

logger = logging.getLogger(__name__)

DESCRIPTION = "Score generated texts against references: ROUGE, BLEU and chrF with intervals."
GENERATED = "generated"
AVERAGE = "average"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m s2s_ft.evaluation`.

    Args:
        argv: The arguments without the program's name; None takes those of the process.

    Returns:
        The exit code, 0.

    Raises:
        ValueError: An option or a file is at fault.
        EnvironmentFault: A tokenizer was asked for whose package is missing.
        OSError: The scores cannot be written.
    """
    options = parse(EvaluationOptions, argv, "python -m s2s_ft.evaluation", DESCRIPTION)
    output = scores_file(options)
    content = _languages(options) if options.protocol.languages else _one_test_set(options)
    write_scores(content, output)
    logger.info("scores and their signatures are in %s", output)
    return 0


def evaluate(
    predictions: Sequence[str],
    references: Sequence[str],
    scoring: ScoringOptions | None = None,
    protocol: ProtocolOptions | None = None,
) -> Report:
    """Score predictions against references.

    Args:
        predictions: One text an example; an empty one scores 0.
        references: One text an example, in the same order.
        scoring: Tokenizers, stemming, case and resampling; None for the defaults.
        protocol: Of a benchmark that needs no sources; None scores the texts as they are.

    Returns:
        ROUGE-1, -2, -L, -Lsum, BLEU and chrF (or the protocol's scores) with intervals, and counts.

    Raises:
        ValueError: There are no examples, or not as many predictions as references.
        EnvironmentFault: The BLEU tokenizer asked for needs a package that is not installed.
    """
    if not references:
        raise ValueError("there are no examples to score")
    test_set = TestSet(references, scoring or ScoringOptions(), protocol or ProtocolOptions())
    return test_set.report(predictions, test_set.measures(predictions))


def _one_test_set(options: EvaluationOptions) -> dict[str, Any]:
    """Score, show and give back what is written."""
    test_set, predictions, read = read_test_set(options)
    sources = read_sources(options, read)
    other = read_other(options, read)
    _warn_of_case(predictions, test_set.references, options)
    _warn_of_accents(predictions, test_set.references)
    measures = test_set.measures(predictions)
    reports = {GENERATED: test_set.report(predictions, measures)}
    for name, texts in _baselines(sources, options).items():
        reports[name] = test_set.report(texts, test_set.measures(texts))
    _show(reports, options)
    differences: list[Difference] = []
    if other is not None:
        scoring = options.scoring
        differences = significance.compare(
            measures,
            test_set.measures(other),
            num_bootstrap=scoring.num_bootstrap,
            seed=scoring.seed,
        )
        _show_differences(differences, options)
    if options.comparison.examples:
        count = options.comparison.examples
        print("\n" + example_rows(sources, predictions, test_set.references, count=count))
    baselines = {name: r.as_json() for name, r in reports.items() if name != GENERATED}
    return _content(options, reports[GENERATED], differences) | {"baselines": baselines}


def _languages(options: EvaluationOptions) -> dict[str, Any]:
    """The same for one test set a language, and their average."""
    if options.comparison.baselines or options.comparison.examples:
        raise ValueError("--languages: --baselines and --examples are for one language at a time")
    if options.protocol.protocol == "qg":
        raise ValueError("--languages: --protocol qg is for one language; xglue_qg is for several")
    ours, theirs, reports = [], [], {}
    references: list[str] = []
    generated: list[str] = []
    for language in languages.names(str(options.protocol.languages)):
        own = for_language(options, language)
        test_set, predictions, read = read_test_set(own)
        other = read_other(own, read)
        ours.append(test_set.measures(predictions))
        reports[language] = test_set.report(predictions, ours[-1])
        if other is not None:
            theirs.append(test_set.measures(other))
        references += test_set.references
        generated += predictions
    draw = {"num_bootstrap": options.scoring.num_bootstrap, "seed": options.scoring.seed}
    together = TestSet(references, options.scoring, options.protocol)
    average = together.counted(generated, languages.average_scores(ours, **draw))
    _show({AVERAGE: average, **reports}, options)
    differences = languages.average_differences(ours, theirs, **draw) if theirs else []
    _show_differences(differences, options)
    by_language = {name: report.as_json() for name, report in reports.items()}
    return _content(options, average, differences) | {"languages": by_language}


def _show(reports: Mapping[str, Report], options: EvaluationOptions) -> None:
    first = next(iter(reports.values()))
    print(summary(first, num_bootstrap=options.scoring.num_bootstrap), end="\n\n")
    print(score_table(reports))


def _show_differences(differences: Sequence[Difference], options: EvaluationOptions) -> None:
    if differences:
        print(f"\ncompared with {options.comparison.compare}, paired bootstrap:")
        print(comparison_table(differences, (GENERATED, "other")))


def _warn_of_case(
    predictions: Sequence[str], references: Sequence[str], options: EvaluationOptions
) -> None:
    """An uncased model's texts can match no capital letter, which is easily overlooked."""
    ignores_case = options.scoring.lowercase or settle(options.protocol).family != "summary"
    if not ignores_case and _is_lower(predictions) and not _is_lower(references):
        logger.warning(
            "the predictions have no capital letters and the references do: BLEU and chrF "
            "compare case; --lowercase makes them ignore it"
        )


def _warn_of_accents(predictions: Sequence[str], references: Sequence[str]) -> None:
    """Nor can a model match a word with an accent if its tokenizer strips them."""
    accented = count_accented(references)
    if accented and not any(map(has_accents, predictions)):
        logger.warning(
            "%d of %d references have accents and no prediction does: the tokenizer of an uncased "
            "encoder strips them, and every such word counts as wrong",
            accented,
            len(references),
        )


def _is_lower(texts: Sequence[str]) -> bool:
    return all(plain_lines(text) == plain_lines(text).lower() for text in texts)


def _baselines(sources: Sequence[str] | None, options: EvaluationOptions) -> dict[str, list[str]]:
    """The baselines' texts by name; none unless they are asked for."""
    if not options.comparison.baselines:
        return {}
    from s2s_ft.evaluation.baselines import best_num_words, first_sentences, leads

    assert sources is not None
    texts = {"first sentence": first_sentences(sources)}
    dev_file = options.comparison.dev_file
    if dev_file is None:
        logger.info("--dev_file is not given, so there is no baseline of the first k words")
        return texts
    dev_sources = read_texts(dev_file, (options.comparison.source_key,), flag="--dev_file")
    dev_references = read_texts(dev_file, (options.files.target_key,), flag="--dev_file")
    num_words = best_num_words(dev_sources, dev_references, options.scoring)
    return {**texts, f"first {num_words} words": leads(sources, num_words)}


def _content(
    options: EvaluationOptions, report: Report, differences: Sequence[Difference]
) -> dict[str, Any]:
    """What every file of scores holds."""
    compared = {str(options.comparison.compare): differences} if differences else {}
    return {
        "pred": options.files.pred,
        "gold": options.files.gold,
        "protocol": options.protocol.protocol,
        "intervals": {
            "confidence": CONFIDENCE,
            "num_bootstrap": options.scoring.num_bootstrap,
            "seed": options.scoring.seed,
        },
        **report.as_json(),
        **({"compared": significance.as_json(compared)} if compared else {}),
    }
