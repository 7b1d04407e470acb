"""Picture in picture: a second picture set into the first, its four sides straight lines that stay. In: a survey. Out: regions.

At the side of an inset the picture jumps in every frame, whatever both show, so that the mean square of the gradient across it is above
that of its neighbours along its whole length. An inset is a rectangle of such lines, whose inside moves (one whose inside stands still
is an overlay). It is its own file because lines, not areas, are searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.corpus.content_box import as_shares
from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.filters.still_edges import still_edges
from surgrec.corpus.filters.thresholds import PictureInPicture, StillEdges
from surgrec.corpus.regions import Mask, Rectangle, grown
from surgrec.corpus.stills import Stills, mean_strengths
from surgrec.corpus.survey import Survey

_NEAR, _FAR = 3, 6  # pixels: a line is compared with what lies this far to either side of it
_LOOSE = 1  # pixels to either side
_APART = 2  # pixels: nearer lines are one
_MOST_LINES = 40


def pictures_in_picture(
    survey: Survey, config: PictureInPicture, edges: StillEdges, duration_seconds: float
) -> list[Finding]:
    """Findings with their regions; a stretch of the video is the shortest time that is told. The score is the share of the rectangle's
    sides that is a line. `edges`: what counts as an edge that stands still."""
    stills = survey.stills
    height, width = stills.mean.shape[1:]
    return [
        Finding("picture_in_picture", start, end, score, as_shares(box, height, width))
        for stretch, (start, end) in enumerate(stills.spans(duration_seconds))
        for box, score in insets(stills, stretch, config, edges)
    ]


def insets(stills: Stills, stretch: int, config: PictureInPicture, edges: StillEdges) -> list[tuple[Rectangle, float]]:
    """Rectangles of one stretch with their scores, apart from each other, the best first."""
    height, width = stills.view.shape
    whole = Rectangle(0, 0, width, height)
    if (
        stills.num_frames[stretch] < edges.min_frames
        or _still_share(stills, stretch, whole, edges) > edges.max_still_share
    ):
        return []  # everything stands still
    across, down = mean_strengths(stills, stretch)
    # level: transposed, so that both have their lines along axis 0
    upright, level = (_lines(across, config), _lines(down.T, config))
    kept: list[tuple[Rectangle, float]] = []
    for box, score in _rectangles(_Lines.found(upright, config), _Lines.found(level, config), config):
        is_apart = all(box.overlap(other) < 0.5 * min(box.area, other.area) for other, _ in kept)
        if is_apart and _still_share(stills, stretch, box, edges) <= config.max_still_share:
            kept.append((box, score))
    return kept


def _lines(strength: npt.NDArray[np.float32], config: PictureInPicture) -> Mask:
    """Where the gradient along axis 1 is larger than on either side; a line may be two pixels wide, the jump lying between them."""
    padded = np.pad(strength, [(0, 0), (_FAR, _FAR)], mode="edge")
    width = strength.shape[1]

    def at(offset: int) -> npt.NDArray[np.float32]:
        return padded[:, _FAR + offset : _FAR + offset + width]

    before = np.mean([at(-offset) for offset in range(_NEAR, _FAR + 1)], axis=0)
    after = np.mean([at(offset) for offset in range(_NEAR, _FAR + 1)], axis=0)
    return (
        (strength >= config.contrast)
        & (strength >= config.ratio * np.minimum(before, after))
        & (strength >= config.ratio * 0.5 * (before + after))
    )


@dataclass(frozen=True)
class _Lines:
    """Candidates for two opposite sides: their positions, ascending, with the picture's two edges, and for each the number of its pixels
    that are a line before each pixel along it, (lines, length + 1). `size`: where the last edge lies."""

    positions: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    size: int

    @classmethod
    def found(cls, mask: Mask, config: PictureInPicture) -> _Lines:
        """The columns of `mask` that are a line for at least `min_side` of its height; of neighbours the best; the strongest ones."""
        length, size = mask.shape
        wide = grown(mask, 2 * _LOOSE + 1, axes=(1,))  # a side need not be straight to the pixel
        totals = wide.sum(axis=0)
        padded = np.pad(totals, _APART)
        is_best = totals == np.max([padded[shift : shift + size] for shift in range(2 * _APART + 1)], axis=0)
        strong = np.flatnonzero(is_best & (totals >= config.min_side * config.coverage * length))
        strong = np.sort(strong[np.argsort(-totals[strong], kind="stable")][:_MOST_LINES])
        inside = strong[(strong > _APART) & (strong < size - _APART)]
        columns = np.concatenate(
            [np.ones((length, 1), np.int64), wide[:, inside], np.ones((length, 1), np.int64)], axis=1
        )
        counts = np.concatenate([np.zeros((1, columns.shape[1]), np.int64), np.cumsum(columns, axis=0)]).T
        return cls(np.concatenate([[0], inside, [size]]), counts, size)

    def pairs(self, config: PictureInPicture) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Indices of two lines at a distance that an inset may have."""
        first, second = np.triu_indices(len(self.positions), 1)
        share = (self.positions[second] - self.positions[first]) / self.size
        fits = (share >= config.min_side) & (share <= config.max_side)
        return first[fits], second[fits]

    def share(
        self, lines: npt.NDArray[np.int64], first: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """(lines, spans): how much of each line is one from `first` to `stop`."""
        return (self.counts[lines][:, stop] - self.counts[lines][:, first]) / (stop - first)


def _rectangles(upright: _Lines, level: _Lines, config: PictureInPicture) -> Iterator[tuple[Rectangle, float]]:
    """All rectangles of two upright and two level lines that are lines for long enough, the best first."""
    left, right = upright.pairs(config)
    top, bottom = level.pairs(config)
    if not len(left) or not len(top):
        return
    tops, bottoms = level.positions[top], level.positions[bottom]
    lefts, rights = upright.positions[left], upright.positions[right]
    sides = np.stack(
        [
            upright.share(left, tops, bottoms), upright.share(right, tops, bottoms),
            level.share(top, lefts, rights).T, level.share(bottom, lefts, rights).T,
        ]
    )  # fmt: skip
    score = np.where(sides.min(axis=0) >= config.least_side, sides.mean(axis=0), 0.0)
    chosen = np.argwhere(score >= config.coverage)
    areas = (rights - lefts)[chosen[:, 0]] * (bottoms - tops)[chosen[:, 1]]
    for row in np.lexsort((-areas, -np.round(score[tuple(chosen.T)], 2)))[:_MOST_LINES]:
        a, b = chosen[row]
        yield Rectangle(int(lefts[a]), int(tops[b]), int(rights[a]), int(bottoms[b])), float(score[a, b])


def _still_share(stills: Stills, stretch: int, box: Rectangle, config: StillEdges) -> float:
    """How many of the edges inside, away from the sides, never vary."""
    inside = slice(box.top + 3, box.bottom - 3), slice(box.left + 3, box.right - 3)
    across, down, is_edge = (part[inside] for part in still_edges(stills, stretch, config))
    return float((across | down).sum() / max(1, is_edge.sum()))
