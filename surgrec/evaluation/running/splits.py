"""Which splits of a task make one column of a table.

In: the splits of a task. Out: sets of splits. It is its own file because a cross-validation is one experiment: its folds test every row
once, and only all of them together have the groups that an interval needs.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.evaluation.results import SplitFacts
from surgrec.evaluation.scores import cautions
from surgrec.evaluation.tasks.task import NO_LABEL, ClipTask, DenseTask, NamedSplit, Task

_NUMBERED = re.compile(r"^(.*?)[_-]?(?:fold|out|user|split)?[_-]?\d+$")


@dataclass(frozen=True)
class SplitSet:
    """Splits whose test rows are joined; `name` is that of the only one, or says how many folds there are."""

    name: str
    splits: tuple[NamedSplit, ...]


def split_sets(task: Task) -> tuple[SplitSet, ...]:
    """Splits whose names differ in a last number and whose test parts share no row are one set; any other stands by itself."""
    by_stem: dict[str, list[NamedSplit]] = {}
    for split in task.splits:
        match = _NUMBERED.match(split.name)
        by_stem.setdefault(match[1] if match else split.name, []).append(split)
    sets = []
    for stem, splits in by_stem.items():
        tested = np.concatenate([split.test for split in splits])
        if len(splits) > 1 and len(np.unique(tested)) == len(tested):
            sets.append(SplitSet("_".join(filter(None, (stem, f"{len(splits)}_folds"))), tuple(splits)))
        else:
            sets += [SplitSet(split.name, (split,)) for split in splits]
    return tuple(sets)


def facts_of(task: Task, chosen: SplitSet) -> SplitFacts:
    """For the report. Of several folds, rows and groups of train and validation are those of the largest fold, of test all of them."""
    groups = task.groups
    rows = {part: _rows(chosen, part) for part in ("train", "validation", "test")}
    return SplitFacts(
        chosen.name,
        "surgrec" if chosen.splits[0].origin == "replayed" else chosen.splits[0].origin,
        hash_of(task, chosen),
        {part: len(each) for part, each in rows.items()},
        {part: len(np.unique(groups[each])) for part, each in rows.items()},
    )


def cautions_of(task: Task, chosen: SplitSet, num_seeds: int) -> list[str]:
    """What makes every interval of these test rows less sure."""
    rows = rows_tested(chosen)
    if isinstance(task, ClipTask):
        return cautions(task.labels[rows], task.groups[rows], num_seeds, task.classes)
    labels = [task.recordings[row].labels for row in rows]
    groups = np.repeat(task.groups[rows], [len(each) for each in labels])
    every = np.concatenate([*labels, np.empty(0, np.int64)])
    return cautions(every[every != NO_LABEL], groups[every != NO_LABEL], num_seeds, task.classes)


def hash_of(task: Task, chosen: SplitSet) -> str:
    """Of the only split, or of all folds."""
    assert isinstance(task, (ClipTask, DenseTask))
    hashes = [task.split_hash(split) for split in chosen.splits]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16]


def rows_tested(chosen: SplitSet) -> npt.NDArray[np.int64]:
    """Of all splits."""
    return np.concatenate([split.test for split in chosen.splits])


def _rows(chosen: SplitSet, part: str) -> npt.NDArray[np.int64]:
    each = [getattr(split, part) for split in chosen.splits]
    return np.concatenate(each) if part == "test" else max(each, key=len)
