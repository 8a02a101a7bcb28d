"""What each benchmark is: published row counts, where it comes from, under which terms.

Notable: counts are those of the published splits; docs/benchmarks.md tells the sources. A split may
have several that are right, such as the whole of DebSum and the sample in `examples/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SPLITS = ("train", "dev", "test")
"""Names of our files, in the order in which they are written."""

NO_LANGUAGE = ""
"""Stands for the language of a benchmark that has one only, whose files lie in no folder."""

SAMPLE_COUNTS = {"train": 24_015, "dev": 200, "test": 200}


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Where `datasets` finds a benchmark.

    Attributes:
        path: Its id.
        config: Its configuration, None for the only one.
        source: Columns that are joined to the source.
        target: Column of the target.
        identifier: Column that names a row, None where rows are numbered.
        revision: Where it lies if not on the main branch. What is loaded by a script there cannot
            be loaded any more, but the hub keeps a converted copy.
    """

    path: str
    source: tuple[str, ...]
    target: str
    config: str | None = None
    identifier: str | None = None
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark.

    Attributes:
        title: Its name for people.
        counts: Published rows by language and split; each number that is right.
        hub: Where the hub has it, None if it does not.
        megabytes: Roughly what preparing it from the hub takes of the disk, cache included.
        home: Where its files and their terms are.
        terms: Its licence, in words.
    """

    title: str
    counts: Mapping[str, Mapping[str, tuple[int, ...]]]
    hub: Hub | None
    megabytes: int
    home: str
    terms: str

    @property
    def languages(self) -> tuple[str, ...]:
        """Its languages; `NO_LANGUAGE` alone where it has one only."""
        return tuple(self.counts)

    def splits(self, language: str) -> tuple[str, ...]:
        """The splits that there are in a language."""
        return tuple(split for split in SPLITS if split in self.counts[language])


def _alone(train: int, dev: int, test: int) -> dict[str, dict[str, tuple[int, ...]]]:
    return {NO_LANGUAGE: {"train": (train,), "dev": (dev,), "test": (test,)}}


def _xglue(train: int, languages: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """English has training rows, every language the others."""
    held_out = {"dev": (10_000,), "test": (10_000,)}
    return {
        language: {"train": (train,), **held_out} if language == "en" else dict(held_out)
        for language in languages.split()
    }


DEBSUM_COUNTS = {
    "en": (24_062, 1_032, 1_070),
    "da": (16_052, 673, 692),
    "de": (4_798, 210, 214),
    "es": (1_286, 62, 51),
    "fr": (9_187, 375, 405),
    "it": (17_349, 730, 759),
    "ja": (3_133, 126, 142),
    "ko": (2_234, 81, 109),
    "pl": (1_750, 59, 78),
    "ru": (1_602, 56, 67),
    "uk": (1_730, 68, 78),
}


def _debsum() -> dict[str, dict[str, tuple[int, ...]]]:
    """The whole, or in English the sample of `examples/debsum`."""
    counts: dict[str, dict[str, tuple[int, ...]]] = {}
    for language, numbers in DEBSUM_COUNTS.items():
        splits = dict(zip(SPLITS, numbers, strict=True))
        sample = SAMPLE_COUNTS if language == "en" else {}
        counts[language] = {
            split: (whole, sample[split]) if sample else (whole,) for split, whole in splits.items()
        }
    return counts


SQUAD_HUB = Hub(path="lmqg/qg_squad", source=("paragraph", "answer"), target="question")
SQUAD_HOME = "https://github.com/xinyadu/nqg and https://rajpurkar.github.io/SQuAD-explorer"
SQUAD_TERMS = "CC BY-SA 4.0"
XGLUE_HOME = "https://microsoft.github.io/XGLUE"
XGLUE_TERMS = "XGLUE's own terms, to be accepted there: non-commercial research"
CONVERTED = "refs/convert/parquet"

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "cnndm": Task(
            title="CNN/DailyMail, not anonymised (version 3.0.0)",
            counts=_alone(287_113, 13_368, 11_490),
            hub=Hub(
                path="abisee/cnn_dailymail",
                config="3.0.0",
                source=("article",),
                target="highlights",
                identifier="id",
            ),
            megabytes=4_500,
            home="https://github.com/abisee/cnn-dailymail",
            terms="Apache 2.0 (the collection; articles belong to their publishers)",
        ),
        "xsum": Task(
            title="XSum",
            counts=_alone(204_045, 11_332, 11_334),
            hub=Hub(
                path="EdinburghNLP/xsum", source=("document",), target="summary", identifier="id"
            ),
            megabytes=2_000,
            home="https://github.com/EdinburghNLP/XSum",
            terms="not stated (articles belong to the BBC)",
        ),
        "gigaword": Task(
            title="Gigaword headlines (Rush et al.)",
            counts=_alone(3_803_957, 189_651, 1_951),
            hub=Hub(
                path="Harvard/gigaword",
                source=("document",),
                target="summary",
                revision=CONVERTED,
            ),
            megabytes=3_500,
            home="https://github.com/harvardnlp/sent-summary",
            terms="MIT (the collection; texts are LDC's)",
        ),
        "squad_qg_du": Task(
            title="SQuAD question generation, split of Du et al.",
            counts=_alone(75_722, 10_570, 11_877),
            hub=SQUAD_HUB,
            megabytes=500,
            home=SQUAD_HOME,
            terms=SQUAD_TERMS,
        ),
        "squad_qg_zhao": Task(
            title="SQuAD question generation, split of Zhao et al. (dev and test swapped)",
            counts=_alone(75_722, 11_877, 10_570),
            hub=SQUAD_HUB,
            megabytes=500,
            home=SQUAD_HOME,
            terms=SQUAD_TERMS,
        ),
        "xglue_ntg": Task(
            title="XGLUE news title generation",
            counts=_xglue(300_000, "en de es fr ru"),
            hub=Hub(
                path="microsoft/xglue",
                config="ntg",
                source=("news_body",),
                target="news_title",
                revision=CONVERTED,
            ),
            megabytes=4_000,
            home=XGLUE_HOME,
            terms=XGLUE_TERMS,
        ),
        "xglue_qg": Task(
            title="XGLUE question generation",
            counts=_xglue(100_000, "en de es fr it pt"),
            hub=Hub(
                path="microsoft/xglue",
                config="qg",
                source=("answer_passage",),
                target="question",
                revision=CONVERTED,
            ),
            megabytes=2_000,
            home=XGLUE_HOME,
            terms=XGLUE_TERMS,
        ),
        "debsum": Task(
            title="DebSum: descriptions of Debian packages to their synopses",
            counts=_debsum(),
            hub=None,
            megabytes=100,
            home="the package index of Debian 12 (bookworm) and its translations",
            terms="metadata of the Debian archive, freely redistributable as it is",
        ),
    }
)
