"""From frozen features to predictions on cases that the probe has never seen, and to intervals around their scores.

In: features, labels and groups of all rows, and the splits. Out: held-out predictions, which compare with another encoder's on the
same rows. It is its own file because it is the one place where probe, split, metric and interval meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.evaluation.attentive import fit_attentive_probe
from surgrec.evaluation.intervals import Interval
from surgrec.evaluation.metrics import Counts, Metric
from surgrec.evaluation.probes import Standardiser, fit_linear_probe, knn_predict
from surgrec.evaluation.protocols.answer import Search
from surgrec.evaluation.splits import Split
from surgrec.evaluation.statistics import group_confusions, interval_of, paired_difference

# "majority": the commonest class of train rows, the floor of every table
Probe = Literal["majority", "knn", "linear", "attentive"]


@dataclass(frozen=True)
class HeldOut:
    """Predictions (m,) of the test rows of all splits, with what they should have been and the group of each.

    `probabilities` (m, C) of the classes, where there are any; `searches`: what was tried on each split.
    """

    labels: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    num_classes: int
    probabilities: npt.NDArray[np.float64] | None = None
    searches: tuple[Search, ...] = ()

    @property
    def counts(self) -> Counts:
        """Confusion matrices (G, C, C) of the groups."""
        return group_confusions(self.labels, self.predictions, self.groups, self.num_classes)

    def score(self, metric: Metric) -> Interval:
        """The metric over all held-out rows, with its interval over groups."""
        return interval_of(self.counts, metric)

    def minus(self, other: HeldOut, metric: Metric) -> Interval:
        """The metric of this encoder less that of `other` on the same rows; an interval above 0 means better beyond chance."""
        return paired_difference(self.counts, other.counts, metric)


def held_out_predictions(
    features: Tensor, labels: npt.ArrayLike, groups: npt.ArrayLike, splits: Sequence[Split], probe: Probe, seed: int = 0
) -> HeldOut:
    """Fit `probe` anew on every split and predict its test rows.

    `features`: (n, D), or tokens (n, N, D), which all probes but the attentive one average. `labels`: integers 0..C-1 (n,).
    """
    truth, names = np.asarray(labels, dtype=np.int64), np.asarray(groups, dtype=np.str_)
    if not len(features) == len(truth) == len(names):
        raise ValueError(f"{len(features)} features, {len(truth)} labels and {len(names)} groups must be as many")
    if not torch.isfinite(features).all():
        raise UserError("the features hold values that are not finite; extract them again and check the encoder")
    if features.ndim == 3 and probe != "attentive":
        features = features.mean(1)
    num_classes = int(truth.max()) + 1
    rows = np.concatenate([split.test for split in splits])
    predictions = [_predict(features, torch.from_numpy(truth), split, num_classes, probe, seed) for split in splits]
    return HeldOut(truth[rows], torch.cat(predictions).cpu().numpy(), names[rows], num_classes)


def _predict(features: Tensor, labels: Tensor, split: Split, num_classes: int, probe: Probe, seed: int) -> Tensor:
    """Classes of the test rows of one split; validation rows choose, or, where there is nothing to choose, are train rows."""
    labels = labels.to(features.device)
    seen, test = torch.from_numpy(np.concatenate([split.train, split.validation])), torch.from_numpy(split.test)
    match probe:
        case "majority":
            return torch.bincount(labels[seen], minlength=num_classes).argmax().expand(len(test))
        case "knn":
            standardise = Standardiser.fit(features[seen])
            return knn_predict(standardise(features[seen]), labels[seen], standardise(features[test]), num_classes)
        case "linear":
            return fit_linear_probe(features, labels, split, num_classes).predict(features[test])
        case "attentive":
            return fit_attentive_probe(features, labels, split, num_classes, seed).predict(features[test])
        case _:
            assert_never(probe)
