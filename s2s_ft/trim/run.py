"""The story of a trimming run, from a model to a smaller one that says the same of its corpus.

    tokenizer -> tokens of the corpus -> those that stay -> smaller tokenizer, checked on the corpus
    model     -> rows of those that stay -> written whole

Notable: ids keep their order, so only their gaps close. Before anything is put in its place, the
smaller tokenizer has to read the corpus as the whole one did.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from s2s_ft.data.files import require_file
from s2s_ft.model.described import describe
from s2s_ft.storage.output_folder import written_whole
from s2s_ft.text import TextCodec, read_tokens
from s2s_ft.trim.corpus import chunks, count_tokens, texts_of
from s2s_ft.trim.kept import Vocabulary, kept_ids
from s2s_ft.trim.options import TrimOptions
from s2s_ft.trim.tokenizer_file import trimmed_content
from s2s_ft.trim.weights import TrimmedModel

logger = logging.getLogger(__name__)

CHECKED_TEXTS = 20_000
"""Texts of the corpus that the trimmed tokenizer is tried on."""


def trim(options: TrimOptions) -> int:
    """Cut a model's vocabulary down to a corpus.

    Returns:
        Exit code 0.

    Raises:
        ValueError: The model, its tokenizer or the corpus cannot be used.
        OSError: The output cannot be written.
    """
    for file in options.corpus:
        require_file(file, "--corpus", rereads=True)
    describe(options.model_path, options.cache_dir, "--model_path")  # says what is no checkpoint
    codec = TextCodec.load(
        options.tokenizer_name or options.model_path,
        do_lower_case=True if options.do_lower_case else None,
        cache_dir=options.cache_dir,
        flag="--tokenizer_name" if options.tokenizer_name else "--model_path",
    )
    content = json.loads(codec.tokenizer.backend_tokenizer.to_str())
    try:
        vocabulary = Vocabulary.of(content)
    except ValueError as error:
        raise ValueError(f"--model_path {options.model_path}: {error}") from error
    with written_whole(options.output_dir) as folder:
        counts = count_tokens(texts_of(options), codec, codec.special.vocab_size)
        model = TrimmedModel.load(options.model_path, options.cache_dir)
        codec.with_vocab_size(model.num_rows)  # refuses a tokenizer with more tokens than that
        frequent = (counts >= options.min_count).nonzero()[0].tolist()
        wanted = {*frequent, *_named(options, codec), *_special(codec, content)}
        wanted |= {each for each in model.fixed_ids(codec.special.pad) if each < len(counts)}
        kept = kept_ids(vocabulary, wanted, all_characters=options.keep_characters == "all")
        _tell_counts(counts, kept)
        _write_tokenizer(codec, trimmed_content(content, kept), folder)
        _check(options, codec, TextCodec.load(folder), kept)
        model.keep(kept)
        model.save(folder)
        logger.info("%s", model.sizes(folder))
    logger.info("the trimmed model is in %s", options.output_dir)
    return 0


def _named(options: TrimOptions, codec: TextCodec) -> set[int]:
    """Ids of what `--keep_tokens` names: tokens, or the pieces of words."""
    if options.keep_tokens is None:
        return set()
    vocabulary = codec.tokenizer.get_vocab()
    tokens = read_tokens(options.keep_tokens, "--keep_tokens")
    pieces = codec.encode([token for token in tokens if token not in vocabulary])
    return {vocabulary[x] for x in tokens if x in vocabulary}.union(*pieces)


def _special(codec: TextCodec, content: Mapping[str, Any]) -> set[int]:
    """Ids of tokens with a role."""
    special = codec.special
    ids = {special.cls, special.sep, special.pad, special.mask, *codec.tokenizer.all_special_ids}
    unknown = content["model"].get("unk_id")
    return ids if unknown is None else {*ids, unknown}


def _write_tokenizer(codec: TextCodec, content: Mapping[str, Any], folder: Path) -> None:
    codec.save(folder)
    Tokenizer.from_str(json.dumps(content)).save(str(folder / "tokenizer.json"))
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.pop("added_tokens_decoder", None) is not None:  # tokenizer.json says it all
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check(options: TrimOptions, old: TextCodec, new: TextCodec, kept: Sequence[int]) -> None:
    """Compare both tokenizers on the corpus.

    Raises:
        ValueError: They differ although every token of the corpus stayed.
    """
    new_id = {old_id: number for number, old_id in enumerate(kept)}
    texts = same = 0
    for chunk in chunks(islice(texts_of(options), CHECKED_TEXTS)):
        for before, after in zip(old.encode(chunk), new.encode(chunk), strict=True):
            texts += 1
            same += after == [new_id.get(token_id, -1) for token_id in before]
    logger.info("%d of %d texts of the corpus read as before", same, texts)
    if same < texts and options.min_count == 1:
        raise ValueError(
            f"--model_path {options.model_path}: its tokenizer reads {texts - same} of {texts} "
            "texts otherwise once it is trimmed, so this kind cannot be trimmed safely"
        )


def _tell_counts(counts: npt.NDArray[np.int64], kept: Sequence[int]) -> None:
    """What the corpus holds of what stays."""
    total = int(counts.sum())
    covered = int(counts[list(kept)].sum()) / max(total, 1)
    logger.info(
        "the corpus has %d tokens, %d different ones; %d of %d tokens stay (%.2f %% of the corpus)",
        total,
        (counts > 0).sum(),
        len(kept),
        counts.size,
        100 * covered,
    )
