"""What a decoding run says at its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from s2s_ft.data.features import MUCH_OF_SOURCES
from s2s_ft.decode.decoder import tell_of_lacking_words
from s2s_ft.decode.lines.sources import Tally
from s2s_ft.decode.loading import FineTuned

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What of the input the model did not see.

    Attributes:
        tally: How much that is.
        room: Longest source of the run, special tokens included.
        room_in_training: The same in training; None where the checkpoint does not say.
    """

    tally: Tally
    room: int
    room_in_training: int | None

    @classmethod
    def of(cls, fine_tuned: FineTuned, tally: Tally) -> Report:
        """The report of a run with a checkpoint."""
        return cls(
            tally=tally,
            room=fine_tuned.method.max_source_length,
            room_in_training=fine_tuned.model.settings.max_source_length,
        )

    def tell(self, num_rows: int, seconds: float, num_lacking: int = 0) -> None:
        """Say what was done.

        Args:
            num_rows: Rows that were decoded just now.
            seconds: How long that took.
            num_lacking: Of them, outputs that lack forced words.
        """
        rate = num_rows / max(seconds, 1e-9)
        logger.info("%d rows decoded in %.1f s, %.2f rows/s", num_rows, seconds, rate)
        tally = self.tally
        if tally.num_empty:
            logger.warning("%d rows have an empty source and got an empty output", tally.num_empty)
        if tally.num_cut:
            known = self.room_in_training
            logger.warning(
                "%d sources were cut to %d tokens, special ones included (--max_seq_length less "
                "--max_tgt_length); in training the limit was %s",
                tally.num_cut,
                self.room,
                "unknown" if known is None else known,
            )
        if tally.num_unknown > MUCH_OF_SOURCES * tally.num_tokens:
            logger.warning(
                "the tokenizer has no token for %.1f %% of the sources, which the model cannot "
                "read: are they of another language or script than it was trained on?",
                100 * tally.num_unknown / tally.num_tokens,
            )
        tell_of_lacking_words(num_lacking)
