"""Connected areas of a picture of yes and no, in NumPy alone.

In: a mask. Out: labels, areas, boxes, a mask without what is thin. It is its own file because the content box and the search for
overlays both ask which pixels belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class Rectangle(NamedTuple):
    """Pixels `top` <= y < `bottom`, `left` <= x < `right`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def overlap(self, other: Rectangle) -> int:
        """Pixels that lie in both."""
        both = Rectangle(
            max(self.left, other.left), max(self.top, other.top),
            min(self.right, other.right), min(self.bottom, other.bottom),
        )  # fmt: skip
        return 0 if both.right <= both.left else both.area


def labelled(mask: Mask) -> npt.NDArray[np.int64]:
    """(H, W): 0 outside, else one positive number for each area whose pixels touch at a side.

    Every pixel takes the largest number of its run along the row, then along the column, until nothing changes: as many rounds as an
    area has bends.
    """
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = _largest_of_run(_largest_of_run(labels, mask).T, mask.T).T
        if np.array_equal(spread, labels):
            return labels
        labels = spread


def _largest_of_run(labels: npt.NDArray[np.int64], mask: Mask) -> npt.NDArray[np.int64]:
    """Of each horizontal run of equal `mask`, its largest label."""
    begins = np.ones(mask.shape, np.bool_)
    begins[:, 1:] = mask[:, 1:] != mask[:, :-1]
    starts = np.flatnonzero(begins)
    largest = np.maximum.reduceat(labels.ravel(), starts)
    return np.repeat(largest, np.diff(starts, append=labels.size)).reshape(labels.shape)


def areas(mask: Mask) -> Iterator[tuple[Mask, Rectangle]]:
    """Each connected area as a mask of the whole picture, with its box; the largest first."""
    labels = labelled(mask)
    names, counts = np.unique(labels[mask], return_counts=True)
    for name in names[np.argsort(-counts, kind="stable")]:
        area = labels == name
        yield area, bounds(area)


def bounds(mask: Mask) -> Rectangle:
    """The box of what is True. Raises `ValueError` where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        raise ValueError("the mask is empty")
    return Rectangle(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def opened(mask: Mask, side: int) -> Mask:
    """What a square of `side` pixels can cover while it stays inside `mask`, which goes on beyond the picture's edges."""
    return grown(~grown(~mask, side), side, is_mirrored=True)


def grown(mask: Mask, side: int, is_mirrored: bool = False, axes: tuple[int, ...] = (0, 1)) -> Mask:
    """True wherever a square of `side` pixels around a pixel holds one that is True. For an even side the square reaches one further
    up and left, or, mirrored, down and right, so that growing the inverse and growing again come back to the same place. `axes`: of only
    one, a line instead of a square."""
    before, after = side // 2, side - 1 - side // 2
    if is_mirrored:
        before, after = after, before
    for axis in axes:
        length = mask.shape[axis]
        sums = np.cumsum(np.moveaxis(mask, axis, 0), axis=0, dtype=np.int32)
        sums = np.concatenate([np.zeros_like(sums[:1]), sums])
        low = np.clip(np.arange(length) - before, 0, length)
        high = np.clip(np.arange(length) + after + 1, 0, length)
        mask = np.moveaxis(sums[high] > sums[low], 0, axis)
    return mask


def largest_rectangle(mask: Mask) -> Rectangle:
    """The largest upright rectangle inside `mask`, by the stack over the heights of columns, row after row; all 0 where it is empty."""
    best = Rectangle(0, 0, 0, 0)
    heights = np.zeros(mask.shape[1], np.int64)
    for row in range(mask.shape[0]):
        heights = np.where(mask[row], heights + 1, 0)
        stack: list[tuple[int, int]] = []  # left edge and height, ascending
        for column, height in enumerate([*heights.tolist(), 0]):
            left = column
            while stack and stack[-1][1] >= height:
                left, tall = stack.pop()
                if tall * (column - left) > best.area:
                    best = Rectangle(left, row + 1 - tall, column, row + 1)
            stack.append((left, height))
    return best


def resized(mask: Mask, height: int, width: int) -> Mask:
    """The nearest pixel of `mask` for each of another size."""
    rows = np.arange(height) * mask.shape[0] // height
    columns = np.arange(width) * mask.shape[1] // width
    return mask[np.ix_(rows, columns)]
