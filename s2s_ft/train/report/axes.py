"""Round numbers for the axes of a chart, and how numbers are written.

ticks(0.3, 9.2)      0, 2, 4, 6, 8, 10             steps of 1, 2, 2.5 or 5 times a power of ten
decades(0.3, 92.0)   0.1, 1, 10, 100               for a logarithmic axis
"""

from __future__ import annotations

import math

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
MOST_TICKS = 6


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round numbers from at most `low` to at least `high`.

    Args:
        low: Lowest value on the axis.
        high: Highest value, not below `low`.
        whole: Only whole numbers make sense.

    Returns:
        Two or more, ascending, all the same distance apart.
    """
    # Closer together than numbers are told apart, they are one.
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-300):
        space = max(abs(low) * 0.1, 1.0 if whole else 1e-12)
        low, high = low - space, high + space
    raw = (high - low) / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(each * power for each in STEPS if each * power >= raw * (1 - 1e-9))
    if whole:
        step = float(max(1, math.ceil(step - 1e-9)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from at most `low` to at least `high`, both above 0; two or more."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def written(value: float) -> str:
    """A number for people: four significant digits, thousands parted, tiny ones with a power."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 999.5:
        return f"{value:,.0f}"
    if size >= 1e-3:
        return f"{value:.4g}"
    digits, power = f"{value:.3e}".split("e")
    return f"{float(digits):g}e{int(power)}"


def tick_label(value: float, step: float) -> str:
    """A number at an axis, with just the digits that tell it from its neighbours.

    Args:
        value: Where the tick stands.
        step: Distance to the next one.
    """
    if abs(value) < step * 1e-6:
        return "0"
    if step >= 1000 and abs(value) >= 10_000:
        return f"{value / 1000:,.10g}k"
    if step < 1e-3:
        return written(value)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != round(step, decimals + 1):  # steps of 2.5
        decimals += 1
    return f"{value:,.{decimals}f}"


def duration(seconds: float) -> str:
    """A time span for people, such as `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"


def memory(num_bytes: float) -> str:
    """An amount of memory for people, such as `1.3 GiB`."""
    for power, unit in ((3, "GiB"), (2, "MiB")):
        if num_bytes >= 999.5 * 1024 ** (power - 1):  # four digits would be written as a power
            return f"{num_bytes / 1024**power:.3g} {unit}"
    return f"{num_bytes:,.0f} bytes"
