"""Put a checkpoint on the Hugging Face hub (`python -m s2s_ft.push`).

Only what is needed to generate goes there: weights, config, tokenizer, defaults of generation and
the model card. The optimizer, the state of the run and token ids stay. All files go in one commit,
so the repository never shows half a checkpoint.

Notable: the token comes from where huggingface_hub looks for it (`HF_TOKEN`, or `hf auth login`),
never from the command line. Importing this module loads nothing but the standard library.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from s2s_ft.cli import EnvironmentFault, first_line, listed, parse, run
from s2s_ft.options import flag
from s2s_ft.options.checks import not_empty

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

PROGRAM = "python -m s2s_ft.push"
DESCRIPTION = "Put a checkpoint on the Hugging Face hub."

CARD, ADAPTER = "README.md", "adapter_config.json"

PUBLISHED = (
    "config.json",
    "generation_config.json",
    CARD,
    "LICENSE*",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    ADAPTER,
    "adapter_model.safetensors",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "s2s_ft_onnx.json",
    "*.onnx",
    "*.onnx.data",
)
"""Patterns of the files that go to the hub; whatever fits none of them stays."""

WEIGHTS = ("model.safetensors", "model-*", "adapter_model.safetensors", "*.onnx")

_MADE_BY_THE_HUB = {".gitattributes", CARD}


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """What goes to the hub, and under which name."""

    model_path: str = field(
        metadata=flag("Checkpoint, or export of python -m s2s_ft.export.", metavar="DIR")
    )
    repo_id: str = field(
        metadata=flag("Name on the hub: user/name, or name alone for your own.", metavar="NAME")
    )
    private: bool = field(
        default=False, metadata=flag("Make the repository private, if it is a new one.")
    )
    revision: str | None = field(
        default=None, metadata=flag("Branch to commit to; main unless given.", metavar="BRANCH")
    )
    commit_message: str = field(
        default="Upload a checkpoint of s2s-ft", metadata=flag("Message of the commit.")
    )
    overwrite: bool = field(
        default=False,
        metadata=flag("Go on where the repository holds other files; those stay as they are."),
    )
    dry_run: bool = field(
        default=False, metadata=flag("List what would go to the hub, and reach for no network.")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(
            model_path=self.model_path,
            repo_id=self.repo_id,
            revision=self.revision,
            commit_message=self.commit_message,
        )


def push_main(argv: Sequence[str] | None = None) -> int:
    """Publish (``python -m s2s_ft.push``, ``s2s-push``)."""
    return run(lambda: push(parse(PushOptions, argv, PROGRAM, DESCRIPTION)))


def push(options: PushOptions, make_api: Callable[[], HfApi] | None = None) -> int:
    """Publish a checkpoint.

    Args:
        options: Everything the command line says.
        make_api: Gives the client of the hub; huggingface_hub's own unless given.

    Returns:
        Exit code 0.

    Raises:
        ValueError: The folder is no checkpoint, the name is none, or other files are there.
        EnvironmentFault: The hub cannot be reached, or does not let us in.
    """
    from huggingface_hub.utils import (  # type: ignore[attr-defined, unused-ignore]
        validate_repo_id,
    )

    with _told(options.repo_id):
        validate_repo_id(options.repo_id)
    files = published_files(Path(options.model_path))
    total = sum(path.stat().st_size for path in files)
    for path in files:
        print(f"{path.stat().st_size:>14,}  {path.name}")
    print(f"{total:>14,}  bytes in {len(files)} files -> {options.repo_id}")
    if options.dry_run:
        return 0
    from huggingface_hub import CommitOperationAdd, HfApi

    with _told(options.repo_id):
        api = (make_api or HfApi)()
        created = api.create_repo(options.repo_id, private=options.private, exist_ok=True)
        name = created.repo_id
        _check_others(api, name, files, options)
        commit = api.create_commit(
            name,
            [CommitOperationAdd(path.name, _content(path, name)) for path in files],
            commit_message=options.commit_message,
            revision=options.revision,
        )
    logger.info("%s is on the hub: %s", name, commit.commit_url)
    return 0


def published_files(folder: Path) -> list[Path]:
    """The files of a folder that go to the hub, by name.

    Raises:
        ValueError: It is no folder, there are no weights in it, or they are an adapter for an
            encoder that only this machine has.
    """
    if not folder.is_dir():
        raise ValueError(f"--model_path {folder} is no folder: name a checkpoint")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and _fits(path, PUBLISHED)]
    if not any(_fits(path, WEIGHTS) for path in files):
        inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
        hint = f"; it holds the checkpoints {', '.join(inside[:6])}" if inside else ""
        raise ValueError(f"--model_path {folder} holds no weights: name a checkpoint{hint}")
    _refuse_adapter_of_a_folder(folder)
    return files


def _refuse_adapter_of_a_folder(folder: Path) -> None:
    """Raise where an adapter names its encoder by a folder, which nobody else has."""
    if not (folder / ADAPTER).is_file():
        return
    from s2s_ft.model.adapter_files import base_of  # slow to import

    base = base_of(folder)
    if Path(base).is_absolute():
        raise ValueError(
            f"--model_path {folder} is an adapter for the encoder in {base}, which others do not "
            "have: train with --peft_save merged, or from the encoder's name on the hub"
        )


def addressed(card: str, repo_id: str) -> str:
    """A model card whose examples name the repository that it lies in."""
    opened = rf'from_pretrained(\g<1>"{repo_id}")'
    card = re.sub(r'from_pretrained\((encoder, )?"[^"]*"\)', opened, card)
    return re.sub(r"--model_path \S+", f"--model_path {repo_id}", card)


def _fits(path: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in patterns)


def _content(path: Path, repo_id: str) -> Path | bytes:
    """What is uploaded for a file."""
    if path.name != CARD:
        return path
    return addressed(path.read_text(encoding="utf-8"), repo_id).encode("utf-8")


def _check_others(api: HfApi, name: str, files: Sequence[Path], options: PushOptions) -> None:
    """Refuse a repository that holds something else.

    Raises:
        ValueError: It does, and `--overwrite` is not given.
    """
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        there = set(api.list_repo_files(name, revision=options.revision))
    except RevisionNotFoundError as error:
        raise ValueError(
            f"--revision {options.revision}: {name} has no such branch; make it on the hub first"
        ) from error
    others = sorted(there - {path.name for path in files} - _MADE_BY_THE_HUB)
    if others and not options.overwrite:
        raise ValueError(
            f"--repo_id {name} holds other files ({listed(others, 4)}): name another "
            "repository, or give --overwrite to leave them there beside the new ones"
        )


@contextmanager
def _told(repo_id: str) -> Iterator[None]:
    """Say what the hub's client says in one line, with what to do.

    Raises:
        ValueError: The name is none.
        EnvironmentFault: The hub cannot be reached, or does not let us in.
    """
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except HFValidationError as error:
        raise ValueError(
            f"--repo_id {repo_id} is no name on the hub: {first_line(error)}"
        ) from error
    except OfflineModeIsEnabled as error:
        raise EnvironmentFault(
            "the hub is not to be reached here: HF_HUB_OFFLINE is set; unset it to publish"
        ) from error
    except LocalTokenNotFoundError as error:
        raise EnvironmentFault(f"not logged in to the hub: {_LOG_IN}") from error
    except HfHubHTTPError as error:
        response = getattr(error, "response", None)  # a connection that fails has none
        status = getattr(response, "status_code", None)
        if status in (401, 403):
            raise EnvironmentFault(
                f"the hub does not let us write to {repo_id} ({status}): {_LOG_IN}"
            ) from error
        raise EnvironmentFault(f"the hub refused {repo_id}: {first_line(error)}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore"):
            raise
        raise EnvironmentFault(
            f"the hub cannot be reached ({type(error).__name__}: {first_line(error)}): check the "
            "network, and HF_ENDPOINT if you set it"
        ) from error


_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


if __name__ == "__main__":
    raise SystemExit(push_main())
