"""The floor of dense tables: the commonest class at every moment.

In: labels of the recordings that may be seen. Out: a `DenseAnswer`. It is its own file for the reason that `trivial` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from surgrec.evaluation.protocols.answer import Search, Stopwatch
from surgrec.evaluation.protocols.dense import DenseAnswer, DenseRecording
from surgrec.evaluation.splits import Split


@dataclass(frozen=True)
class DenseMajority:
    """The commonest class of labelled moments of train and validation recordings; probabilities are the shares of classes there."""

    name: str = "majority"

    def __call__(self, recordings: Sequence[DenseRecording], split: Split, num_classes: int, seed: int) -> DenseAnswer:
        """Features are not looked at."""
        watch = Stopwatch()
        labels = np.concatenate([recordings[row].labels for row in (*split.train, *split.validation)])
        counts = np.bincount(labels[labels >= 0], minlength=num_classes)
        shares = torch.from_numpy(counts / counts.sum())
        found = tuple(shares.expand(len(recordings[row].labels), -1).clone() for row in split.test)
        return DenseAnswer(found, Search(self.name, (), (), {}, 0, watch.seconds))
