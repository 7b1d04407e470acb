"""Simple classifiers on frozen features: what an encoder knows, not what a head can learn.

In: features (n, D), labels (n,), a split by group. Out: predicted classes, or a fitted probe. It is its own file because every encoder,
ours or foreign, must be measured by the same probe; nothing here touches a test row before the probe is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from surgrec.core.errors import UserError
from surgrec.evaluation.metrics import Metric, balanced_accuracy, confusion
from surgrec.evaluation.splits import Split

L2_GRID = tuple(10.0**exponent for exponent in range(1, -7, -1))  # strongest first: each fit starts from the one before
PATIENCE = 2  # values of the grid in a row that are no better, after which weaker ones are not tried


@dataclass(frozen=True)
class Standardiser:
    """Features to mean 0 and deviation 1, by the statistics of the rows that it was fitted on; constant features become 0."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, features: Tensor) -> Standardiser:
        """Statistics of features (n, D)."""
        values = features.double()
        deviation = values.std(0, correction=0)
        is_constant = deviation <= 1e-12 * values.abs().amax(0).clamp(min=1e-300)
        return cls(values.mean(0), torch.where(is_constant, torch.inf, deviation))

    def __call__(self, features: Tensor) -> Tensor:
        """Standardised features (n, D), float64."""
        return (features.double() - self.mean) / self.scale


def knn_votes(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Votes (m, C) for features (m, D) of the k most similar train rows, each exp((cosine - 1) / temperature), so above 0.

    Wu et al. 2018, arXiv 1805.01978, section 3.4. Fewer than k train rows: all of them vote.
    """
    train, test = functional.normalize(train_features.double(), dim=1), functional.normalize(features.double(), dim=1)
    counted = []
    for rows in torch.split(test, 1024):  # bounds the similarity matrix to 1024 x n
        similarity, neighbours = (rows @ train.T).topk(min(k, len(train)), dim=1)
        votes = rows.new_zeros(len(rows), num_classes)
        votes.scatter_add_(1, train_labels.long()[neighbours], ((similarity - 1) / temperature).exp())
        counted.append(votes)
    return torch.cat(counted)


def knn_predict(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Classes (m,) that get the most votes, see `knn_votes`."""
    return knn_votes(train_features, train_labels, features, num_classes, k, temperature).argmax(1)


@dataclass(frozen=True)
class LinearProbe:
    """Multinomial logistic regression on standardised features; `weight` (C, D), `bias` (C,), float64."""

    standardiser: Standardiser
    weight: Tensor
    bias: Tensor
    l2: float

    def logits(self, features: Tensor) -> Tensor:
        """Features (n, D) to logits (n, C)."""
        return self.standardiser(features) @ self.weight.T + self.bias

    def predict(self, features: Tensor) -> Tensor:
        """Features (n, D) to classes (n,)."""
        return self.logits(features).argmax(1)


def fit_linear(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    l2: float,
    start: LinearProbe | None = None,
    max_iterations: int = 300,
) -> LinearProbe:
    """Minimise mean cross-entropy + l2 / 2 * |weight|^2 over features (n, D) by L-BFGS; the bias is free.

    Convex, so the answer does not depend on `start`, which only saves time. scikit-learn's C is 1 / (n * l2).
    """
    standardiser = Standardiser.fit(features)
    inputs, targets = standardiser(features), labels.long()
    weight, bias = inputs.new_zeros(num_classes, inputs.shape[1]), inputs.new_zeros(num_classes)
    if start is not None:
        weight.copy_(start.weight)
        bias.copy_(start.bias)
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=max_iterations,
        history_size=20,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(inputs @ weight.T + bias, targets) + 0.5 * l2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return LinearProbe(standardiser, weight.detach(), bias.detach(), l2)


def fit_linear_probe(
    features: Tensor,
    labels: Tensor,
    split: Split,
    num_classes: int,
    l2_grid: Sequence[float] = L2_GRID,
    metric: Metric = balanced_accuracy,
) -> LinearProbe:
    """The linear probe of train rows whose l2 scores best on validation rows (ties: the strongest), refitted on both.

    The grid is walked from strong to weak until `PATIENCE` values in a row are no better than the best: weaker ones cost most, since
    they converge slowest, and are the least likely to help.
    Features (n, D) and labels (n,) of all rows; test rows are not looked at. Raises `UserError` where train rows have one class.
    """
    train, validation = torch.from_numpy(split.train), torch.from_numpy(split.validation)
    if len(torch.unique(labels[train])) < 2:
        raise UserError("a probe needs training rows of at least two classes; check the labels or the split")
    best, best_score, probe, num_worse = None, -1.0, None, 0
    for l2 in sorted(l2_grid, reverse=True):
        probe = fit_linear(features[train], labels[train], num_classes, l2, start=probe)
        predictions = probe.predict(features[validation])
        score = float(metric(confusion(labels[validation].cpu().numpy(), predictions.cpu().numpy(), num_classes)))
        if score > best_score:
            best, best_score, num_worse = probe, score, 0
        elif (num_worse := num_worse + 1) == PATIENCE:
            break
    assert best is not None, "l2_grid is empty"
    both = torch.cat([train, validation])
    return fit_linear(features[both], labels[both], num_classes, best.l2, start=best)
