"""The `id` that a row may have, by which files of the same rows can be told from files of others.

Notable: row n of one file belongs to row n of the other, whatever they are called; an `id` can only
show that they do not belong together. Decoding writes the row's own into its JSON lines.
"""

from typing import Any

ID_KEY = "id"


def require_same_row(line: int, one: tuple[str, Any], other: tuple[str, Any]) -> None:
    """Make sure that two rows that are taken together are not known to be of different examples.

    Args:
        line: Where both stand in their files, from 1.
        one: The flag and the file of the one, and its `id`, None where it has none.
        other: The same of the other.

    Raises:
        ValueError: Both have an `id`, and they differ.
    """
    (file, label), (other_file, other_label) = one, other
    if label is None or other_label is None:
        return
    # As text: somebody may have written 7 as "7", which is no other row.
    if str(label) != str(other_label):
        raise ValueError(
            f"{file}, line {line}: its id is {label!r}, but line {line} of {other_file} has "
            f"{other_label!r}: row n of the one belongs to row n of the other; give files of the "
            "same rows, in the same order, or leave the id out"
        )
