"""Folds of one cross-validation are one column; splits that test the same rows are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surgrec.evaluation.running.splits import cautions_of, facts_of, hash_of, rows_tested, split_sets
from surgrec.evaluation.splits import folds_by_group
from surgrec.evaluation.tasks.task import NO_LABEL, ClipTask, NamedSplit
from tests.evaluation.running import tiny


@pytest.fixture
def task(tmp_path: Path) -> ClipTask:
    return tiny.clip_task([tmp_path / f"{number}.mp4" for number in range(tiny.NUM_VIDEOS)])


def folds(task: ClipTask, name: str) -> tuple[NamedSplit, ...]:
    made = folds_by_group(task.groups, 0, 4)
    return tuple(NamedSplit(name.format(number), "seeded", *vars(fold).values()) for number, fold in enumerate(made, 1))


@pytest.mark.parametrize("name", ["seed0_fold{}", "louo_{}", "user_out{}"])
def test_folds_are_one_set_that_tests_every_row_once(task: ClipTask, name: str) -> None:
    (found,) = split_sets(replace(task, splits=folds(task, name)))
    assert sorted(rows_tested(found)) == list(range(len(task.clips)))
    facts = facts_of(task, found)
    assert facts.num_rows["test"] == len(task.clips) and facts.num_groups["test"] == tiny.NUM_VIDEOS
    assert facts.num_groups["train"] == 6


def test_the_hash_of_folds_changes_with_any_of_them(task: ClipTask) -> None:
    whole = replace(task, splits=folds(task, "fold{}"))
    other = replace(whole, splits=(*whole.splits[:3], replace(whole.splits[3], train=whole.splits[3].train[1:])))
    assert hash_of(whole, split_sets(whole)[0]) != hash_of(other, split_sets(other)[0])


def test_splits_that_test_the_same_rows_stand_by_themselves(task: ClipTask) -> None:
    (only,) = task.splits
    two = replace(task, splits=(replace(only, name="seed0"), replace(only, name="seed1")))
    assert [each.name for each in split_sets(two)] == ["seed0", "seed1"]
    named = replace(task, splits=(replace(only, name="official"),))
    assert [each.name for each in split_sets(named)] == ["official"]
    assert np.array_equal(rows_tested(split_sets(named)[0]), only.test)


def test_few_test_groups_are_told_of_clips_and_operations(task: ClipTask, tmp_path: Path) -> None:
    """Of the test rows alone; of operations by their labels, where one operation alone has a class."""
    (chosen,) = split_sets(task)
    assert cautions_of(task, chosen, 3) == ["4 test groups; intervals were tried with 10 and more"]
    (whole,) = split_sets(replace(task, splits=folds(task, "fold{}")))
    assert cautions_of(replace(task, splits=whole.splits), whole, 3) == []
    dense = tiny.dense_task([recording.video for recording in task.clips[::2]])
    first = dense.recordings[int(rows_tested(split_sets(dense)[0])[0])]
    first.labels[0] = NO_LABEL  # which is no class
    rare = replace(dense, classes=(*dense.classes, "green"))
    first.labels[1] = 2
    said = cautions_of(rare, split_sets(rare)[0], 1)
    assert len(said) == 3 and said[0].startswith("1 seed") and "class green come from fewer than 3 groups" in said[2]
