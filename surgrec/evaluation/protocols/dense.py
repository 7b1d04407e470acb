"""Dense temporal recognition: a label at every moment of a whole operation.

In: recordings, each with features and labels over time, and a split of recordings. Out: `DenseHeldOut`, the predictions of every test
recording. It is its own file because what goes in and comes out is the same for the linear head and the temporal ones, and because a
recording is never cut: metrics of segments need all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.evaluation.protocols.answer import Search
from surgrec.evaluation.protocols.held_out import refuse_shared_groups
from surgrec.evaluation.splits import Split

NO_LABEL = -1


@dataclass(frozen=True)
class DenseRecording:
    """A whole operation: features (T, D), evenly spaced in time, labels (T,) 0..C-1 or -1 for none, and the case it is of."""

    features: Tensor
    labels: npt.NDArray[np.int64]
    group: str


@dataclass(frozen=True)
class DenseAnswer:
    """Of every test recording of a split: probabilities (T, C) of its moments, float64, on the CPU."""

    probabilities: tuple[Tensor, ...]
    search: Search


@dataclass(frozen=True)
class DenseHeldOut:
    """Per test recording of all splits: labels (T,) with -1 for none, predictions (T,) of all moments, probabilities (T, C), group.

    `rows` are their places in the list of recordings. Moments without a label are predicted, and are for metrics to leave out.
    """

    labels: tuple[npt.NDArray[np.int64], ...]
    predictions: tuple[npt.NDArray[np.int64], ...]
    probabilities: tuple[npt.NDArray[np.float64], ...]
    groups: npt.NDArray[np.str_]
    rows: npt.NDArray[np.int64]
    num_classes: int
    searches: tuple[Search, ...]


class DenseProtocol(Protocol):
    """Fits a head on recordings of frozen features; `name` stands beside every number."""

    @property
    def name(self) -> str: ...

    def __call__(
        self, recordings: Sequence[DenseRecording], split: Split, num_classes: int, seed: int
    ) -> DenseAnswer: ...


def dense_held_out(
    recordings: Sequence[DenseRecording],
    splits: Sequence[Split],
    protocol: DenseProtocol,
    num_classes: int,
    seed: int = 0,
    may_share_groups: bool = False,
) -> DenseHeldOut:
    """Run `protocol` anew on every split of the recordings (row numbers of the list) and join its test recordings.

    Raises `UserError` for features that are not finite, for a split whose train or validation part has no label, and for a case on two
    sides of one, unless `may_share_groups`.
    """
    groups = np.asarray([recording.group for recording in recordings], dtype=np.str_)
    for number, recording in enumerate(recordings):
        _check(recording, number, num_classes)
    for split in splits:
        if not may_share_groups:
            refuse_shared_groups(split, groups)
        for name in ("train", "validation"):
            if not any((recordings[row].labels >= 0).any() for row in getattr(split, name)):
                raise UserError(f"no moment of the {name} recordings has a label; check the labels or the split")
    answers = [protocol(recordings, split, num_classes, seed) for split in splits]
    rows = np.concatenate([split.test for split in splits])
    probabilities = [values.numpy() for answer in answers for values in answer.probabilities]
    return DenseHeldOut(
        labels=tuple(recordings[row].labels for row in rows),
        predictions=tuple(values.argmax(1) for values in probabilities),
        probabilities=tuple(probabilities),
        groups=groups[rows],
        rows=rows,
        num_classes=num_classes,
        searches=tuple(answer.search for answer in answers),
    )


def labelled_moments(recordings: Sequence[DenseRecording], rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Features (n, D) and labels (n,) of all moments of the recordings `rows` that have a label, on the features' device."""
    chosen = [recordings[row] for row in rows]
    labels = [torch.from_numpy(recording.labels).to(recording.features.device) for recording in chosen]
    features = [recording.features[own >= 0] for recording, own in zip(chosen, labels, strict=True)]
    return torch.cat(features), torch.cat([own[own >= 0] for own in labels])


def _check(recording: DenseRecording, number: int, num_classes: int) -> None:
    features, labels = recording.features, recording.labels
    if features.ndim != 2 or labels.shape != (len(features),) or not len(labels):
        raise ValueError(f"recording {number} has features {tuple(features.shape)} and labels {labels.shape}")
    if labels.min() < NO_LABEL or labels.max() >= num_classes:
        raise ValueError(f"recording {number} has labels from {labels.min()} to {labels.max()}, not in {num_classes}")
    if not torch.isfinite(features).all():
        raise UserError(
            f"the features of recording {number} hold values that are not finite: a stretch of it could not be read, or the encoder is "
            "broken; leave those moments out or extract them again"
        )
