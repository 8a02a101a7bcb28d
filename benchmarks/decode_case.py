"""What the contestants of the decoding benchmark decode.

Notable: every contestant decodes the same tokenised sources. With a forced length all outputs are
equally long, so that models with different weights do the same number of steps; otherwise outputs
end where the fine-tuned checkpoint ends them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import AutoConfig

from s2s_ft.data.examples import read_examples
from s2s_ft.decode.search.settings import SearchSettings
from s2s_ft.layout import IntArray
from s2s_ft.methods import Method, method_named
from s2s_ft.text import TextCodec


@dataclass(frozen=True)
class Case:
    """What is decoded.

    Attributes:
        model: Folder of the encoder or fine-tuned checkpoint.
        data: File of rows.
        examples: Rows of it.
        batch: Examples at once.
        beams: Beam size.
        steps: Most target tokens.
        source: Most source tokens.
        forced: Whether every output has exactly `steps` tokens.
        source_exactly: Made-up sources of exactly `source` tokens in place of the file's.
    """

    model: str
    data: str
    examples: int = 64
    batch: int = 16
    beams: int = 5
    steps: int = 32
    source: int = 192
    forced: bool = False
    source_exactly: bool = False

    def settings(self, codec: TextCodec) -> SearchSettings:
        """The search that all contestants do."""
        return SearchSettings(
            beam_size=self.beams,
            max_length=self.steps,
            min_length=self.steps if self.forced else 1,
            eos_id=codec.special.sep,
            ngram_size=3,
        )

    def method(self, codec: TextCodec) -> Method:
        """The checkpoint's method; pseudo-masked for an encoder that has none yet."""
        known = getattr(AutoConfig.from_pretrained(self.model), "s2s_ft", None) or {}
        return method_named(
            known.get("method", "pseudo_mask"),
            special=codec.special,
            max_source_length=self.source,
            max_target_length=self.steps + 1,
        )

    def sources(self, codec: TextCodec, *, longest_first: bool = True) -> list[IntArray]:
        """The framed sources; longest first, as the original takes them."""
        method = self.method(codec)
        if self.source_exactly:
            rng = np.random.default_rng(0)
            size = codec.special.vocab_size
            ids = rng.integers(min(1000, size // 2), size, (self.examples, self.source))
            return [method.source(row) for row in ids]
        rows = [row.source for row in read_examples(Path(self.data), limit=self.examples)]
        framed = [method.source(np.array(ids)) for ids in codec.encode(rows)]
        return sorted(framed, key=len, reverse=True) if longest_first else framed
