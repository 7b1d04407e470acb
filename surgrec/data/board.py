"""What each loading process is reading, where its parent can see it after the process is gone.

In: a process's word that it begins or ends reading a video. Out: the same, in memory that parent and processes share. It is its own file
because a decoder that crashes or hangs says nothing any more: what was being read must be known already, and to say it by a message for
every clip would cost the training process more than it is worth.
"""

from __future__ import annotations

from multiprocessing.context import BaseContext
from typing import Any, NamedTuple

_SIGNS, _POSITION, _ROW, _SLOT = 0, 1, 2, 3  # of a process's slot of three 64-bit integers
_NOTHING = -1


class Reading(NamedTuple):
    """`signs`: how often a process has said something, 0 before it is up; `row`: of the video that it reads for `position`, or None."""

    signs: int
    position: int
    row: int | None


class Board:
    """One slot a process, each written by that process alone; reaches it as an argument of its start."""

    def __init__(self, context: BaseContext, num_slots: int) -> None:
        self._words: Any = context.RawArray("q", num_slots * _SLOT)

    def clear(self, slot: int) -> None:
        """A new process takes the slot."""
        self._write(slot, _NOTHING, _NOTHING, 0)

    def begin(self, slot: int, position: int, row: int) -> None:
        """The process of `slot` begins to read the video of `row` for the clip at `position`."""
        self._write(slot, position, row, self._words[slot * _SLOT + _SIGNS] + 1)

    def end(self, slot: int) -> None:
        """It reads no video now."""
        self._write(slot, _NOTHING, _NOTHING, self._words[slot * _SLOT + _SIGNS] + 1)

    def look(self, slot: int) -> Reading:
        """What the process said last."""
        first = slot * _SLOT
        row = self._words[first + _ROW]
        return Reading(self._words[first + _SIGNS], self._words[first + _POSITION], row if row != _NOTHING else None)

    def _write(self, slot: int, position: int, row: int, signs: int) -> None:
        first = slot * _SLOT
        self._words[first + _ROW] = _NOTHING  # killed in between, it was reading nothing
        self._words[first + _POSITION] = position
        self._words[first + _ROW] = row
        self._words[first + _SIGNS] = signs
