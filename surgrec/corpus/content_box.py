"""The part of the picture that shows anything: without letterbox bars and without the black around a round or octagonal endoscope view.

In: a few frames from all over a video. Out: a `View`: its box, the largest rectangle inside it, its mask, its circle where it is round.
It is its own file because everything that looks at pictures looks inside it: thumbnails, measures, training copies.

How: a bar is what stays dark in nearly all of the frames that show anything. What is lit and thinner than a line of text is left out,
and so is what lies apart and is small: captions in a bar, logos, panels of patient data. See docs/filters.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.corpus.regions import Mask, Rectangle, areas, bounds, largest_rectangle, opened

_LIT_FRAMES = (
    0.15  # a pixel counts as lit by its brightness in the brightest 15 % of the frames: no flash or title decides
)
_BLACK_FRAME = 24  # of 255: a frame whose bright end (98 %) is darker shows nothing and is left out; where all are, so is the video
# bounds of what is called dark: below, the black of clean files; above, noisy analogue black
_DARKEST, _BRIGHTEST_DARK = 12.0, 28.0
# dark is below this share of the lit level plus this; a dim video has dim edges too
_DARK_SHARE, _DARK_FLOOR = 0.1, 8.0
_THINNEST = 0.07  # of the short side: what is thinner is text or a rule
_SMALLEST_PART = 0.15  # of the largest lit area: a smaller one apart from it is a logo or a panel
_SMALLEST_BOX = 0.06  # of the picture: less is a lamp in a dark picture and no view
_THINNEST_BAR = 0.015  # of the side: a thinner bar is not worth a cut

_CIRCLE_RESIDUAL = 0.015  # of the radius, root mean square; a regular octagon has 0.025
_CIRCLE_POINTS = 0.7  # of the edge's points must lie on the circle (a view may be cut at the top, or have a notch)
_CIRCLE_NEAR = 0.03  # of the radius: a point nearer than this lies on it


@dataclass(frozen=True)
class ContentBox:
    """Edges as shares of the upright picture, 0 to 1: `left` < `right`, `top` < `bottom`."""

    left: float
    top: float
    right: float
    bottom: float

    def pixels(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of the box in a picture of `height` x `width`."""
        rows = slice(round(self.top * height), max(round(self.bottom * height), round(self.top * height) + 1))
        columns = slice(round(self.left * width), max(round(self.right * width), round(self.left * width) + 1))
        return rows, columns

    def even_pixels(self, height: int, width: int) -> Rectangle:
        """The box in a picture of `height` x `width`, edges moved inwards to even numbers, as 4:2:0 video needs; an odd last row or
        column of the picture is left out. At least 2 x 2 pixels."""
        left, top = (2 * -(-round(edge * size) // 2) for edge, size in ((self.left, width), (self.top, height)))
        right, bottom = (2 * (round(edge * size) // 2) for edge, size in ((self.right, width), (self.bottom, height)))
        left, top = min(left, max(0, right - 2)), min(top, max(0, bottom - 2))
        return Rectangle(left, top, max(right, left + 2), max(bottom, top + 2))


WHOLE = ContentBox(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Circle:
    """A round view: centre as shares of the picture's width and height, radius as a share of its height. May reach beyond the picture."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class View:
    """Where a video shows something.

    `box`: all of it (circumscribed); `inscribed`: the largest rectangle without black corners, equal to `box` for rectangular content;
    `mask` (H, W) of the frames looked at; `circle`: where the view is round.
    """

    box: ContentBox
    inscribed: ContentBox
    mask: Mask
    circle: Circle | None = None


def find_view(frames: npt.NDArray[np.uint8]) -> View:
    """Where `frames`, (T, H, W, 3), show something; the whole picture where they are all dark."""
    height, width = frames.shape[1:3]
    level = _level(frames)
    mask = _content(level) if level is not None else None
    if mask is None:
        return View(WHOLE, WHOLE, np.ones((height, width), np.bool_))
    box = _snapped(bounds(mask), height, width)
    return View(as_shares(box, height, width), as_shares(_inscribed(mask, box), height, width), mask, _circle(mask))


def _level(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32] | None:
    """(H, W): how bright each pixel is where it is bright; None where no frame shows anything."""
    brightest_channel = frames.max(axis=-1)
    bright_ends = np.percentile(brightest_channel[:, ::4, ::4], 98, axis=(1, 2))
    shown = brightest_channel[bright_ends >= _BLACK_FRAME]
    if len(shown) == 0:
        return None
    rank = max(1, round(_LIT_FRAMES * len(shown)))
    return np.partition(_smooth(shown), len(shown) - rank, axis=0)[len(shown) - rank]


def _smooth(pictures: npt.NDArray) -> npt.NDArray[np.float32]:
    """Means of 3 x 3 pixels: the noise of analogue black must not pass for light."""
    padded = np.pad(pictures.astype(np.float32), [(0, 0)] * (pictures.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9


def _content(level: npt.NDArray[np.float32]) -> Mask | None:
    """The lit areas that are neither thin nor small, without holes; None where they are too little to be a view."""
    dark = np.clip(_DARK_SHARE * np.percentile(level, 95) + _DARK_FLOOR, _DARKEST, _BRIGHTEST_DARK)
    lit = opened(level > dark, max(2, round(_THINNEST * min(level.shape))))
    if not lit.any():
        return None
    kept = np.zeros_like(lit)
    largest = 0
    for area, _ in areas(lit):
        size = int(area.sum())
        largest = max(largest, size)
        if size < _SMALLEST_PART * largest:
            break
        kept |= area
    filled = _filled(kept)
    return filled if bounds(filled).area >= _SMALLEST_BOX * level.size else None


def _filled(mask: Mask) -> Mask:
    """With all that lies between what is lit, along the row and along the column: dark tissue is no hole in the view."""

    def between(mask: Mask, axis: int) -> Mask:
        begun = np.logical_or.accumulate(mask, axis=axis)
        unfinished = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
        return begun & unfinished

    return between(mask, 0) & between(mask, 1) | mask


def _snapped(box: Rectangle, height: int, width: int) -> Rectangle:
    """Edges within a thin bar of the picture's edge are put on it."""
    x, y = _THINNEST_BAR * width, _THINNEST_BAR * height
    return Rectangle(
        0 if box.left <= x else box.left,
        0 if box.top <= y else box.top,
        width if width - box.right <= x else box.right,
        height if height - box.bottom <= y else box.bottom,
    )


def _inscribed(mask: Mask, box: Rectangle) -> Rectangle:
    """The largest rectangle in the view; the box itself where its corners are lit, up to the opening's rounding."""
    rows, columns = box.slices
    if mask[rows, columns].mean() > 0.985:  # a circle fills 0.785 of its box, an octagon of endoscopy about 0.93
        return box
    return largest_rectangle(mask)


def as_shares(box: Rectangle, height: int, width: int) -> ContentBox:
    """A rectangle of pixels in a picture of `height` x `width`, as shares of it."""
    return ContentBox(box.left / width, box.top / height, box.right / width, box.bottom / height)


def _circle(mask: Mask) -> Circle | None:
    """The circle through the edge of the view (Kasa 1976, least squares on x^2 + y^2 + ax + by + c), fitted twice: the second time to
    the points near the first, so that a notch or a cut top does not bend it. None where the edge is no circle."""
    height, width = mask.shape
    points = _edge_points(mask)
    if len(points) < 0.5 * min(height, width):
        return None  # too little of the edge is in the picture
    x, y = points.T
    near = np.ones(len(points), np.bool_)
    for _ in range(4):
        centre_x, centre_y, radius = _fitted(x[near], y[near])
        distance = np.abs(np.hypot(x - centre_x, y - centre_y) - radius)
        near = distance < max(_CIRCLE_NEAR * radius, np.median(distance))
    near = distance < _CIRCLE_NEAR * radius
    if near.mean() < _CIRCLE_POINTS or not 0.25 * min(height, width) < radius < max(height, width):
        return None
    if np.sqrt(np.mean(distance[near] ** 2)) > _CIRCLE_RESIDUAL * radius:
        return None
    return Circle(float(centre_x / width), float(centre_y / height), float(radius / height))


def _edge_points(mask: Mask) -> npt.NDArray[np.float64]:
    """(n, 2) x, y of the view's outline, from both ends of every row and column; the picture's own edges are no outline."""
    height, width = mask.shape
    points: list[tuple[float, float]] = []
    for row in np.flatnonzero(mask.any(axis=1)):
        lit = np.flatnonzero(mask[row])
        if lit[0] > 1:
            points.append((float(lit[0]), row + 0.5))
        if lit[-1] < width - 2:
            points.append((float(lit[-1] + 1), row + 0.5))
    for column in np.flatnonzero(mask.any(axis=0)):
        lit = np.flatnonzero(mask[:, column])
        if lit[0] > 1:
            points.append((column + 0.5, float(lit[0])))
        if lit[-1] < height - 2:
            points.append((column + 0.5, float(lit[-1] + 1)))
    return np.array(points, np.float64).reshape(-1, 2)


def _fitted(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Centre and radius."""
    system = np.stack([x, y, np.ones_like(x)], axis=1)
    (a, b, c), *_ = np.linalg.lstsq(system, x * x + y * y, rcond=None)
    return a / 2, b / 2, float(np.sqrt(max(c + a * a / 4 + b * b / 4, 0.0)))
