"""What a protocol gives back for one split, and what it tried to get there.

In: a grid of hyper-parameters, how to fit one, how good it is on validation rows. Out: the best, and a `Search` that says what was tried.
It is its own file because of one promise: every encoder gets the same search. The whole grid is fitted, whatever the scores on the way,
so that no encoder is given more tries than another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.evaluation.metrics import Metric, confusion
from surgrec.evaluation.splits import Split

Fitted = TypeVar("Fitted")
Values = Mapping[str, float]


@dataclass(frozen=True)
class Search:
    """The search of one protocol on one split.

    `grid` and `scores` go together: hyper-parameters, and the metric of validation rows that they gave. `chosen` is the best of them, the
    first where several are. `num_fits`: how often something was fitted, the last fit on train and validation rows counted. `untrained`:
    parameters of the encoder that were to be trained and got no gradient, by name. `said`: what else a reader must know.
    """

    protocol: str
    grid: tuple[Values, ...]
    scores: tuple[float, ...]
    chosen: Values
    num_fits: int
    seconds: float
    untrained: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "protocol": self.protocol,
            "grid": [dict(each) for each in self.grid],
            "scores": list(self.scores),
            "chosen": dict(self.chosen),
            "num_fits": self.num_fits,
            "seconds": round(self.seconds, 3),
            "untrained": list(self.untrained),
            "said": list(self.said),
        }


@dataclass(frozen=True)
class Answer:
    """For the m test rows of a split: classes `predictions` (m,) and `probabilities` (m, C), float64, rows of sum 1."""

    predictions: Tensor
    probabilities: Tensor
    search: Search

    @classmethod
    def of_logits(cls, logits: Tensor, search: Search) -> Answer:
        """The likeliest class and the softmax of logits (m, C)."""
        probabilities = logits.double().softmax(1).cpu()
        return cls(probabilities.argmax(1), probabilities, search)


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start


def choose(
    grid: Sequence[Values], fit: Callable[[Values], Fitted], score: Callable[[Fitted], float]
) -> tuple[Fitted, int, tuple[float, ...]]:
    """Fit all of `grid`, in order; the fit of the best score (ties: the first), its place in the grid, and all scores.

    A score that is no number (a fit that diverged) loses against any that is one. Raises `UserError` where all are none.
    """
    if not grid:
        raise ValueError("the grid of hyper-parameters is empty")
    best: Fitted | None = None
    place = -1
    scores: list[float] = []
    for index, values in enumerate(grid):
        fitted = fit(values)
        scores.append(float(score(fitted)))
        if math.isfinite(scores[-1]) and (place < 0 or scores[-1] > scores[place]):
            best, place = fitted, index
    if best is None:
        raise UserError(
            f"no fit of the grid ({len(grid)}) gave a number on validation rows; check the features, or lower the learning rates"
        )
    return best, place, tuple(scores)


def score_of(logits: Tensor, labels: Tensor, metric: Metric) -> float:
    """The metric of logits, or votes, (n, C) for labels (n,); no number where they hold one that is not finite."""
    if not torch.isfinite(logits).all():
        return math.nan
    return float(metric(confusion(labels.cpu().numpy(), logits.argmax(1).cpu().numpy(), logits.shape[1])))


def rows_of(split: Split) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row numbers of train, validation, both, and test."""
    train, validation, test = (torch.from_numpy(rows) for rows in (split.train, split.validation, split.test))
    return train, validation, torch.from_numpy(np.concatenate([split.train, split.validation])), test


def pooled_features(features: Tensor) -> Tensor:
    """Features (n, D): tokens (n, N, D), which may be kept in half precision, are averaged."""
    return features.mean(1, dtype=torch.float32) if features.ndim == 3 else features
