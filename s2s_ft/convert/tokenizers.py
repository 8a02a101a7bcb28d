"""The tokenizer that belongs to a checkpoint, wherever it is.

    --tokenizer_name                     a folder, a vocab.txt, a hub id
    the checkpoint's own folder          whatever transformers reads, or NAME-vocab.txt
    what the original was started with   `tokenizer_name` or `model_name_or_path` of train_opt.json

Notable: a vocabulary with a token on two lines is taken as the original took it, the later line
counts, and it is told.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from s2s_ft.cli import first_line
from s2s_ft.model.foreign import is_original, train_options
from s2s_ft.model.located import Located
from s2s_ft.text import TextCodec

logger = logging.getLogger(__name__)

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)


def find_tokenizer(
    located: Located,
    raw_config: dict[str, object],
    *,
    given: str | None,
    do_lower_case: bool | None,
    cache_dir: str | None,
) -> tuple[TextCodec, str]:
    """Load the tokenizer of a checkpoint.

    Args:
        located: The checkpoint's files.
        raw_config: Its config.
        given: What the user named, or None.
        do_lower_case: As for `TextCodec.load`.
        cache_dir: Where hub files are kept.

    Returns:
        The tokenizer, and the folder, file or hub id that it came from.

    Raises:
        ValueError: There is none.
    """
    name = given or _own(located) or _of_the_original(located, raw_config) or located.name
    path = Path(name)
    if path.is_dir():
        _tell_duplicates(path / "vocab.txt")
    if path.is_file():
        return _bare_vocabulary(path, do_lower_case=do_lower_case), name
    try:
        return TextCodec.load(name, do_lower_case=do_lower_case, cache_dir=cache_dir), name
    except ValueError as error:
        if name in str(error):
            raise
        raise ValueError(
            f"{name}: no tokenizer ({first_line(error)}); fetch its files again, or name another "
            "with --tokenizer_name"
        ) from error


def _own(located: Located) -> str | None:
    """The checkpoint's own tokenizer: its folder, or a vocabulary under another name."""
    path = Path(located.name)
    folder = path if path.is_dir() else path.parent
    if not located.is_local:
        return None
    if located.vocabulary is not None and not (folder / "tokenizer.json").is_file():
        return str(located.vocabulary)
    has_one = any((folder / file).is_file() for file in TOKENIZER_FILES)
    return str(folder) if has_one else None


def _of_the_original(located: Located, raw_config: dict[str, object]) -> str | None:
    """What a run of the original's was started with.

    Raises:
        ValueError: Its checkpoint tells nothing of it.
    """
    if not located.is_local or not is_original(raw_config):
        return None
    options = train_options(located.name)
    for key in ("tokenizer_name", "model_name_or_path"):
        name = options.get(key)
        if isinstance(name, str) and name:
            logger.info("the tokenizer is that of the fine-tuning run, %s", name)
            return name
    raise ValueError(
        f"--model_path {located.name}: the original toolkit saves no tokenizer; name that of the "
        "model it was fine-tuned from with --tokenizer_name"
    )


def _bare_vocabulary(file: Path, *, do_lower_case: bool | None) -> TextCodec:
    """A vocabulary of word pieces in a file of its own."""
    _tell_duplicates(file)
    with TemporaryDirectory() as folder:
        shutil.copyfile(file, Path(folder) / "vocab.txt")
        try:
            return TextCodec.load(folder, do_lower_case=do_lower_case)
        except ValueError as error:
            raise ValueError(str(error).replace(f"{folder}:", f"{file}:", 1)) from error


def _tell_duplicates(vocabulary: Path) -> None:
    """Warn of tokens that stand on more than one line."""
    try:
        lines = vocabulary.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):  # for the loader to complain about
        return
    seen: dict[str, int] = {}
    twice = []
    for number, token in enumerate(lines, start=1):
        if token and token in seen:
            twice.append(f"{token} (lines {seen[token]} and {number})")
        seen[token] = number
    if twice:
        logger.warning(
            "%s: tokens that stand on two lines (%d), of which the later one counts: %s; if texts "
            "come out wrong, fetch the vocabulary again",
            vocabulary,
            len(twice),
            ", ".join(twice[:3]) + (" …" if len(twice) > 3 else ""),
        )
