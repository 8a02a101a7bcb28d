"""Flags of `python -m s2s_ft.evaluation`, in groups (standard library only)."""

from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.options import flag
from s2s_ft.options.checks import at_least, count, not_empty, seed, within

RougeTokenizer = Literal["unicode", "default"]
BleuTokenizer = Literal["auto", "13a", "intl", "zh", "char", "none", "ja-mecab", "ko-mecab"]
ProtocolName = Literal["plain", "cnndm", "xsum", "gigaword", "qg", "xglue_ntg", "xglue_qg"]
Sentences = Literal["rules", "lines", "one"]
Brackets = Literal["off", "round", "all"]
Switch = Literal["on", "off"]

MOST_RESAMPLES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Which files are compared, and where the scores go."""

    pred: str = field(
        metadata=flag(
            "Predictions: plain text, one line an example, or JSON lines with `hypotheses`, "
            "`pred` or `text`, as decoding writes them; may be gzipped."
        )
    )
    gold: str = field(
        metadata=flag(
            "References: plain text, one line an example, or JSON lines such as the test file "
            "of the data set; may be gzipped."
        )
    )
    target_key: str = field(
        default="tgt", metadata=flag("Key of the reference in a file of JSON lines.")
    )
    output_file: str | None = field(
        default=None,
        metadata=flag(
            "JSON file for the scores, intervals and signatures; default `<pred>.scores.json`."
        ),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(pred=self.pred, gold=self.gold, target_key=self.target_key)
        not_empty(output_file=self.output_file)


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How text is cut into words, and how intervals are drawn."""

    no_stemmer: bool = field(
        default=False,
        metadata=flag("ROUGE: compare English words as they are, without Porter's stemmer."),
    )
    tokenizer: RougeTokenizer = field(
        default="unicode",
        metadata=flag(
            "ROUGE: unicode keeps letters and digits of every script and agrees with rouge-score "
            "on ASCII text; default is rouge-score's own, which drops all but a-z and 0-9."
        ),
    )
    bleu_tokenizer: BleuTokenizer = field(
        default="auto",
        metadata=flag(
            "BLEU: sacrebleu's tokenizer; auto is 13a, or zh or char for references in Korean or a "
            "script without spaces. ja-mecab and ko-mecab need sacrebleu's extras ja and ko."
        ),
    )
    lowercase: bool = field(
        default=False, metadata=flag("BLEU and chrF: ignore case. ROUGE always does.")
    )
    num_bootstrap: int = field(
        default=1000, metadata=flag("Resamples of the examples behind each 95 % interval.")
    )
    seed: int = field(default=42, metadata=flag("Seed of the resamples."))

    def __post_init__(self) -> None:
        """Check the values."""
        within(1, MOST_RESAMPLES, num_bootstrap=self.num_bootstrap)
        seed(seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """The protocol of a benchmark, and its switches one by one."""

    protocol: ProtocolName = field(
        default="plain",
        metadata=flag(
            "Score as a benchmark's papers do: cnndm, xsum, gigaword (ROUGE after their clean-up), "
            "qg (BLEU-4, METEOR and ROUGE-L, references grouped by source sentence), xglue_ntg, "
            "xglue_qg (lower-cased BLEU). plain scores texts as they are."
        ),
    )
    sentences: Sentences | None = field(
        default=None,
        metadata=flag(
            "Where sentences end for ROUGE-Lsum: lines (newline or [X_SEP]), rules (lines, or "
            "punctuation where there is one line only) or one (nowhere); default: the protocol's."
        ),
    )
    rejoin_tokens: Switch | None = field(
        default=None,
        metadata=flag(
            "Put together what WordPiece took apart, such as 3 . 5 and do n ' t; default: the "
            "protocol's."
        ),
    )
    brackets: Brackets | None = field(
        default=None,
        metadata=flag(
            "Write round or all brackets as the Penn Treebank's -LRB- -RRB-, in predictions and "
            "references; default: the protocol's."
        ),
    )
    drop_short: int | None = field(
        default=None,
        metadata=flag(
            "Drop sentences of predictions with at most this many words (0 = none); default: 4 "
            "for cnndm, else 0."
        ),
    )
    duplicate_rate: float | None = field(
        default=None,
        metadata=flag(
            "Drop a predicted sentence if more than this share of its different words stood in "
            "those before it (1 = never); default: 0.7 for cnndm, else 1."
        ),
    )
    trunc_len: int | None = field(
        default=None,
        metadata=flag(
            "Cut predictions after this many words (0 = never); default: 160 for cnndm, else 0."
        ),
    )
    group_key: str | None = field(
        default=None,
        metadata=flag(
            "qg: key of the sentence that a question is asked of, in the file of the sources; "
            "default: --source_key."
        ),
    )
    every_prediction: bool = field(
        default=False,
        metadata=flag(
            "qg: score every prediction, not only the last one of each source sentence as the "
            "published scripts do."
        ),
    )
    meteor_jar: str | None = field(
        default=None,
        metadata=flag(
            "qg: meteor-1.5.jar, run with Java for METEOR as published; without it the stages "
            "exact, stem and, where nltk has WordNet's data, synonym are computed here."
        ),
    )
    languages: str | None = field(
        default=None,
        metadata=flag(
            "Languages to score and average, such as en,de,fr; --pred and --gold (and --compare) "
            "then name one file a language with {lang} in its place."
        ),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        count(0, drop_short=self.drop_short, trunc_len=self.trunc_len)
        at_least(0, duplicate_rate=self.duplicate_rate)
        not_empty(group_key=self.group_key, meteor_jar=self.meteor_jar, languages=self.languages)
        if self.protocol != "qg":
            self._refuse_flags_of_questions()

    def _refuse_flags_of_questions(self) -> None:
        """What concerns references that are grouped says nothing where they are not."""
        of_questions = {
            "group_key": self.group_key is not None,
            "every_prediction": self.every_prediction,
            "meteor_jar": self.meteor_jar is not None,
        }
        for name, is_given in of_questions.items():
            if is_given:
                raise ValueError(f"--{name} has no effect without --protocol qg: give both or none")


def refuse_what_a_protocol_settles(scoring: ScoringOptions, options: ProtocolOptions) -> None:
    """Raise a ValueError for flags of the scoring that a protocol never reads: questions are cut
    into the Penn Treebank's words, and of titles only BLEU is shown.
    """
    settled = {
        "qg": ("no_stemmer", "tokenizer", "bleu_tokenizer"),
        "xglue_ntg": ("no_stemmer", "tokenizer"),
        "xglue_qg": ("no_stemmer", "tokenizer"),
    }
    for name in settled.get(options.protocol, ()):
        if getattr(scoring, name) != getattr(ScoringOptions, name):
            raise ValueError(
                f"--{name} has no effect with --protocol {options.protocol}: leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """What is shown beside the scores."""

    compare: str | None = field(
        default=None,
        metadata=flag(
            "Predictions of another system for the same rows: print the difference of every score "
            "with its 95 % interval and p-value from a paired bootstrap."
        ),
    )
    baselines: bool = field(
        default=False,
        metadata=flag(
            "Score the first sentence of the source too and, with --dev_file, its first k words."
        ),
    )
    source_file: str | None = field(
        default=None,
        metadata=flag(
            "Sources of --gold's rows, for --baselines and --examples: JSON lines or plain text; "
            "default: --gold itself where it has them."
        ),
    )
    source_key: str = field(
        default="src", metadata=flag("Key of the source in a file of JSON lines.")
    )
    dev_file: str | None = field(
        default=None,
        metadata=flag(
            "JSON lines with source and target, on which the best k from 1 to 60 is chosen."
        ),
    )
    examples: int = field(
        default=0,
        metadata=flag("Print this many rows (source, generated, reference), evenly over the file."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(compare=self.compare)
        not_empty(source_file=self.source_file, source_key=self.source_key, dev_file=self.dev_file)
        count(0, examples=self.examples)
        if self.dev_file is not None and not self.baselines:
            raise ValueError(
                "--dev_file serves the baselines: give --baselines too or leave it out"
            )

    @property
    def has_own_source_key(self) -> bool:
        """Whether somebody chose the key of the source."""
        return self.source_key != ComparisonOptions.source_key


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """All options of an evaluation."""

    files: InputOptions
    scoring: ScoringOptions
    protocol: ProtocolOptions
    comparison: ComparisonOptions

    def __post_init__(self) -> None:
        """Check what the groups cannot see alone."""
        refuse_what_a_protocol_settles(self.scoring, self.protocol)
        comparison = self.comparison
        if comparison.baselines or comparison.examples or self.protocol.protocol == "qg":
            return
        of_sources = {
            "source_file": comparison.source_file is not None,
            "source_key": comparison.has_own_source_key,
        }
        for name, is_given in of_sources.items():
            if is_given:
                raise ValueError(
                    f"--{name} serves --baselines, --examples and --protocol qg: give one of them "
                    "too or leave it out"
                )
