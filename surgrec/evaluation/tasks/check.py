"""What of a dataset's archive lies in a folder, and whether its tasks can be read.

In: the folder of all datasets. Out: for each what is there, what is missing where, and the tasks with the hashes of their splits. It is
its own file because a user asks this before hours of features are computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.archive import seen
from surgrec.evaluation.tasks.card import Need, TaskCard
from surgrec.evaluation.tasks.catalog import read_tasks
from surgrec.evaluation.tasks.task import Task


@dataclass(frozen=True)
class Found:
    """How many paths fit a need."""

    need: Need
    count: int

    @property
    def is_enough(self) -> bool:
        """Whether as many are there as there should be, or some where nobody knows how many."""
        return self.count > 0 if self.need.count is None else self.count >= self.need.count


@dataclass(frozen=True)
class Standing:
    """Of one dataset. `place`: its folder, None where there is none. `tasks`: what was read; `refusal`: why nothing was."""

    card: TaskCard
    place: Path | None
    found: tuple[Found, ...] = ()
    tasks: tuple[Task, ...] = ()
    refusal: str | None = None

    @property
    def is_ready(self) -> bool:
        return bool(self.tasks)


def place_of(root: Path, card: TaskCard, is_only: bool) -> Path | None:
    """The folder of a dataset: its name below `root`, or `root` itself where only this dataset was asked for."""
    if (root / card.name).is_dir():
        return root / card.name
    return root if is_only else None


def check(place: Path | None, card: TaskCard, seed: int = 0, allow_missing: bool = False) -> Standing:
    """Count what the card needs below `place` and read the tasks. No video is decoded."""
    if place is None:
        return Standing(card, None)
    found = tuple(
        Found(need, len({path for pattern in (need.path, *need.also) for path in seen(place, pattern)}))
        for need in card.needs
    )
    try:
        return Standing(card, place, found, read_tasks(card.name, place, seed, allow_missing))
    except (UserError, OSError) as error:  # a folder that may not be read says nothing of the other datasets
        return Standing(card, place, found, refusal=str(error))


def in_words(standing: Standing) -> Iterable[str]:
    """Lines for a terminal."""
    card = standing.card
    if standing.place is None:
        yield f"{card.name}: absent; its archive belongs in a folder of that name: {card.layout}"
        return
    yield f"{card.name}: {'ready' if standing.is_ready else 'not ready'}, in {standing.place}"
    for found in standing.found:
        wanted = "" if found.need.count is None else f" of {found.need.count:,}"
        yield f"  {'there  ' if found.is_enough else 'MISSING'} {found.count:,}{wanted} {found.need.path} ({found.need.what})"
    if standing.refusal is not None:
        yield f"  {standing.refusal}"
    for task in standing.tasks:
        num_rows = len(task.groups)
        unit = "recordings" if hasattr(task, "recordings") else "clips"
        yield f"  task {task.name}: {num_rows:,} {unit} of {len(set(task.groups)):,} groups, {len(task.classes)} classes"
        for split in task.splits:
            sizes = " / ".join(f"{len(rows):,}" for rows in split.parts().values())
            yield f"    {split.origin} split {split.name}: {sizes}, hash {task.split_hash(split)}"
        yield from (f"    note: {note}" for note in task.notes)
    yield from (f"  assumed: {text}" for text in card.assumed)
