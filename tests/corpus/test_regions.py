"""Connected areas, opening, the largest rectangle: each against a plain statement of what it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec.corpus.regions import Rectangle, areas, bounds, grown, labelled, largest_rectangle, opened, resized


def mask_of(seed: int, density: float) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(9, 11)) < density


def flood(mask: np.ndarray, row: int, column: int) -> set[tuple[int, int]]:
    """What touches a pixel, side by side."""
    todo, seen = [(row, column)], set()
    while todo:
        y, x = todo.pop()
        if (y, x) in seen or not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]) or not mask[y, x]:
            continue
        seen.add((y, x))
        todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return seen


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 0.8))
def test_labels_are_those_of_a_flood(seed: int, density: float) -> None:
    mask = mask_of(seed, density)
    labels = labelled(mask)
    assert ((labels > 0) == mask).all()
    for row, column in np.argwhere(mask):
        assert {tuple(place) for place in np.argwhere(labels == labels[row, column])} == flood(mask, row, column)


def test_areas_come_with_their_boxes_the_largest_first() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1, 1:3] = mask[3:6, 4:8] = True
    found = list(areas(mask))
    assert [box for _, box in found] == [Rectangle(4, 3, 8, 6), Rectangle(1, 1, 3, 2)]
    assert (found[0][0] | found[1][0] == mask).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_opening_keeps_what_a_square_covers(seed: int, side: int) -> None:
    mask = mask_of(seed, 0.8)
    kept = opened(mask, side)
    assert not (kept & ~mask).any()
    wide = np.pad(mask, side, constant_values=True)
    expected = np.zeros_like(wide)
    for row in range(wide.shape[0] - side + 1):
        for column in range(wide.shape[1] - side + 1):
            if wide[row : row + side, column : column + side].all():
                expected[row : row + side, column : column + side] = True
    inside = expected[side:-side, side:-side]
    assert (kept[2:-2, 2:-2] == inside[2:-2, 2:-2]).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 0.95))
def test_the_largest_rectangle_is_inside_and_none_is_larger(seed: int, density: float) -> None:
    mask = mask_of(seed, density)
    best = largest_rectangle(mask)
    assert mask[best.slices].all()
    sums = np.pad(np.cumsum(np.cumsum(mask, 0), 1), [(1, 0), (1, 0)])
    rows, columns = mask.shape
    largest = max(
        (b - t) * (r - c)
        for t in range(rows) for b in range(t, rows + 1) for c in range(columns) for r in range(c, columns + 1)
        if sums[b, r] - sums[t, r] - sums[b, c] + sums[t, c] == (b - t) * (r - c)
    )  # fmt: skip
    assert best.area == largest


def test_growing_along_one_axis_and_sizes() -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    assert bounds(grown(mask, 3)) == Rectangle(2, 1, 5, 4)
    assert bounds(grown(mask, 3, axes=(1,))) == Rectangle(2, 2, 5, 3)
    assert resized(mask, 10, 14).sum() == 4 and (resized(resized(mask, 10, 14), 5, 7) == mask).all()
    with pytest.raises(ValueError, match="empty"):
        bounds(~np.ones((3, 3), bool))


def test_overlaps_of_rectangles() -> None:
    box = Rectangle(0, 0, 4, 4)
    assert (
        box.overlap(Rectangle(2, 3, 9, 9)) == 2
        and box.overlap(Rectangle(5, 5, 6, 6)) == 0
        and box.overlap(box) == box.area
    )
