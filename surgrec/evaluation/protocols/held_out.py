"""A protocol over all splits of a task.

In: features, labels and groups of all rows, the splits, a protocol. Out: `HeldOut`, which compares with another encoder's on the same
rows. It is its own file because here, once for all protocols, is what none may get wrong: no case on two sides, no row lost on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.evaluation.frozen import HeldOut
from surgrec.evaluation.protocols.answer import Answer
from surgrec.evaluation.splits import Split


class FrozenProtocol(Protocol):
    """Fits something on features that stay as they are; `name` stands beside every number."""

    @property
    def name(self) -> str: ...

    def __call__(self, features: Tensor, labels: Tensor, split: Split, num_classes: int, seed: int) -> Answer: ...


def held_out(
    features: Tensor,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike,
    splits: Sequence[Split],
    protocol: FrozenProtocol,
    num_classes: int,
    seed: int = 0,
    may_share_groups: bool = False,
) -> HeldOut:
    """Run `protocol` anew on every split and join the predictions of its test rows.

    `features`: (n, D) or tokens (n, N, D), `labels`: integers 0..C-1 (n,), `groups`: of every row (n,). Raises `UserError` for features
    that are not finite, and for a group on two sides of a split, unless `may_share_groups` (to replay a published split that has such).
    """
    truth, names = np.asarray(labels, dtype=np.int64), np.asarray(groups, dtype=np.str_)
    if not len(features) == len(truth) == len(names):
        raise ValueError(f"{len(features)} features, {len(truth)} labels and {len(names)} groups must be as many")
    if not torch.isfinite(features).all():
        raise UserError("the features hold values that are not finite; extract them again and check the encoder")
    if not may_share_groups:
        for split in splits:
            refuse_shared_groups(split, names)
    targets = torch.from_numpy(truth).to(features.device)
    answers = [protocol(features, targets, split, num_classes, seed) for split in splits]
    return joined(answers, truth, names, splits, num_classes)


def joined(
    answers: Sequence[Answer],
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_],
    splits: Sequence[Split],
    num_classes: int,
) -> HeldOut:
    """The test rows of all splits, one split after the other."""
    rows = np.concatenate([split.test for split in splits])
    return HeldOut(
        labels[rows],
        torch.cat([answer.predictions for answer in answers]).cpu().numpy(),
        groups[rows],
        num_classes,
        probabilities=torch.cat([answer.probabilities for answer in answers]).cpu().numpy(),
        searches=tuple(answer.search for answer in answers),
    )


def refuse_shared_groups(split: Split, groups: npt.NDArray[np.str_]) -> None:
    """Raise `UserError` where a group (n,) has rows on two sides of the split."""
    sides = {name: set(groups[getattr(split, name)]) for name in ("train", "validation", "test")}
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if shared := sides[first] & sides[second]:  # without their names, which may be people's
            raise UserError(
                f"{counted(len(shared), 'case')} of the split have rows in {first} and in {second}; split by case, or say that it may be so"
            )
