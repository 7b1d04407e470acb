"""The linear probe as a protocol: the same regularisations tried for every encoder.

In: frozen features, labels, a split. Out: an `Answer`. It is its own file because `surgrec.evaluation.probes.fit_linear_probe` stops
trying where it gets no better, which is quick, and gives one encoder more tries than another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.evaluation.metrics import Metric, balanced_accuracy
from surgrec.evaluation.probes import L2_GRID, LinearProbe, fit_linear
from surgrec.evaluation.protocols.answer import (
    Answer,
    Search,
    Stopwatch,
    Values,
    choose,
    pooled_features,
    rows_of,
    score_of,
)
from surgrec.evaluation.splits import Split


@dataclass(frozen=True)
class Linear:
    """Multinomial logistic regression on standardised features; l2 is chosen on validation rows, then train and validation are fitted."""

    l2_grid: tuple[float, ...] = L2_GRID
    max_iterations: int = 300
    metric: Metric = balanced_accuracy
    name: str = "linear probe"

    def __call__(self, features: Tensor, labels: Tensor, split: Split, num_classes: int, seed: int) -> Answer:
        """Features (n, D) or tokens (n, N, D), labels (n,). Convex, so the seed changes nothing."""
        watch, features = Stopwatch(), pooled_features(features)
        train, validation, seen, test = rows_of(split)

        def score(probe: LinearProbe) -> float:
            return score_of(probe.logits(features[validation]), labels[validation], self.metric)

        probe, search = search_l2(
            (features[train], labels[train]), (features[seen], labels[seen]), score, num_classes, self, watch
        )
        return Answer.of_logits(probe.logits(features[test]), search)


def search_l2(
    train: tuple[Tensor, Tensor],
    both: tuple[Tensor, Tensor],
    score: Callable[[LinearProbe], float],
    num_classes: int,
    protocol: Linear,
    watch: Stopwatch,
) -> tuple[LinearProbe, Search]:
    """Fit `train` with every l2, strongest first, each from the fit before; then `both` with the best.

    Raises `UserError` where train rows have one class.
    """
    if len(torch.unique(train[1])) < 2:
        raise UserError(
            f"the {protocol.name} needs training rows of at least two classes; check the labels or the split"
        )
    grid = tuple({"l2": l2} for l2 in sorted(protocol.l2_grid, reverse=True))
    before: LinearProbe | None = None

    def fit(values: Values) -> LinearProbe:
        nonlocal before
        before = fit_linear(*train, num_classes, values["l2"], start=before, max_iterations=protocol.max_iterations)
        return before

    best, place, scores = choose(grid, fit, score)
    probe = fit_linear(*both, num_classes, best.l2, start=best, max_iterations=protocol.max_iterations)
    return probe, Search(protocol.name, grid, scores, grid[place], len(grid) + 1, watch.seconds)
