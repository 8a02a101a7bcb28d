"""What a distillation goes by, and whether it can; `scripts/distill.sh` asks before anything slow.

    python scripts/distill_plan.py --train_file train.jsonl --test_file test.jsonl --teacher DIR

Prints one line: the rows of the training file and, with a teacher, the method and the longest
source and target that it was fine-tuned with, which are those of its student, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from s2s_ft.cli import run
from s2s_ft.data.examples import read_examples
from s2s_ft.data.files import named_by, require_file


def num_rows(path: str, name: str, *, allow_empty_source: bool) -> int:
    """Rows of a data file, every one of them checked.

    Args:
        path: The file.
        name: What it is called where it is named, for messages.
        allow_empty_source: Whether a row may have nothing to read.

    Raises:
        ValueError: There is none, or a row is not as it should be.
    """
    require_file(path, name)
    with named_by(name, path):
        return sum(1 for _ in read_examples(path, allow_empty_source=allow_empty_source))


def settings_of(teacher: str) -> tuple[str, int, int]:
    """Method, longest source and longest target of a fine-tuned checkpoint.

    Args:
        teacher: Folder or hub name.

    Raises:
        ValueError: It cannot be read, was not fine-tuned, or does not say its lengths.
    """
    from s2s_ft.model.described import describe

    described = describe(teacher, None, "--teacher")
    if not described.is_fine_tuned:
        raise ValueError(
            f"--teacher {teacher} is no fine-tuned checkpoint: its config.json has no 's2s_ft' "
            "block of a training run; name one that run_seq2seq.py saved"
        )
    known = described.known_settings()
    if known.max_source_length is None or known.max_target_length is None:
        raise ValueError(
            f"--teacher {teacher} does not say with what lengths it was fine-tuned: give them to "
            "python -m s2s_ft.convert (--max_source_seq_length, --max_target_seq_length) and name "
            "the folder that it makes"
        )
    return known.method, known.max_source_length, known.max_target_length


def main(argv: Sequence[str] | None = None) -> int:
    """Check what is named and print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--train_file", required=True)
    parser.add_argument("--test_file", required=True)
    parser.add_argument("--teacher", help="none: it is to be trained on the training file first")
    options = parser.parse_args(argv)
    num_rows(options.test_file, "TEST_FILE", allow_empty_source=True)
    has_teacher = options.teacher is not None
    plan: list[object] = [
        num_rows(options.train_file, "TRAIN_FILE", allow_empty_source=has_teacher)
    ]
    if has_teacher:
        plan += settings_of(options.teacher)
    print(*plan)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
