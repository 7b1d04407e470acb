"""The linear head per frame: what frozen features say of a moment without those before and after.

In: recordings, a split of them. Out: a `DenseAnswer`. It is its own file because it is the floor that a temporal head must be compared
with: what is above it is of the head's memory as much as of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from surgrec.evaluation.probes import LinearProbe
from surgrec.evaluation.protocols.answer import Stopwatch, score_of
from surgrec.evaluation.protocols.dense import DenseAnswer, DenseRecording, labelled_moments
from surgrec.evaluation.protocols.linear import Linear, search_l2
from surgrec.evaluation.splits import Split


@dataclass(frozen=True)
class FrameLinear:
    """Logistic regression on every labelled moment by itself; l2 is chosen on validation recordings, then both are fitted."""

    linear: Linear = field(default_factory=lambda: Linear(name="linear head per frame"))

    @property
    def name(self) -> str:
        return self.linear.name

    def __call__(self, recordings: Sequence[DenseRecording], split: Split, num_classes: int, seed: int) -> DenseAnswer:
        """Convex, so the seed changes nothing."""
        watch = Stopwatch()
        train, validation = (labelled_moments(recordings, rows) for rows in (split.train, split.validation))
        seen = labelled_moments(recordings, np.concatenate([split.train, split.validation]))

        def score(probe: LinearProbe) -> float:
            return score_of(probe.logits(validation[0]), validation[1], self.linear.metric)

        probe, search = search_l2(train, seen, score, num_classes, self.linear, watch)
        return DenseAnswer(tuple(_probabilities(probe, recordings[row].features) for row in split.test), search)


def _probabilities(probe: LinearProbe, features: Tensor) -> Tensor:
    with torch.no_grad():
        return probe.logits(features).softmax(1).cpu()
