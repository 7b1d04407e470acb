"""The splits of a task: the published ones, with a validation part of their own, or seeded ones that no group crosses.

In: the group of each row, and which group its authors put where. Out: `NamedSplit`s. It is its own file because one rule holds for all
datasets: hyper-parameters are chosen on a validation part that shares no group with the test part, and the test part is never touched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.splits import Split, carve_by_group, folds_by_group, split_by_group
from surgrec.evaluation.tasks.task import NamedSplit

PARTS = ("train", "validation", "test")


def official_split(
    name: str, groups: Sequence[str], part_of: Mapping[str, str], seed: int, strata: Sequence[str] | None = None
) -> NamedSplit:
    """The split that puts each group where its authors put it; rows of groups that they name nowhere are in no part.

    `part_of`: group to 'train', 'validation' or 'test'. Where nobody has a validation part, a fifth of the training groups becomes one, by
    `seed`, and the name says so: a model chosen on the test part is no result. Raises `UserError` where a part has no row.
    """
    parts = np.array([part_of.get(group, "") for group in groups])
    rows = {part: np.flatnonzero(parts == part) for part in PARTS}
    if not len(rows["train"]) or not len(rows["test"]):
        raise UserError(f"split {name} has no row in its {'test' if len(rows['train']) else 'training'} part")
    if "validation" in part_of.values():
        return NamedSplit(name, "official", rows["train"], rows["validation"], rows["test"])
    train = rows["train"]
    chosen = None if strata is None else [strata[int(row)] for row in train]
    kept, carved = carve_by_group([groups[int(row)] for row in train], seed, 0.2, chosen)
    return NamedSplit(f"{name}_carved{seed}", "official", train[kept], train[carved], rows["test"])


def seeded_splits(
    groups: Sequence[str], seed: int, folds: int | None = None, strata: Sequence[str] | None = None
) -> tuple[NamedSplit, ...]:
    """One split of about 60, 20 and 20 % of the groups, or with `folds` a cross-validation whose test parts hold every row once."""
    if folds is None:
        return (_seeded(f"seed{seed}", split_by_group(groups, seed, strata=strata)),)
    return tuple(
        _seeded(f"seed{seed}_fold{number}", split)
        for number, split in enumerate(folds_by_group(groups, seed, folds, strata), 1)
    )


def same_parts(splits: Sequence[NamedSplit], groups: Sequence[str], others: Sequence[str]) -> tuple[NamedSplit, ...]:
    """The splits of rows of `groups` for other rows, of groups `others`, each in the part that its group has.

    So the clips of operations lie where their operations do, also where one operation has no clip, which a split of the clips alone
    would not know of.
    """
    found = []
    for split in splits:
        part_of = {groups[row]: part for part, rows in split.parts().items() for row in rows}
        parts = np.array([part_of.get(group, "") for group in others], dtype=np.str_)
        found.append(NamedSplit(split.name, split.origin, *(np.flatnonzero(parts == part) for part in PARTS)))
    return tuple(found)


def never_trained(
    splits: Sequence[NamedSplit], labels: Sequence[Collection[int]], classes: Sequence[str]
) -> tuple[str, ...]:
    """A sentence for each split that tests classes which none of its training rows has; `labels`: of each row, those that it has."""
    said = []
    for split in splits:
        trained, tested = (
            {label for row in rows for label in labels[row] if label >= 0} for rows in (split.train, split.test)
        )
        if lost := sorted(tested - trained):
            names = ", ".join(classes[label] for label in lost)
            said.append(f"split {split.name} tests {counted(len(lost), 'class')} that it never trains: {names}")
    return tuple(said)


def _seeded(name: str, split: Split) -> NamedSplit:
    return NamedSplit(name, "seeded", split.train, split.validation, split.test)
