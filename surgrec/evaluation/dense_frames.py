"""Scores of phases over whole operations, frame by frame, in the variants that the literature mixes.

In: true and predicted phases of videos, one frame after the other. Out: tables (V, P) of a video's phases, and their averages for any
weights of videos. It is its own file because "Jaccard 0.75" means five different things (Funke, Rivoir & Speidel 2023, arXiv 2305.13961);
here each has a name:

* `absent`: "unannotated" (the default) leaves out, in each video, the phases that its annotation does not have, so that all encoders are
  averaged over the same entries, as the M2CAI challenge's script does; "undefined" leaves out only what is 0 / 0, so that a phase that is
  predicted and not there counts as 0. Precision of a phase that is there and never predicted is 0 / 0 and left out by both: read it with
  recall.
* `averaged`: "by video" (the default, since videos are what is sampled and what intervals leave out) takes phases of a video first, then
  videos; "by phase" videos of a phase first, then phases; "together" all entries at once; "frames" joins all videos to one.
* `relaxed`: see `dense_relaxed`; the default is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Score = Literal["precision", "recall", "Jaccard", "F1"]
Absent = Literal["unannotated", "undefined"]
Averaged = Literal["by video", "by phase", "together", "frames"]
UNLABELLED = -1  # a true phase that nobody wrote down: such frames count nowhere


@dataclass(frozen=True)
class FrameCounts:
    """Frames of V videos by phase, each (V, P): `true`, `predicted`, `either`, and those called right when the score of that name is taken.

    Without relaxation the three are the same. `num_right`, `num_frames` (V,): for accuracy.
    """

    true: Array
    predicted: Array
    either: Array
    right_precision: Array
    right_recall: Array
    right_jaccard: Array
    num_right: Array
    num_frames: Array

    @classmethod
    def joined(cls, parts: list[FrameCounts]) -> FrameCounts:
        """The videos of all parts, one after the other."""
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def summed(self, weights: Array) -> FrameCounts:
        """All videos as one, each as often as `weights` (..., V) say: fields (..., P), or (...) where they were (V,)."""
        return FrameCounts(**{name: weights @ getattr(self, name) for name in self.__dataclass_fields__})


def count_frames(truth: npt.ArrayLike, predicted: npt.ArrayLike, num_phases: int) -> FrameCounts:
    """Of one video (V = 1), from phases (T,) 0..P-1; frames whose truth is `UNLABELLED` are left out."""
    true, answer = labelled(truth, predicted, num_phases)
    is_true, is_predicted = (one_hot(each, num_phases) for each in (true, answer))
    right = (is_true & is_predicted).sum(0)
    return frame_counts(is_true, is_predicted, (right, right, right), int((true == answer).sum()))


def frame_counts(
    is_true: npt.NDArray[np.bool_],
    is_predicted: npt.NDArray[np.bool_],
    right: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    num_right: int,
) -> FrameCounts:
    """Of one video, from masks (T, P) and the frames called right for precision, recall and Jaccard (P,)."""
    fields = [is_true.sum(0), is_predicted.sum(0), (is_true | is_predicted).sum(0), *right]
    true, predicted, either, *rights = (np.asarray(each, dtype=np.float64)[None] for each in fields)
    of_video = np.array([float(num_right)]), np.array([float(len(is_true))])
    return FrameCounts(true, predicted, either, rights[0], rights[1], rights[2], of_video[0], of_video[1])


def video_accuracy(counts: FrameCounts, weights: Array | None = None) -> Array:
    """The mean over videos of the share of frames that are right; weights (..., V) to (...)."""
    return _weighted_mean(counts.num_right / counts.num_frames, _ones(counts, weights))


def phase_scores(counts: FrameCounts, score: Score, absent: Absent = "unannotated") -> Array:
    """Of each video and phase (..., P); NaN is left out of averages. Relaxed scores are at most 1."""
    match score:
        case "precision":
            values = _share(counts.right_precision, counts.predicted)
        case "recall":
            values = _share(counts.right_recall, counts.true)
        case "Jaccard":
            values = _share(counts.right_jaccard, counts.either)
        case "F1":  # 0 where the phase is only there or only predicted
            values = np.where(counts.either > 0, _harmonic(counts), np.nan)
        case _:
            assert_never(score)
    return np.where(counts.true > 0, values, np.nan) if absent == "unannotated" else values


def average(
    counts: FrameCounts,
    score: Score,
    averaged: Averaged = "by video",
    absent: Absent = "unannotated",
    weights: Array | None = None,
) -> Array:
    """One number for each set of weights (..., V), all 1 where not given. Names are explained at the top of this file."""
    of_videos = _ones(counts, weights)
    if averaged == "frames":
        return _mean_defined(phase_scores(counts.summed(of_videos), score, absent))
    values = phase_scores(counts, score, absent)
    is_defined = ~np.isnan(values)
    filled = np.where(is_defined, values, 0.0)
    match averaged:
        case "by video":
            has_any = is_defined.any(1)
            of_video = np.where(has_any, filled.sum(1) / np.maximum(is_defined.sum(1), 1), 0.0)
            return _quotient(of_videos @ of_video, of_videos @ has_any.astype(np.float64))
        case "by phase":
            return _mean_defined(_quotient(of_videos @ filled, of_videos @ is_defined.astype(np.float64)))
        case "together":
            return _quotient(of_videos @ filled.sum(1), of_videos @ is_defined.sum(1).astype(np.float64))
        case _:
            assert_never(averaged)


def f1_of_averages(counts: FrameCounts, absent: Absent = "unannotated", weights: Array | None = None) -> Array:
    """The harmonic mean of average precision and average recall ("together"), which some papers print as F1.

    Where all are defined it is never below the mean of F1, and mostly above it, so it must not stand in one column with it.
    """
    precision, recall = (average(counts, each, "together", absent, weights) for each in ("precision", "recall"))  # type: ignore[arg-type]
    return _quotient(2 * precision * recall, precision + recall)


def labelled(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, num_phases: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Both (T,) without frames whose truth is `UNLABELLED`. Raises ValueError for other lengths and phases outside 0..P-1."""
    true, answer = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    if true.shape != answer.shape or true.ndim != 1:
        raise ValueError(f"truth {true.shape} and predictions {answer.shape} must be two vectors of one length")
    is_labelled = true != UNLABELLED
    true, answer = true[is_labelled], answer[is_labelled]
    if not len(true):
        raise ValueError("a video without a labelled frame cannot be scored")
    for name, values in (("true", true), ("predicted", answer)):
        if values.min() < 0 or values.max() >= num_phases:
            raise ValueError(f"{name} phases range from {values.min()} to {values.max()}, outside the {num_phases}")
    return true, answer


def one_hot(phases: npt.NDArray[np.int64], num_phases: int) -> npt.NDArray[np.bool_]:
    """Phases (T,) to masks (T, P)."""
    return phases[:, None] == np.arange(num_phases)


def _harmonic(counts: FrameCounts) -> Array:
    """Of precision and recall of the same video and phase, 0 where one of them is undefined."""
    precision = np.nan_to_num(_share(counts.right_precision, counts.predicted))
    recall = np.nan_to_num(_share(counts.right_recall, counts.true))
    return np.divide(
        2 * precision * recall, precision + recall, out=np.zeros_like(recall), where=precision + recall > 0
    )


def _share(right: Array, of: Array) -> Array:
    return np.minimum(_quotient(right, of), 1.0)


def _ones(counts: FrameCounts, weights: Array | None) -> Array:
    return np.ones(len(counts.num_frames)) if weights is None else np.asarray(weights, dtype=np.float64)


def _weighted_mean(values: Array, weights: Array) -> Array:
    return _quotient(weights @ values, weights.sum(-1))


def _mean_defined(values: Array) -> Array:
    is_defined = ~np.isnan(values)
    return _quotient(np.where(is_defined, values, 0.0).sum(-1), is_defined.sum(-1).astype(np.float64))


def _quotient(above: npt.ArrayLike, below: npt.ArrayLike) -> Array:
    """Quotients, NaN where nothing is divided by nothing."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)
