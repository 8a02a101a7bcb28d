"""How long sources and outputs of a run may be.

Notable: the source room is a matter of the run, not of the batch: `--max_seq_length` less
`--max_tgt_length` tokens, special ones included, so that the longest target always has a position
behind the longest source.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from s2s_ft.decode.defaults import in_names_of_the_call
from s2s_ft.options import DecodeOptions

logger = logging.getLogger(__name__)

UNKNOWN_SEQUENCE_LENGTH, UNKNOWN_TARGET_LENGTH = 512, 128
"""The original's defaults, for checkpoints that do not know the lengths of their training."""


@dataclass(frozen=True)
class KnownLengths:
    """What a checkpoint says of lengths; None = nothing.

    Attributes:
        source: Longest source of its training, special tokens included.
        target: Longest target of its training.
        positions: What its model has positions for.
    """

    source: int | None
    target: int | None
    positions: int | None

    def longest_source(self, options: DecodeOptions) -> int:
        """Room for a source beside the longest output, special tokens included.

        Raises:
            ValueError: No source fits beside it.
        """
        return self._sequence_room(options) - self.longest_target(options)

    def longest_target(self, options: DecodeOptions) -> int:
        """`--max_tgt_length`, or what the checkpoint was fine-tuned with.

        Raises:
            ValueError: `--min_len` is more than that.
        """
        longest = options.search.max_tgt_length or self.target or UNKNOWN_TARGET_LENGTH
        if (options.search.min_len or 0) > longest:
            raise ValueError(
                f"--min_len {options.search.min_len} is more than the longest output, {longest} "
                "tokens: lower it or raise --max_tgt_length"
            )
        return longest

    def _sequence_room(self, options: DecodeOptions) -> int:
        """Positions that source and target share.

        `--max_seq_length`, or the lengths of training, or what the model has if that is less.
        """
        longest_target = self.longest_target(options)
        wanted = options.data.max_seq_length or (
            UNKNOWN_SEQUENCE_LENGTH if self.source is None else self.source + longest_target
        )
        if wanted < longest_target + 3:
            raise ValueError(
                f"--max_seq_length {wanted} leaves no room for a source beside outputs of "
                f"{longest_target} tokens: raise it or lower --max_tgt_length"
            )
        positions = self.positions
        if positions is None or positions >= wanted:
            return wanted
        if positions < longest_target + 3:  # [CLS], one token, [SEP]
            raise ValueError(
                f"--max_tgt_length {longest_target} leaves no room for a source in "
                f"--max_seq_length, which is the model's {positions} positions at most: give at "
                f"most {positions - 3}"
            )
        logger.warning(in_names_of_the_call(_shortfall(options, wanted, longest_target, positions)))
        return positions


def _shortfall(options: DecodeOptions, wanted: int, longest_target: int, positions: int) -> str:
    """What to say of sequences that are longer than the model, in terms of what was given."""
    if options.data.max_seq_length:
        told = f"--max_seq_length {wanted} is more than the {positions} positions of the model"
        return f"{told}: using {positions}"
    return (
        f"sources of {wanted - longest_target} tokens and outputs of {longest_target} are more "
        f"than the {positions} positions of the model: sources are cut to "
        f"{positions - longest_target} tokens; lower --max_tgt_length for longer ones"
    )
