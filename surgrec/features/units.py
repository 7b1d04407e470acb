"""How the windows of many videos become batches, and which job computes which.

In: how many windows each video has. Out: units of videos, and the batches of a unit. It is its own file because of one promise: what a
batch holds follows from the list of videos alone, not from what is done already, nor from how many jobs share the work. Rounding
depends on what shares a batch; so a killed extraction that is continued, or one in shards, gives the same bytes as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_BATCHES_PER_UNIT = 8  # of the batches of a unit, one may be partly empty


@dataclass(frozen=True)
class Item:
    """A video by its number in the list, and its number of windows."""

    video: int
    num_windows: int


@dataclass(frozen=True)
class Unit:
    """Videos whose windows share batches: many short ones, or a long one alone."""

    items: tuple[Item, ...]

    @property
    def num_windows(self) -> int:
        return sum(item.num_windows for item in self.items)


Slot = tuple[int, int]  # place of a video within its unit, window


def make_units(num_windows: Sequence[int], batch_size: int) -> list[Unit]:
    """Units of videos, in the order of the list; `num_windows` of each video."""
    enough, units, gathered = _BATCHES_PER_UNIT * batch_size, [], []
    for video, count in enumerate(num_windows):
        if count >= enough:
            units.append(Unit((Item(video, count),)))
            continue
        gathered.append(Item(video, count))
        if sum(item.num_windows for item in gathered) >= enough:
            units.append(Unit(tuple(gathered)))
            gathered = []
    if gathered:
        units.append(Unit(tuple(gathered)))
    return units


def part_of(units: Sequence[Unit], part: int, num_parts: int) -> list[Unit]:
    """Those of `units` that part `part` of `num_parts` computes: the largest first, dealt out in turn."""
    by_size = sorted(units, key=lambda unit: (-unit.num_windows, unit.items[0].video))
    return by_size[part::num_parts]


def batches_of(unit: Unit, num_done: Sequence[int], batch_size: int) -> Iterator[list[Slot]]:
    """The batches of a unit that hold a window which is not done; of the video in place i, the first `num_done[i]` are done.

    Which windows share a batch does not depend on what is done.
    """
    slots: list[Slot] = []
    for place, item in enumerate(unit.items):
        for window in range(item.num_windows):
            slots.append((place, window))
            if len(slots) == batch_size:
                yield from _if_needed(slots, num_done)
                slots = []
    yield from _if_needed(slots, num_done)


def _if_needed(slots: list[Slot], num_done: Sequence[int]) -> Iterator[list[Slot]]:
    if any(window >= num_done[place] for place, window in slots):
        yield slots
