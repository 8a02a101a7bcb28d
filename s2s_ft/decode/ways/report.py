"""What a decoding run says at its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from s2s_ft.decode.decoder import tell_of_lacking_words
from s2s_ft.decode.loading import FineTuned

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What of the input the model did not see.

    Attributes:
        num_empty: Rows without any token.
        num_cut: Rows that lost tokens at their end.
        room: Longest source of the run, special tokens included.
        room_in_training: The same in training; None where the checkpoint does not say.
    """

    num_empty: int
    num_cut: int
    room: int
    room_in_training: int | None

    @classmethod
    def of(cls, fine_tuned: FineTuned, *, num_empty: int, num_cut: int) -> Report:
        """The report of a run with a checkpoint."""
        return cls(
            num_empty=num_empty,
            num_cut=num_cut,
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
        if self.num_empty:
            logger.warning("%d rows have an empty source and got an empty output", self.num_empty)
        if self.num_cut:
            known = self.room_in_training
            logger.warning(
                "%d sources were cut to %d tokens, special ones included (--max_seq_length less "
                "--max_tgt_length); in training the limit was %s",
                self.num_cut,
                self.room,
                "unknown" if known is None else known,
            )
        tell_of_lacking_words(num_lacking)
