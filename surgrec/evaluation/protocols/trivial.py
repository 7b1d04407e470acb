"""Answers that look at nothing: the floor of every table.

In: labels of the rows that may be seen. Out: predictions of test rows. It is its own file because a table without this row has been
published, and most of its columns were not above it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgrec.core import rng
from surgrec.evaluation.protocols.answer import Answer, Search, Stopwatch, rows_of
from surgrec.evaluation.splits import Split


@dataclass(frozen=True)
class Majority:
    """Always the commonest class of train and validation rows (ties: the first); probabilities are the shares of classes there."""

    name: str = "majority"

    def __call__(self, features: Tensor, labels: Tensor, split: Split, num_classes: int, seed: int) -> Answer:
        """Features are not looked at; labels (n,). See `Answer`."""
        watch = Stopwatch()
        shares = _shares(labels, split, num_classes).expand(len(split.test), -1)
        return Answer(shares.argmax(1), shares, Search(self.name, (), (), {}, 0, watch.seconds))


@dataclass(frozen=True)
class StratifiedRandom:
    """Each test row a class drawn by the shares of classes in train and validation rows; the same row gets the same draw for a seed."""

    name: str = "stratified random"

    def __call__(self, features: Tensor, labels: Tensor, split: Split, num_classes: int, seed: int) -> Answer:
        """Features are not looked at; labels (n,). See `Answer`; probabilities are the shares, which the draws were made by."""
        watch = Stopwatch()
        shares = _shares(labels, split, num_classes)
        draws = torch.from_numpy(rng.uniforms(seed, "stratified-random", split.test, lanes=1)[:, 0])
        # searchsorted on the right: a class without rows has no width, and is never drawn
        predictions = torch.searchsorted(shares.cumsum(0), draws, right=True).clamp(max=int(shares.nonzero()[-1]))
        search = Search(self.name, (), (), {}, 0, watch.seconds)
        return Answer(predictions, shares.expand(len(split.test), -1), search)


def _shares(labels: Tensor, split: Split, num_classes: int) -> Tensor:
    """Shares (C,) of the classes in train and validation rows, float64."""
    _, _, seen, _ = rows_of(split)
    counts = torch.bincount(labels.cpu()[seen].long(), minlength=num_classes).double()
    return counts / counts.sum()
