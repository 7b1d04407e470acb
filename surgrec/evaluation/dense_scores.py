"""Scores over whole operations with their intervals: videos in, statistics out.

In: predictions of videos, one `DenseHeldOut` a seed. Out: statistics for `intervals`, `comparisons` and `ranks`. It is its own file because
it binds names of scores to the variant that stands for them by default: unrelaxed, phases first and then videos, phases that a video does
not have left out (`dense_frames` says why).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.evaluation.dense_frames import Absent, Averaged, FrameCounts, Score, average, count_frames, video_accuracy
from surgrec.evaluation.dense_relaxed import Table, count_relaxed_frames
from surgrec.evaluation.dense_segments import OVERLAPS, edit_score, segment_f1, segment_hits
from surgrec.evaluation.intervals import Interval, Statistic, difference_interval, score_interval

Array = npt.NDArray[np.float64]
Phases = npt.NDArray[np.int64]
Rule = Table | Literal["neighbour"]
F1_AT = {f"F1@{round(100 * overlap)}": place for place, overlap in enumerate(OVERLAPS)}
NAMES = ("accuracy", *get_args(Score), "edit", *F1_AT)


@dataclass(frozen=True)
class DenseHeldOut:
    """Of each of V test videos: phases `truths` and `predictions`, both (T,), and its group (V,); a truth of -1 is not scored.

    `probabilities`: (T, P) of each video, where there are any.
    """

    truths: tuple[Phases, ...]
    predictions: tuple[Phases, ...]
    groups: npt.NDArray[np.str_]
    num_phases: int
    frames_per_second: float
    probabilities: tuple[Array, ...] | None = None

    def frames(self, relaxed: Rule | None = None) -> FrameCounts:
        """Frames of all videos by phase."""
        pairs = list(zip(self.truths, self.predictions, strict=True))
        if relaxed is None:
            return FrameCounts.joined([count_frames(*pair, self.num_phases) for pair in pairs])
        return FrameCounts.joined(
            [count_relaxed_frames(*pair, self.num_phases, self.frames_per_second, relaxed) for pair in pairs]
        )


def dense_statistic(
    results: Sequence[DenseHeldOut],
    name: str,
    averaged: Averaged = "by video",
    absent: Absent = "unannotated",
    relaxed: Rule | None = None,
    background: int | None = None,
) -> Statistic:
    """The score `name` of `NAMES` for results of several seeds on the same videos.

    `averaged`, `absent` and `relaxed` are for scores of frames, `background`, a phase that is none, for those of segments.
    """
    check_same_videos(results)
    if name not in NAMES:
        raise UserError(f"there is no score '{name}' of phases over time; choose of {', '.join(NAMES)}")
    if name == "edit" or name in F1_AT:
        values = [_mean_of(np.array(_of_segments(each, name, background))) for each in results]
    else:
        tables = [each.frames(relaxed) for each in results]
        values = [_of_frames(table, name, averaged, absent) for table in tables]
    return _by_group(values, results[0].groups)


def dense_score(results: Sequence[DenseHeldOut], name: str, level: float = 0.95) -> Interval:
    """The mean over seeds, with an interval for other groups and other seeds, in the default variant."""
    return score_interval(dense_statistic(results, name), level)


def dense_difference(
    first: Sequence[DenseHeldOut], second: Sequence[DenseHeldOut], name: str, level: float = 0.95
) -> Interval:
    """The score of `first` less that of `second`, means over seeds, on the same videos, in the default variant."""
    check_same_videos([*first, *second])
    return difference_interval(dense_statistic(first, name), dense_statistic(second, name), level)


def check_same_videos(results: Sequence[DenseHeldOut]) -> None:
    """Raises ValueError unless all have the same truths and groups, video by video."""
    first = results[0]
    for other in results[1:]:
        is_same = len(first.truths) == len(other.truths) and np.array_equal(first.groups, other.groups)
        if not (is_same and all(map(np.array_equal, first.truths, other.truths))):
            raise ValueError(
                "results of several seeds, or of two encoders, must be of the same videos in the same order"
            )


def _mean_of(of_videos: Array) -> Callable[[Array], Array]:
    return lambda weights: weights @ of_videos / weights.sum(-1)


def _of_segments(result: DenseHeldOut, name: str, background: int | None) -> list[float]:
    pairs = zip(result.truths, result.predictions, strict=True)
    if name == "edit":
        return [edit_score(*pair, result.num_phases, background) for pair in pairs]
    overlap = OVERLAPS[F1_AT[name]]
    return [float(segment_f1(segment_hits(*pair, result.num_phases, (overlap,), background))[0]) for pair in pairs]


def _of_frames(table: FrameCounts, name: str, averaged: Averaged, absent: Absent) -> Callable[[Array], Array]:
    if name == "accuracy":
        return lambda weights: video_accuracy(table, weights)
    return lambda weights: average(table, name, averaged, absent, weights)  # type: ignore[arg-type]


def _by_group(values: Sequence[Callable[[Array], Array]], groups: npt.NDArray[np.str_]) -> Statistic:
    """Functions of weights of videos, one a seed, as a statistic of groups; all videos of a group go together."""
    _, group_of_video, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return Statistic(
        lambda weights: np.stack([value(weights[..., group_of_video]) for value in values], -1),
        sizes.astype(np.float64),
        len(values),
    )
