"""Where a checkpoint's config and weights are: in a folder, beside a weight file, or on the hub.

    a transformers folder     config.json, model.safetensors | pytorch_model.bin, whole or sharded
    UniLM's own files         unilm1-base-cased.bin, unilm1-base-cased-config.json, …-vocab.txt
    a training folder         ckpt-*/ of it: refused, the newest is named

Notable: nothing is read here but the index of a sharded checkpoint, and nothing is fetched that
transformers would not fetch for the same name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from transformers.utils.hub import cached_file

from s2s_ft.storage.model_name import folders_beside, is_missing_path, step_of

SAFETENSORS, BINARY = "model.safetensors", "pytorch_model.bin"
WEIGHT_FILES = (SAFETENSORS, f"{SAFETENSORS}.index.json", BINARY, f"{BINARY}.index.json")
OF_OTHER_LIBRARIES = {
    "*.h5": "TensorFlow",
    "*.ckpt.index": "TensorFlow",
    "*.ckpt-*.index": "TensorFlow",
    "*.msgpack": "Flax",
    "*.onnx": "ONNX",
    "*.gguf": "GGUF",
    "*.pdparams": "Paddle",
}


@dataclass(frozen=True)
class Located:
    """The files of one checkpoint.

    Attributes:
        name: What the user gave: folder, file or hub id.
        config: Its config file; None = none there, or a hub id's, which transformers finds.
        weights: The file, or the shards in order; empty where there are none, and for a hub id
            (see `weights_of`).
        vocabulary: A vocabulary under a name that transformers does not look for, or None.
    """

    name: str
    config: Path | None
    weights: tuple[Path, ...]
    vocabulary: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether the name is a path and no hub id."""
        return Path(self.name).exists()


def locate(name: str, flag: str) -> Located:
    """Find a checkpoint's files.

    Args:
        name: Folder, weight file or hub id.
        flag: The flag that named it, for messages.

    Raises:
        ValueError: There is no such path, it is a training folder, or a shard is missing.
    """
    path = Path(name)
    if path.is_dir():
        return _in_folder(path, name, flag)
    if path.is_file():
        return _beside(path, name, flag)
    if is_missing_path(name):
        raise ValueError(f"{flag} {name}: there is no such folder{folders_beside(name)}")
    return Located(name, None, ())


def weights_of(located: Located, cache_dir: str | None) -> tuple[Path, ...]:
    """The weight file or shards, fetched for a hub id where they are not there yet."""
    return located.weights if located.is_local else _on_hub(located.name, cache_dir)


def weight_files(folder: Path) -> list[Path]:
    """The weight file or shards that lie in a folder, whatever an index says; none for a hub id."""
    return sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def why_no_weights(located: Located, flag: str) -> str:
    """What to say of a checkpoint without weights that torch could read."""
    folder = Path(located.name)
    if not any(folder.iterdir() if folder.is_dir() else ()):
        return f"{flag} {located.name} is empty; name a folder with a checkpoint in it"
    other = next(
        (library for pattern, library in OF_OTHER_LIBRARIES.items() if list(folder.glob(pattern))),
        None,
    )
    if other is not None:
        return (
            f"{located.name} has weights of {other} only; expected {SAFETENSORS} or {BINARY}: "
            "fetch those, or convert it with the library that it was made with"
        )
    return f"{located.name} has no weights; expected {SAFETENSORS} or {BINARY} in it"


def _in_folder(folder: Path, name: str, flag: str) -> Located:
    config = folder / "config.json"
    if config.is_file():
        return Located(name, config, _weights_in(folder), _lone(folder, "*-vocab.txt"))
    checkpoints = sorted(folder.glob("ckpt-*/config.json"), key=lambda file: step_of(file.parent))
    if checkpoints:
        raise ValueError(
            f"{flag} {name} is a training folder; name a checkpoint in it: {checkpoints[-1].parent}"
        )
    weights = _weights_in(folder)
    if not weights:
        lone = _lone(folder, "*.bin") or _lone(folder, "*.safetensors")
        weights = () if lone is None else (lone,)
    return Located(name, _lone(folder, "*-config.json"), weights, _lone(folder, "*-vocab.txt"))


def _beside(file: Path, name: str, flag: str) -> Located:
    """A weight file, and what belongs to it in its folder."""
    if file.suffix not in (".bin", ".safetensors", ".pt"):
        raise ValueError(
            f"{flag} {name} is a file; give the folder that holds the checkpoint, or its weights "
            "(.bin or .safetensors)"
        )
    own = [file.with_name(f"{file.stem}-config.json"), file.with_name("config.json")]
    vocabulary = file.with_name(f"{file.stem}-vocab.txt")
    return Located(
        name,
        next((each for each in own if each.is_file()), None),
        (file,),
        vocabulary if vocabulary.is_file() else None,
    )


def _weights_in(folder: Path) -> tuple[Path, ...]:
    for file in WEIGHT_FILES:
        path = folder / file
        if path.is_file():
            return _shards(path, folder) if path.suffix == ".json" else (path,)
    return ()


def _shards(index: Path, folder: Path) -> tuple[Path, ...]:
    """The files that an index names.

    Raises:
        ValueError: The index is damaged, or a file is not there.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        shards = tuple(folder / Path(name).name for name in names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of weights; fetch it again") from error
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise ValueError(
            f"{index} names {len(shards)} files, of which {len(missing)} are not there: "
            f"{', '.join(missing)}; fetch them"
        )
    return shards


def _on_hub(name: str, cache_dir: str | None) -> tuple[Path, ...]:
    """The weights of a hub id, fetched where they are not yet; empty where it cannot be reached."""
    for file in WEIGHT_FILES:
        try:
            found = cached_file(
                name,
                file,
                cache_dir=cache_dir,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                _raise_exceptions_for_gated_repo=False,
            )
        except (OSError, ValueError):  # no such id: whoever reads its config says so
            return ()
        if found is None:
            continue
        path = Path(found)
        if path.suffix != ".json":
            return (path,)
        names = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        shards = (cached_file(name, each, cache_dir=cache_dir) for each in sorted(names))
        return tuple(Path(shard) for shard in shards if shard is not None)
    return ()


def _lone(folder: Path, pattern: str) -> Path | None:
    """The one file that fits, None where there are none or several."""
    found = list(folder.glob(pattern))
    return found[0] if len(found) == 1 else None
