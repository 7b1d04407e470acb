"""How numbers are written, so that rounding never tells another story than the number.

In: numbers of `Results`. Out: text. It is its own file because of one rule: what differs is shown with as many digits as it takes to see
that it differs. An interval whose end is 0.0004 does not hold 0, and must not read as if it did.
"""

from __future__ import annotations

from collections.abc import Sequence

SIGNIFICANT = 0.05
_LEAST_DIGITS, _MOST_DIGITS, _NOISE = 3, 10, 1e-9  # what differs by less differs by the rounding of sums


def together(values: Sequence[float], landmarks: Sequence[float] = (0.0, 1.0)) -> tuple[str, ...]:
    """The values with one number of decimals, three or more: enough that two that differ are shown as different, and that none is shown
    as a landmark that it is not."""
    others = [*values, *landmarks]
    for digits in range(_LEAST_DIGITS, _MOST_DIGITS + 1):
        if all(_are_told_apart(value, other, digits) for value in values for other in others):
            break
    return tuple(_fixed(value, digits) for value in values)


def number(value: float) -> str:
    """One number on its own."""
    return together([value])[0]


def interval(low: float, high: float) -> str:
    return "[{}, {}]".format(*together([low, high]))


def measured(estimate: float, low: float | None, high: float | None) -> tuple[str, str]:
    """An estimate and its interval, in the same digits; the interval is "no interval" where there is none."""
    if low is None or high is None:
        return number(estimate), "no interval"
    shown = together([estimate, low, high])
    return shown[0], f"[{shown[1]}, {shown[2]}]"


def p_value(p: float) -> str:
    """Three significant digits, more where that would put it on the threshold or on 1."""
    for digits in range(3, 16):
        shown = f"{p:.{digits}g}"
        if all((float(shown) == landmark) == (p == landmark) for landmark in (SIGNIFICANT, 1.0)):
            return shown
    return repr(p)


def _are_told_apart(value: float, other: float, digits: int) -> bool:
    return abs(value - other) < _NOISE or _fixed(value, digits) != _fixed(other, digits)


def _fixed(value: float, digits: int) -> str:
    shown = f"{value:.{digits}f}"
    return shown.removeprefix("-") if float(shown) == 0 else shown
