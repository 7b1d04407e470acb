"""Tasks: a split that leaks cannot be built, and its hash changes with what it holds and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.partition import never_trained, official_split, same_parts, seeded_splits
from surgrec.evaluation.tasks.task import Clip, ClipTask, DenseTask, NamedSplit, Recording, SplitError, video_id


def clip(number: int, label: int = 0, group: str | None = None) -> Clip:
    return Clip(Path(f"v{number}.mp4"), video_id("set", f"v{number}"), 0.0, 2.0, label, group or f"case{number}")


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


CLIPS = tuple(clip(number, number % 2) for number in range(6))
SPLIT = NamedSplit("given", "official", rows(0, 1), rows(2, 3), rows(4, 5))


def task(clips: tuple[Clip, ...] = CLIPS, split: NamedSplit = SPLIT) -> ClipTask:
    return ClipTask("set_clips", "Set: clips", "other", ("a", "b"), clips, (split,))


@pytest.mark.parametrize(("one", "other"), [(0, 2), (0, 4), (2, 4)])
def test_a_group_on_two_sides_is_refused(one: int, other: int) -> None:
    """Also between validation and test: a model that is chosen on the test patients is no result."""
    clips = list(CLIPS)
    clips[other] = replace(clips[other], group=clips[one].group)
    with pytest.raises(SplitError, match=r"1 group .*scores would measure memory"):
        task(tuple(clips))
    assert task(tuple(clips), replace(SPLIT, origin="replayed")).splits[0].origin == "replayed"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test": rows()}, "nothing in its test part"),
        ({"validation": rows(2, 4)}, "1 row in both validation and test"),
        ({"train": rows(0, 0)}, "one twice"),
        ({"test": rows(4, 6)}, "do not exist"),
    ],
)
def test_a_split_of_wrong_rows_is_refused(change: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(SplitError, match=said):
        task(split=replace(SPLIT, **change))


def test_labels_outside_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        task((*CLIPS[:5], replace(CLIPS[5], label=2)))


def test_the_hash_is_of_clips_labels_and_parts_alone() -> None:
    given = task()
    expected = given.split_hash(SPLIT)
    order = [5, 3, 1, 0, 2, 4]
    place = {row: at for at, row in enumerate(order)}
    moved = NamedSplit("other", "seeded", *(np.array([place[row] for row in part]) for part in SPLIT.parts().values()))
    elsewhere = tuple(replace(CLIPS[row], video=Path("elsewhere") / CLIPS[row].video) for row in order)
    assert task(elsewhere, moved).split_hash(moved) == expected
    swapped = replace(given, classes=("b", "a"), clips=tuple(replace(each, label=1 - each.label) for each in CLIPS))
    assert swapped.split_hash(SPLIT) == expected, "the order of classes is no part of the split"
    relabelled = task((replace(CLIPS[0], label=1), *CLIPS[1:]))
    shorter = task((replace(CLIPS[0], end_seconds=1.0), *CLIPS[1:]))
    other_part = task(split=replace(SPLIT, train=rows(0), validation=rows(1, 2, 3)))
    hashes = {
        expected,
        relabelled.split_hash(SPLIT),
        shorter.split_hash(SPLIT),
        other_part.split_hash(other_part.splits[0]),
    }
    assert len(hashes) == 4


def test_the_hash_of_a_dense_task_sees_every_moment() -> None:
    def dense(changed: int | None = None) -> DenseTask:
        made = []
        for number in range(3):
            labels = np.array([0, 1, 1, -1])
            if changed == number:
                labels[3] = 0
            made.append(Recording(Path("v"), f"v{number}", f"v{number}", np.arange(4.0), labels))
        split = NamedSplit("given", "official", rows(0), rows(1), rows(2))
        return DenseTask("set_phase", "Set", "other", "phase", ("a", "b"), tuple(made), (split,))

    reordered = dense()
    flipped = tuple(replace(each, labels=np.array([1, 0, 0, -1])) for each in reordered.recordings)
    reordered = replace(reordered, classes=("b", "a"), recordings=flipped)
    assert reordered.split_hash(dense().splits[0]) == dense().split_hash(dense().splits[0])
    assert len({dense(changed).split_hash(dense().splits[0]) for changed in (None, 0, 1, 2)}) == 4


def test_an_official_split_without_validation_gets_one_of_its_training_groups() -> None:
    groups = [f"g{number // 2}" for number in range(40)]
    part_of = {f"g{number}": "train" if number < 10 else "test" for number in range(20)}
    split = official_split("half", groups, part_of, seed=0)
    assert split.name == "half_carved0" and split.origin == "official"
    assert {part: len(found) for part, found in split.parts().items()} == {"train": 16, "validation": 4, "test": 20}
    held = {groups[row] for row in split.validation}
    assert held < {f"g{number}" for number in range(10)} and not held & {groups[row] for row in split.train}
    assert np.array_equal(split.validation, official_split("half", groups, part_of, seed=0).validation)
    published = official_split("half", groups, {**part_of, "g0": "validation"}, seed=0)
    assert published.name == "half" and {groups[row] for row in published.validation} == {"g0"}
    with pytest.raises(UserError, match="training part"):
        official_split("half", groups, {"g1": "test"}, seed=0)


def test_other_rows_are_in_the_part_of_their_group() -> None:
    (given,) = (NamedSplit("given", "official", rows(0, 3), rows(1), rows(2)),)
    (found,) = same_parts((given,), ["a", "b", "c", "d"], ["c", "b", "b", "a", "elsewhere"])
    assert {part: each.tolist() for part, each in found.parts().items()} == {
        "train": [3],
        "validation": [1, 2],
        "test": [0],
    }
    assert (found.name, found.origin) == ("given", "official")


def test_a_class_that_is_tested_and_never_trained_is_said() -> None:
    split = NamedSplit("given", "seeded", rows(0, 1), rows(2), rows(3, 4))
    labels = [{0}, {0, -1}, {1, 2}, {0, 1}, {2, -1}]
    said = never_trained((split, replace(split, name="other", train=rows(2))), labels, ("cut", "sew", "tie"))
    assert said == (
        "split given tests 2 classes that it never trains: sew, tie",
        "split other tests 1 class that it never trains: cut",
    )


def test_seeded_folds_test_every_row_once() -> None:
    groups = [f"g{number // 3}" for number in range(45)]
    splits = seeded_splits(groups, seed=1, folds=5)
    assert [split.name for split in splits] == [f"seed1_fold{number}" for number in range(1, 6)]
    assert np.array_equal(np.sort(np.concatenate([split.test for split in splits])), np.arange(45))
