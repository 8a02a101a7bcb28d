"""Flags of `python -m s2s_ft.evaluation.sweep` and the settings they span (standard library)."""

from dataclasses import dataclass, field
from typing import Literal

from s2s_ft.evaluation.options import (
    ProtocolOptions,
    ScoringOptions,
    refuse_what_a_protocol_settles,
)
from s2s_ft.options import flag
from s2s_ft.options.checks import (
    LARGEST_COUNT,
    LARGEST_EXPONENT,
    LARGEST_WEIGHT,
    not_empty,
    within,
)

Metric = Literal["rouge", "rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "chrf"]


@dataclass(frozen=True)
class Setting:
    """How hypotheses are ranked.

    Attributes:
        alpha: Exponent of the length penalty of the search, not below 0.
        reward: Added for every token; not beside `alpha`.
        min_len: Fewest tokens, the end mark not counted.
    """

    alpha: float = 0.0
    reward: float = 0.0
    min_len: int = 0

    def rescore_flags(self) -> str:
        """The flags of `s2s_ft.decode.rescore` that rank this way."""
        values = {"alpha": self.alpha, "length_penalty": self.reward, "min_len": self.min_len}
        return " ".join(f"--{name} {value:g}" for name, value in values.items() if value)

    def decode_flags(self) -> str:
        """The flags of a decoding run that searches this way."""
        minimum = f" --min_len {self.min_len}" if self.min_len else ""
        if self.reward:
            return f"--length_reward {self.reward:g}{minimum}"
        return f"--length_penalty {self.alpha:g}{minimum}"


@dataclass(frozen=True, kw_only=True)
class TraceOptions:
    """Which search is ranked anew, and against what."""

    input: str = field(
        metadata=flag("Output of a decoding run with --need_score_traces, or its trace.")
    )
    gold: str = field(metadata=flag("References of the development set: plain text or JSON lines."))
    target_key: str = field(
        default="tgt", metadata=flag("Key of the reference in a file of JSON lines.")
    )
    output_file: str | None = field(
        default=None, metadata=flag("JSON file of the table; default <input>.sweep.json.")
    )
    tokenizer_name: str | None = field(
        default=None, metadata=flag("Tokenizer: folder or hub name; default: the decoding run's.")
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(input=self.input, gold=self.gold, target_key=self.target_key)
        not_empty(output_file=self.output_file, tokenizer_name=self.tokenizer_name)


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """Which settings are tried, and which score decides."""

    alphas: str = field(
        default="0,0.2,0.4,0.6,0.8,1,1.2,1.4,1.6,1.8,2",
        metadata=flag("Length penalties to try, each with every minimum length."),
    )
    rewards: str = field(
        default="", metadata=flag("Rewards a token to try, each with every minimum length.")
    )
    min_lens: str = field(
        default="0", metadata=flag("Minimum lengths to try, in tokens, such as 0,5,10.")
    )
    metric: Metric = field(
        default="rouge",
        metadata=flag("Score that decides; rouge is the mean of ROUGE-1, -2 and -Lsum."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        settings_of(self)


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """All options of a sweep."""

    traces: TraceOptions
    grid: GridOptions
    scoring: ScoringOptions
    protocol: ProtocolOptions

    def __post_init__(self) -> None:
        """Check what the groups cannot see alone."""
        refuse_what_a_protocol_settles(self.scoring, self.protocol)
        if self.protocol.protocol == "qg" or self.protocol.languages:
            raise ValueError(
                "--protocol qg and --languages: a sweep scores rows one by one, of one language; "
                "leave them out"
            )


def settings_of(grid: GridOptions) -> list[Setting]:
    """The settings to try, those that change least first.

    Raises:
        ValueError: A list holds something that is no number, or is out of range.
    """
    alphas = _numbers("alphas", grid.alphas, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    rewards = _numbers("rewards", grid.rewards, -LARGEST_WEIGHT, LARGEST_WEIGHT)
    rewards = [reward for reward in rewards if reward]
    if any(alpha < 0 for alpha in alphas):
        raise ValueError(
            f"--alphas {grid.alphas}: decoding takes a length penalty below 0 for 0; give numbers "
            "from 0 on, and --rewards below 0 for shorter texts"
        )
    min_lens = _numbers("min_lens", grid.min_lens, 0, LARGEST_COUNT)
    if any(value != int(value) for value in min_lens):
        raise ValueError(f"--min_lens {grid.min_lens}: give whole numbers from 0 on")
    lengths = [int(value) for value in min_lens] or [0]
    found = [Setting(alpha=alpha, min_len=length) for length in lengths for alpha in alphas]
    found += [Setting(reward=reward, min_len=length) for length in lengths for reward in rewards]
    if not found:
        raise ValueError("--alphas, --rewards: give at least one number")
    return found


def _numbers(name: str, text: str, least: int, most: int) -> list[float]:
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(f"--{name} {text}: give numbers with commas between them") from error
    for value in values:
        within(least, most, **{name: value})
    return sorted(set(values), key=lambda value: (abs(value), value))
