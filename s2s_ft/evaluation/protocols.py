"""The ways in which papers score generated text, by name, with every switch on its own.

A protocol says which scores are shown and what is done to the texts before: `--protocol cnndm` is
the same as giving its switches one by one, and a switch that is given wins over its protocol.
Notable: clean-up of references stops at their spelling; sentences are dropped and words cut off
in predictions only.
"""

from dataclasses import dataclass, replace
from typing import Literal

from s2s_ft.evaluation.options import Brackets, ProtocolOptions, ScoringOptions, Sentences
from s2s_ft.evaluation.sentences import plain_lines, split_sentences
from s2s_ft.evaluation.spelling import bracket_tokens, rejoin_tokens

Family = Literal["summary", "questions", "titles"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is scored, and what is done to the texts before.

    Attributes:
        family: summary shows ROUGE, BLEU and chrF; questions BLEU-4, METEOR and ROUGE-L against
            all references of a source sentence; titles lower-cased BLEU.
        sentences: Where sentences end: at the lines; at the lines or else by punctuation (rules);
            or nowhere (one).
        rejoin_tokens: Whether tokens that WordPiece took apart are put together (``1 . 5``,
            ``n ' t``).
        brackets: Which brackets are written as the Penn Treebank's tokens.
        drop_short: Sentences of at most this many words are dropped; 0 drops none.
        duplicate_rate: A sentence is dropped if a larger share of its different words stood in
            the sentences before it; 1 drops none.
        trunc_len: Words that are left of a prediction; 0 leaves all.
    """

    family: Family = "summary"
    sentences: Sentences = "rules"
    rejoin_tokens: bool = False
    brackets: Brackets = "off"
    drop_short: int = 0
    duplicate_rate: float = 1.0
    trunc_len: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether texts are scored as they are."""
        return replace(self, family="summary") == Protocol()

    @property
    def lines_only(self) -> bool:
        """Whether ROUGE-Lsum takes the lines as its sentences."""
        return self.sentences != "rules"


PROTOCOLS = {
    "plain": Protocol(),
    "cnndm": Protocol(
        sentences="lines",
        rejoin_tokens=True,
        brackets="all",
        drop_short=4,
        duplicate_rate=0.7,
        trunc_len=160,
    ),
    "xsum": Protocol(sentences="one", rejoin_tokens=True, brackets="round"),
    "gigaword": Protocol(sentences="one", rejoin_tokens=True, brackets="round"),
    "qg": Protocol(family="questions", sentences="one", rejoin_tokens=True, brackets="all"),
    "xglue_ntg": Protocol(family="titles"),
    "xglue_qg": Protocol(family="titles"),
}


def settle(options: ProtocolOptions) -> Protocol:
    """The protocol that `--protocol` names, with the switches that are given in place of its own.

    Raises:
        ValueError: A switch was given to a protocol that has no use for it.
    """
    protocol = PROTOCOLS[options.protocol]
    switches = {
        "sentences": options.sentences,
        "rejoin_tokens": None if options.rejoin_tokens is None else options.rejoin_tokens == "on",
        "brackets": options.brackets,
        "drop_short": options.drop_short,
        "duplicate_rate": options.duplicate_rate,
        "trunc_len": options.trunc_len,
    }
    given = {name: value for name, value in switches.items() if value is not None}
    if protocol.family == "questions" and given:
        raise ValueError(
            f"--protocol qg: its texts are cut into the Penn Treebank's words; leave out "
            f"{', '.join('--' + name for name in given)}"
        )
    return replace(protocol, **given)  # type: ignore[arg-type]


def scoring_for(protocol: Protocol, scoring: ScoringOptions) -> ScoringOptions:
    """The scoring of a protocol: XGLUE's BLEU ignores case and cuts words as 13a does."""
    if protocol.family != "titles":
        return scoring
    tokenizer = "13a" if scoring.bleu_tokenizer == "auto" else scoring.bleu_tokenizer
    return replace(scoring, lowercase=True, bleu_tokenizer=tokenizer)


def prepare_reference(text: str, protocol: Protocol) -> str:
    """A reference as the protocol scores it: one sentence a line."""
    return text if protocol.is_plain else "\n".join(_sentences(text, protocol))


def prepare_prediction(text: str, protocol: Protocol) -> str:
    """A prediction as the protocol scores it: one sentence a line, of those that are left."""
    if protocol.is_plain:
        return text
    sentences = [s for s in _sentences(text, protocol) if len(s.split()) > protocol.drop_short]
    if protocol.duplicate_rate < 1:
        sentences = without_repeats(sentences, protocol.duplicate_rate)
    if protocol.trunc_len:
        sentences = first_words_of(sentences, protocol.trunc_len)
    return "\n".join(sentences)


def without_repeats(sentences: list[str], rate: float) -> list[str]:
    """The sentences of which at most a share of `rate` of the word types stood in those kept."""
    seen: set[str] = set()
    kept = []
    for sentence in sentences:
        words = set(sentence.lower().split())
        if words and len(words & seen) / len(words) <= rate:
            kept.append(sentence)
            seen |= words
    return kept


def first_words_of(sentences: list[str], count: int) -> list[str]:
    """The first `count` words, in the sentences they stand in."""
    kept = []
    for sentence in sentences:
        words = sentence.split()[:count]
        if words:
            kept.append(" ".join(words))
        count -= len(words)
    return kept


def _sentences(text: str, protocol: Protocol) -> list[str]:
    lines = plain_lines(text).split("\n")
    if protocol.sentences == "one":
        lines = [" ".join(lines)]
    if protocol.rejoin_tokens:  # first, or the dot of `3 . 5` would end a sentence
        lines = [rejoin_tokens(line) for line in lines]
    sentences = split_sentences("\n".join(lines)) if protocol.sentences == "rules" else lines
    return [bracket_tokens(sentence, protocol.brackets) for sentence in sentences if sentence]
