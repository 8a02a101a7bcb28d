"""Checks of option values; each raises `ValueError` with one line that names the flag.

Values are handed over by name (``at_least(1, beam_size=self.beam_size)``), so that the message can
name the flag. None always passes: it means that the flag was not given. A NaN never passes.

Notable: bounds keep numbers away from where torch and numpy fail at them: sizes of 64 bits, powers
that are no numbers any more. What is below them may still be more than a machine's memory holds.
"""

LARGEST_COUNT = 2**31 - 1
"""Of rows, updates and the like; products of two, with room to spare, still have 64 bits."""

LONGEST = 2**20
"""Of sources, targets and outputs in tokens: a position table grows to that, by gigabytes."""

MOST_BEAMS = 10_000

LARGEST_SEED = 2**63 - 1

LARGEST_EXPONENT = 30
"""Of a length penalty: to this power even `LARGEST_COUNT` is a number of double precision."""

LARGEST_WEIGHT = 100
"""Of penalties and rewards, in natural-log units or as a factor on them."""

TEMPERATURES = (1e-6, 1e6)
"""From the likeliest token alone to all alike; single precision holds the logits divided by it."""


def not_empty(**values: str | None) -> None:
    """Refuse empty text, which is mostly an undefined shell variable."""
    for name, value in values.items():
        if value is not None and not value.strip():
            raise ValueError(f"--{name} is empty: give it a value or leave it out")


def in_utf8(**values: object) -> None:
    """Refuse text that is not in UTF-8, as a path in an older encoding; other values pass."""
    for name, value in values.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and text != text.encode("utf-8", "ignore").decode("utf-8"):
                raise ValueError(f"--{name} {text!r} is not in UTF-8: name it in UTF-8")


def at_least(minimum: float, /, **values: float | None) -> None:
    """Refuse numbers below `minimum`."""
    for name, value in values.items():
        if value is not None and not value >= minimum:
            raise ValueError(f"--{name} is {value}: give a number of at least {minimum}")


def at_most(maximum: float, /, **values: float | None) -> None:
    """Refuse numbers above `maximum`."""
    for name, value in values.items():
        if value is not None and not value <= maximum:
            raise ValueError(f"--{name} is {value}: give a number of at most {maximum}")


def within(minimum: float, maximum: float, /, **values: float | None) -> None:
    """Refuse numbers below `minimum` or above `maximum`."""
    at_least(minimum, **values)
    at_most(maximum, **values)


def count(minimum: int, /, **values: int | None) -> None:
    """Refuse numbers below `minimum`, and those that are more than is ever counted."""
    within(minimum, LARGEST_COUNT, **values)


def seed(**values: int | None) -> None:
    """Refuse numbers that are not from 0 to 2^63 - 1."""
    within(0, LARGEST_SEED, **values)


def more_than(bound: int, /, **values: float | None) -> None:
    """Refuse numbers that are not above `bound`."""
    for name, value in values.items():
        if value is not None and not value > bound:
            raise ValueError(f"--{name} is {value}: give a number above {bound}")


def finite(**values: float | None) -> None:
    """Refuse infinities and NaN."""
    for name, value in values.items():
        if value is not None and not abs(value) < float("inf"):
            raise ValueError(f"--{name} is {value}: give a finite number")


def probability(**values: float | None) -> None:
    """Refuse numbers outside [0, 1]."""
    for name, value in values.items():
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"--{name} is {value}: give a probability from 0 to 1")


def share_below_one(**values: float | None) -> None:
    """Refuse numbers outside [0, 1)."""
    for name, value in values.items():
        if value is not None and not 0 <= value < 1:
            raise ValueError(f"--{name} is {value}: give a number from 0 to below 1")


def at_most_one_of(**values: bool) -> None:
    """Refuse two or more switches that exclude each other."""
    given = [f"--{name}" for name, value in values.items() if value]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")
