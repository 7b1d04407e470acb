"""What a library call has to say to a person.

In: a sentence. Out: the same through Python's logging, under the name `surgrec`, where a program can send it elsewhere or drop it; a
program that never set logging up gets it on stderr. It is its own file because commands print, and functions that others call must not.
"""

from __future__ import annotations

import logging

_LOGGER = logging.getLogger("surgrec")


def say(sentence: str) -> None:
    """Say it, where there is something to say. A warning, since Python shows nothing below one unless told to."""
    if sentence:
        _LOGGER.warning("%s", sentence)
