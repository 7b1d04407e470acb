"""A mean over datasets, with its interval.

In: scores with intervals, one of each dataset. Out: their mean with an interval, or none. It is its own file because a mean without an
interval is a claim that nobody can check, and since the intervals of the datasets are all that is needed to give it one.

Scores of datasets that have no patient in common err independently: the distances from the estimates to the ends of the intervals add as
squares, each side for itself (MOVER: Zou & Donner 2008, Statistics in Medicine 27(10), for sums of parameters). Those of tasks that are
tested on the same videos may err together, and their distances are added as they are, which is never too little. The interval is about
these datasets, not about others that might have been chosen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from surgrec.evaluation.results import Score


def mean_score(scores: Sequence[Score], apart: Sequence[Hashable] = ()) -> Score | None:
    """The mean of `scores` of one metric; None where one has no interval, or the levels or metrics differ.

    `apart`: of each, what those alike in have videos in common; all are apart where it is not given.
    """
    lows, highs = [score.low for score in scores], [score.high for score in scores]
    if not scores or len({(score.metric, score.level) for score in scores}) != 1:
        return None
    below = [score.estimate - low for score, low in zip(scores, lows, strict=True) if low is not None]
    above = [high - score.estimate for score, high in zip(scores, highs, strict=True) if high is not None]
    if len(below) != len(scores) or len(above) != len(scores):
        return None
    estimate = math.fsum(score.estimate for score in scores) / len(scores)
    low, high = estimate - _together(below, apart) / len(scores), estimate + _together(above, apart) / len(scores)
    return Score(scores[0].metric, estimate, low, high, scores[0].level, "sums of squared distances (MOVER)")


def _together(distances: Sequence[float], apart: Sequence[Hashable]) -> float:
    sums: dict[Hashable, float] = defaultdict(float)
    for distance, key in zip(distances, apart or range(len(distances)), strict=True):
        sums[key] += distance
    return math.hypot(*sums.values())
