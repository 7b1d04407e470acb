"""Few-shot draws: cases, not clips; the same for everybody; every class where that can be."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.evaluation.protocols.few_shot import FewShot, few_shot
from surgrec.evaluation.splits import Split

NUM_CASES, PER_CASE, NUM_CLASSES = 100, 4, 4
GROUPS = np.repeat([f"case{number:03d}" for number in range(NUM_CASES)], PER_CASE)
ROWS = np.arange(len(GROUPS))
SPLIT = Split(ROWS[:240], ROWS[240:320], ROWS[320:])
LABELS = np.random.default_rng(0).choice(3, len(GROUPS))
LABELS[17] = 3  # one train case has the rare class, and no validation case


def cases(rows: np.ndarray) -> set[str]:
    return set(GROUPS[rows])


def drawn(share: float, draw: int = 0, seed: int = 0) -> FewShot:
    return few_shot(SPLIT, GROUPS, LABELS, NUM_CLASSES, share, draw, seed)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.5, 1.0])
def test_whole_cases_of_their_own_part_and_the_same_test_rows(share: float) -> None:
    got = drawn(share)
    for name in ("train", "validation"):
        rows, whole = getattr(got.split, name), getattr(SPLIT, name)
        assert cases(rows) <= cases(whole) and len(rows) == PER_CASE * len(cases(rows)) and (np.diff(rows) > 0).all()
    assert np.array_equal(got.split.test, SPLIT.test)
    assert got.num_cases == (len(cases(got.split.train)), len(cases(got.split.validation)))
    assert got.num_asked == (max(1, round(share * 60)), max(1, round(share * 20)))
    assert all(num >= asked for num, asked in zip(got.num_cases, got.num_asked, strict=True))
    if share >= 0.1:
        assert got.num_cases[0] == got.num_asked[0]


@pytest.mark.parametrize("draw", range(5))
def test_every_class_that_there_is_has_a_case(draw: int) -> None:
    got = drawn(0.01, draw)
    assert set(LABELS[got.split.train]) == {0, 1, 2, 3} and set(LABELS[got.split.validation]) == {0, 1, 2}
    assert GROUPS[17] in cases(got.split.train) and got.absent == ()
    assert few_shot(SPLIT, GROUPS, np.where(LABELS == 3, 0, LABELS), NUM_CLASSES, 0.01, draw).absent == (3,)


def test_a_larger_share_of_a_draw_holds_the_smaller_one() -> None:
    small, middle, large = (drawn(share).split for share in (0.01, 0.05, 0.1))
    for name in ("train", "validation"):
        assert set(getattr(small, name)) <= set(getattr(middle, name)) <= set(getattr(large, name))


def test_draws_and_seeds_differ_and_repeat() -> None:
    assert np.array_equal(drawn(0.1, 2).split.train, drawn(0.1, 2).split.train)
    different = {tuple(drawn(0.1, draw, seed).split.train) for draw in range(4) for seed in range(2)}
    assert len(different) == 8


def test_all_cases_are_about_as_likely() -> None:
    """Of 200 draws of 6 cases of 60, a case that covers no rare class is in about 20 (deviation 4.3)."""
    counts = dict.fromkeys(cases(SPLIT.train), 0)
    labels = np.zeros(len(GROUPS), dtype=np.int64)
    for draw in range(200):
        for name in cases(few_shot(SPLIT, GROUPS, labels, 1, 0.1, draw).split.train):
            counts[name] += 1
    assert sum(counts.values()) == 200 * 6 and min(counts.values()) >= 3 and max(counts.values()) <= 42


def test_operations_have_many_classes_and_frames_without() -> None:
    """Ten recordings, a case each; only one holds class 5."""
    classes = [{-1, 0, 1, 2}] * 9 + [{0, 5, -1}]
    names = [f"video{number}" for number in range(10)]
    split = Split(np.array([0, 1, 2, 3, 9]), np.array([4, 5]), np.array([6, 7, 8]))
    got = few_shot(split, names, classes, 6, 0.01)
    assert got.num_asked == (1, 1) and got.num_cases == (2, 1) and 9 in got.split.train
    assert got.absent == (3, 4)


def test_the_order_and_the_number_of_rows_of_other_cases_change_nothing() -> None:
    reverse = np.argsort(-ROWS)
    split = Split(*(np.sort(len(ROWS) - 1 - getattr(SPLIT, name)) for name in ("train", "validation", "test")))
    got = few_shot(split, GROUPS[reverse], LABELS[reverse], NUM_CLASSES, 0.1)
    assert set(GROUPS[reverse][got.split.train]) == cases(drawn(0.1).split.train)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_shares_that_make_no_sense(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        drawn(share)
