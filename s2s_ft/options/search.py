"""The options of the search: beams, lengths, what must and must not come out, sampling.

Notable: a flag that is not given is None, so that the checkpoint's own defaults may take its place
(`SearchOptions.filled`); `DEFAULTS` stands behind both. Flags that are given are checked against
each other at once, the others when they are known.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from s2s_ft.options.flags import flag
from s2s_ft.options.search_checks import ONLY_SAMPLING, ONLY_SEARCHING, check_search

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "beam_size": 1,
        "num_return_sequences": 1,
        "min_len": 1,
        "length_penalty": 0.0,
        "length_reward": 0.0,
        "forbid_duplicate_ngrams": False,
        "ngram_size": 3,
        "repetition_penalty": 1.0,
        "num_beam_groups": 1,
        "diversity_penalty": 0.0,
        "do_sample": False,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "typical_p": 1.0,
    }
)
"""What a flag means that neither the command nor the checkpoint gives."""


def _default(name: str, text: str) -> str:
    return f"{text} (default: the checkpoint's, else {DEFAULTS[name]})"


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The search for the best output, or the drawing of outputs."""

    beam_size: int | None = field(
        default=None, metadata=flag(_default("beam_size", "Beams per row; 1: greedy."))
    )
    num_return_sequences: int | None = field(
        default=None,
        metadata=flag(
            _default("num_return_sequences", "Best outputs per row that are written (jsonl only).")
        ),
    )
    max_tgt_length: int | None = field(
        default=None,
        metadata=flag(
            "Longest output, in tokens. As in training unless given, 128 where the checkpoint does "
            "not say."
        ),
    )
    min_len: int | None = field(
        default=None, metadata=flag(_default("min_len", "Shortest output, in tokens."))
    )
    length_penalty: float | None = field(
        default=None,
        metadata=flag(
            _default(
                "length_penalty",
                "Scores are divided by ((5 + length) / 6) to this power; 0 or less: not at all.",
            )
        ),
    )
    length_reward: float | None = field(
        default=None,
        metadata=flag(
            _default("length_reward", "Added to a score for each token, when outputs are compared.")
        ),
    )
    forbid_duplicate_ngrams: bool | None = field(
        default=None, metadata=flag("Never generate an n-gram twice.")
    )
    ngram_size: int | None = field(
        default=None,
        metadata=flag(_default("ngram_size", "The n of --forbid_duplicate_ngrams, in tokens.")),
    )
    forbid_ignore_word: str | None = field(
        default=None,
        metadata=flag(
            "Tokens that may recur all the same, joined by |, such as '.|[X_SEP]'.",
            metavar="TOKENS",
        ),
    )
    repetition_penalty: float | None = field(
        default=None,
        metadata=flag(
            _default(
                "repetition_penalty",
                "The log-probability of a token that is there already is multiplied by this.",
            )
        ),
    )
    bad_words: str | None = field(
        default=None,
        metadata=flag(
            "Words that must not come out: joined by |, or a file with one a line.",
            metavar="WORDS|FILE",
        ),
    )
    force_words: str | None = field(
        default=None,
        metadata=flag(
            "Words or phrases that must come out, each of them: joined by |, or a file with one a "
            "line. A row may hold its own under the key force_words.",
            metavar="WORDS|FILE",
        ),
    )
    num_beam_groups: int | None = field(
        default=None,
        metadata=flag(
            _default("num_beam_groups", "Diverse beam search: groups the beams are split into.")
        ),
    )
    diversity_penalty: float | None = field(
        default=None,
        metadata=flag(
            _default(
                "diversity_penalty",
                "Taken off a token's score for each beam of earlier groups that chose it.",
            )
        ),
    )
    do_sample: bool | None = field(
        default=None, metadata=flag("Draw outputs at random; --seed makes them come back.")
    )
    temperature: float | None = field(
        default=None, metadata=flag(_default("temperature", "Sampling: divides the logits."))
    )
    top_k: int | None = field(
        default=None,
        metadata=flag(_default("top_k", "Sampling: among the N likeliest tokens; 0: all.")),
    )
    top_p: float | None = field(
        default=None,
        metadata=flag(
            _default("top_p", "Sampling: among the likeliest tokens with this probability in all.")
        ),
    )
    min_p: float | None = field(
        default=None,
        metadata=flag(
            _default(
                "min_p", "Sampling: among tokens at least this share as likely as the likeliest."
            )
        ),
    )
    typical_p: float | None = field(
        default=None,
        metadata=flag(
            _default(
                "typical_p", "Sampling: among the most typical tokens with this probability in all."
            )
        ),
    )
    mode: Literal["s2s", "l2r"] = field(
        default="s2s",
        metadata=flag(
            "s2s: source tokens see the whole source; l2r: only what stands before them."
        ),
    )

    def __post_init__(self) -> None:
        """Check the values, each alone and against the others that are known."""
        check_search(self, DEFAULTS)

    def filled(self, known: Mapping[str, Any] | None = None) -> "SearchOptions":
        """These options with every flag known that has a default.

        What is given wins: `--do_sample` over the checkpoint's beams, several beams over its
        sampling; `--beam_size 1` or `--num_beam_groups 1` over its groups; and what only sampling
        reads is left out of `known` where nothing is sampled.

        Args:
            known: Values by flag name that the checkpoint gives; None in it means not given.

        Raises:
            ValueError: the values do not go together; the message names the flags.
        """
        defaults = {name: value for name, value in (known or {}).items() if value is not None}
        assert defaults.keys() <= {each.name for each in dataclasses.fields(self)}
        if self.do_sample:
            _drop(defaults, ONLY_SEARCHING)
        elif (self.beam_size or 1) > 1 or (self.num_beam_groups or 1) > 1:
            _drop(defaults, ("do_sample",))
        if self.num_beam_groups == 1:
            _drop(defaults, ("diversity_penalty",))
        elif self.beam_size == 1 and self.num_beam_groups is None:
            _drop(defaults, ("num_beam_groups", "diversity_penalty"))
        samples = defaults.get("do_sample") if self.do_sample is None else self.do_sample
        if not samples:
            _drop(defaults, ONLY_SAMPLING)
        if self.length_reward:
            _drop(defaults, ("length_penalty",))
        values = {**DEFAULTS, **defaults}
        missing = {name: value for name, value in values.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)


def _drop(values: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        values.pop(name, None)
