"""`training_state.json`: what a checkpoint says of itself, by which it can tell whether it is whole
(standard library only).

Notable: it holds the size and the SHA-256 of each other file, and a seal over itself.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2s_ft.storage.checksum import sha256_of

FORMAT = 2
"""Version of `training_state.json` and what goes with it."""

RECORD = "training_state.json"

_NO_SEAL = "0" * 64

Record = dict[str, Any]
"""What `training_state.json` holds; every value is plain JSON."""


def find_fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None: each file needs its recorded size and checksum."""
    try:
        record = read_record(folder)
        # Format 1 had no seal. What is whole but of another format is for `check_format` to refuse.
        if ("seal" in record or record["format"] == FORMAT) and not _is_sealed(folder, record):
            return f"{RECORD} has not its own checksum"
        for name, expected in record["files"].items():
            if (folder / name).stat().st_size != expected["size"]:
                return f"{name} has not the recorded size"
            if sha256_of(folder / name) != expected["sha256"]:
                return f"{name} has not the recorded checksum"
    except OSError as error:
        return f"{Path(error.filename or RECORD).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{RECORD} cannot be understood: {error}"
    return None


def read_record(folder: Path) -> Record:
    """The `training_state.json` of a checkpoint."""
    record: Record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return record


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `training_state.json` over what the folder holds, sealed."""
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = {**record, "files": files, "seal": _NO_SEAL}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    seal = hashlib.sha256(text.encode()).hexdigest()
    sealed = seal.join(text.rsplit(_NO_SEAL, maxsplit=1))
    (folder / RECORD).write_text(sealed, encoding="utf-8")


def _is_sealed(folder: Path, record: Record) -> bool:
    """Whether the record's seal is the SHA-256 of the record with zeros in the seal's place."""
    text = (folder / RECORD).read_bytes()
    unsealed = _NO_SEAL.encode().join(text.rsplit(str(record.get("seal")).encode(), maxsplit=1))
    return hashlib.sha256(unsealed).hexdigest() == record.get("seal")
