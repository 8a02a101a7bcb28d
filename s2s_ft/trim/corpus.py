"""The texts of a corpus, and how often they hold each token.

Notable: read as a stream, in constant memory; of JSON lines the sources and the targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from s2s_ft.data.examples import read_examples
from s2s_ft.data.files import named_by, open_data
from s2s_ft.text import TextCodec
from s2s_ft.trim.options import TrimOptions

Text = str | list[str]

_CHUNK_SIZE = 4096


def texts_of(options: TrimOptions) -> Iterator[Text]:
    """Every text of the corpus, in order.

    Raises:
        ValueError: A file is missing or holds no text, or a row is not as it should be.
    """
    for file in options.corpus:
        is_json = Path(file.removesuffix(".gz")).suffix.lower() in (".jsonl", ".json")
        with named_by("--corpus", file):
            yield from _rows(file, options) if is_json else _lines(file)


def count_tokens(texts: Iterator[Text], codec: TextCodec, size: int) -> npt.NDArray[np.int64]:
    """How often texts hold each token.

    Args:
        texts: Text, or lists of tokens that are looked up.
        codec: The tokenizer.
        size: Ids that it may give.

    Returns:
        [size] int64 counts by id.
    """
    counts = np.zeros(size, dtype=np.int64)
    for chunk in chunks(texts):
        ids = [token_id for row in codec.encode(chunk) for token_id in row]
        counts += np.bincount(np.array(ids, dtype=np.int64), minlength=size)
    return counts


def chunks(texts: Iterator[Text]) -> Iterator[Sequence[Text]]:
    """Some thousand texts at a time."""
    while chunk := list(islice(texts, _CHUNK_SIZE)):
        yield chunk


def _rows(file: str, options: TrimOptions) -> Iterator[Text]:
    for row in read_examples(
        file,
        source_key=options.source_key,
        target_key=options.target_key,
        target_required=False,
        allow_empty_source=True,
    ):
        yield row.source
        if row.target is not None:
            yield row.target


def _lines(file: str) -> Iterator[Text]:
    is_empty = True
    with open_data(file) as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{file}, line {number}: not UTF-8 ({error.reason}); convert the file, for "
                    "example with iconv -t UTF-8"
                ) from error
            is_empty = is_empty and not text
            yield text
    if is_empty:
        raise ValueError(f"{file}: holds no text; give a file with the text to keep")
