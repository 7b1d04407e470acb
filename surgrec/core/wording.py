"""How counts are worded.

In: a number and a noun. Out: both, agreeing. It is its own file because commands, reports and messages of every stage say such things.
"""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """'1 clip', '2 clips', '1,301 clips', '2 classes'."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
