"""What an encoder answered, in the form in which scores, comparisons and files take it: rows with groups, one table for each seed.

In: `HeldOut` or `DenseHeldOut` of several seeds. Out: `Predictions`, to and from arrays. It is its own file because clips and whole
operations differ up to here and no further, and because comparisons and ranks are made again from these files whenever a cell is added.

Groups are numbers: their names may name a patient's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
import numpy.typing as npt

from surgrec.core.atomic import atomic_path
from surgrec.evaluation.frozen import HeldOut
from surgrec.evaluation.protocols.dense import DenseHeldOut

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, BadZipFile, ZlibError)


@dataclass(frozen=True)
class Predictions:
    """Of m test rows (clips, or moments of operations, one operation after the other) by S seeds.

    `labels` (m,), -1 for a moment of no class; `groups` (m,), numbers; `predictions` (S, m); `probabilities` (S, m, C).
    `operations` (m,): the row of the operation in the task, -1 for clips.
    """

    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    predictions: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    operations: npt.NDArray[np.int64]

    @property
    def num_classes(self) -> int:
        return int(self.probabilities.shape[2])

    @property
    def is_dense(self) -> bool:
        return bool((self.operations >= 0).any())

    def held_out(self) -> list[HeldOut]:
        """Labelled rows, by seed."""
        known = self.labels >= 0
        names = self.groups[known].astype(np.str_)
        return [
            HeldOut(self.labels[known], predictions[known], names, self.num_classes, _summing_to_1(values[known]))
            for predictions, values in zip(self.predictions, self.probabilities, strict=True)
        ]

    def write(self, file: Path, key: str) -> None:
        """Write all of it, whole or not at all. `key`: of the cell that they are of."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as temporary, temporary.open("wb") as target:
            np.savez_compressed(target, key=np.array(key), **vars(self))

    @classmethod
    def read(cls, file: Path) -> Predictions | None:
        """What was written; None where it is not there or is damaged."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})
        except _UNREADABLE:
            return None


def key_in(file: Path) -> str | None:
    """The key of the cell that the predictions in `file` are of; None where it is not there or is damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return str(arrays["key"])
    except _UNREADABLE:
        return None


def of_clips(results: Sequence[HeldOut]) -> Predictions:
    """Of several seeds on the same rows."""
    first = results[0]
    groups = np.unique(first.groups, return_inverse=True)[1]
    tables = [each.probabilities for each in results if each.probabilities is not None]
    return Predictions(
        first.labels,
        groups.astype(np.int64),
        np.stack([each.predictions for each in results]),
        np.stack(tables).astype(np.float32),
        np.full(len(first.labels), -1),
    )


def of_operations(results: Sequence[DenseHeldOut]) -> Predictions:
    """Of several seeds on the same recordings."""
    first = results[0]
    lengths = [len(labels) for labels in first.labels]
    groups = np.unique(first.groups, return_inverse=True)[1]
    return Predictions(
        np.concatenate(first.labels),
        np.repeat(groups, lengths).astype(np.int64),
        np.stack([np.concatenate(each.predictions) for each in results]),
        np.stack([np.concatenate(each.probabilities) for each in results]).astype(np.float32),
        np.repeat(first.rows, lengths),
    )


def _summing_to_1(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Kept in single precision, probabilities sum to 1 no more."""
    table = values.astype(np.float64)
    total: npt.NDArray[np.float64] = table / table.sum(1, keepdims=True)
    return total
