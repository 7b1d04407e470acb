"""Scores of segments over time: is the order of phases right, are there as many as there should be?

In: true and predicted phases of a video, one frame after the other. Out: the edit score, and hits, false and missed segments for F1 at an
overlap. It is its own file because frames say nothing of flicker: a prediction may be right on 95 % of frames and change phase a hundred
times where the surgeon did it seven times (Lea et al. 2017, arXiv 1611.05267; Farha & Gall 2019, arXiv 1903.01945).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from surgrec.evaluation.dense_frames import labelled

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
OVERLAPS = (0.10, 0.25, 0.50)


def segments_of(phases: npt.ArrayLike) -> tuple[Integers, Integers, Integers]:
    """Phase, first frame, and the frame after the last, of every stretch of one phase in (T,)."""
    values = np.asarray(phases, dtype=np.int64)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(values) != 0]))
    return values[starts], starts, np.append(starts[1:], len(values))


def edit_score(truth: npt.ArrayLike, predicted: npt.ArrayLike, num_phases: int, background: int | None = None) -> float:
    """1 less the Levenshtein distance of the two sequences of segments over the length of the longer one: 0 to 1.

    Segments of `background` are left out. Frames without a true phase are left out before: a phase that goes on behind a gap is one.
    """
    true, answer = (_without(segments_of(each)[0], background) for each in labelled(truth, predicted, num_phases))
    longest = max(len(true), len(answer))
    return 1.0 - _levenshtein(true.tolist(), answer.tolist()) / longest if longest else 1.0


def segment_hits(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    num_phases: int,
    overlaps: Sequence[float] = OVERLAPS,
    background: int | None = None,
) -> Array:
    """Hits, false segments and missed ones, (K, 3), at each of K overlaps.

    Going through time, a predicted segment is a hit where, of the true segments of its phase, the one that it overlaps most (intersection
    over union) does so at least by the overlap and has not been hit before (Lea et al. 2017).
    """
    true, answer = (
        [row for row in zip(*map(np.ndarray.tolist, segments_of(each)), strict=True) if row[0] != background]
        for each in labelled(truth, predicted, num_phases)
    )
    counts = np.zeros((len(overlaps), 3))
    for row, overlap in enumerate(overlaps):
        hit: set[int] = set()
        for segment in answer:
            shared = [_shared(segment, other) for other in true]
            best = int(np.argmax(shared)) if shared else -1
            if best >= 0 and shared[best] >= overlap and best not in hit:
                hit.add(best)
        counts[row] = len(hit), len(answer) - len(hit), len(true) - len(hit)
    return counts


def segment_f1(hits: npt.ArrayLike) -> Array:
    """F1 = 2 hits / (2 hits + false + missed) of counts (..., 3).

    Of each video's counts, to be averaged over videos, which is our default; or of the sum over all videos, which is what MS-TCN's tables
    show ("pooled"): there a video of many segments counts more.
    """
    found, false, missed = np.moveaxis(np.asarray(hits, dtype=np.float64), -1, 0)
    below = 2 * found + false + missed
    return np.divide(2 * found, below, out=np.ones_like(below), where=below > 0)


def _shared(one: Sequence[int], other: Sequence[int]) -> float:
    """Intersection over union of two segments (phase, start, stop); 0 for other phases."""
    inside = min(one[2], other[2]) - max(one[1], other[1])
    if one[0] != other[0] or inside <= 0:
        return 0.0
    return inside / (max(one[2], other[2]) - min(one[1], other[1]))


def _levenshtein(one: list[int], other: list[int]) -> int:
    """The fewest insertions, deletions and replacements from one to the other."""
    row = list(range(len(other) + 1))
    for place, left in enumerate(one, 1):
        above, row = row, [place]
        for column, right in enumerate(other, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (left != right)))
    return row[-1]


def _without(phases: Integers, background: int | None) -> Integers:
    return phases if background is None else phases[phases != background]
