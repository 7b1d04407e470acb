"""How counts are worded.

In: a number and a noun. Out: both, agreeing. It is its own file because commands, reports and messages of every stage say such things.
"""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """'1 clip', '2 clips', '1,301 clips', '2 classes'."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def lasting(seconds: float) -> str:
    """'12 s', '18 min', '3 h 20 min', '8 days 10 h': two units at most, the smaller of them whole."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} days {hours % 24} h"


def sized(num_bytes: float) -> str:
    """'3.90 GB', '12.0 MB', '512 bytes'."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= 0.9995 * size:
            return f"{num_bytes / size:,.3g} {unit}"
    return f"{num_bytes:.0f} bytes"
