"""Held-out predictions: every probe, over one split or over folds, compared on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.evaluation.frozen import held_out_predictions
from surgrec.evaluation.metrics import accuracy, balanced_accuracy
from surgrec.evaluation.splits import folds_by_group, split_by_group

NUM_ROWS = 240
GROUPS = np.array([f"case-{row // 12:02d}" for row in range(NUM_ROWS)])
LABELS = np.arange(NUM_ROWS) % 4


def features(signal: float, seed: int) -> torch.Tensor:
    """Features (n, D): the class with this strength, the case with strength 1, and noise."""
    rng = np.random.default_rng(seed)
    case = rng.normal(size=(20, 8))[np.arange(NUM_ROWS) // 12]
    return torch.from_numpy(signal * rng.normal(size=(4, 8))[LABELS] + case + rng.normal(size=(NUM_ROWS, 8)))


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_a_signal_beats_noise_beyond_chance_and_noise_does_not_beat_the_floor(probe) -> None:
    folds = folds_by_group(GROUPS, seed=0, num_folds=5)
    good = held_out_predictions(features(2.0, 0), LABELS, GROUPS, folds, probe)
    noise = held_out_predictions(features(0.0, 1), LABELS, GROUPS, folds, probe)
    floor = held_out_predictions(features(0.0, 1), LABELS, GROUPS, folds, "majority")
    assert len(good.labels) == NUM_ROWS
    assert good.minus(noise, balanced_accuracy).low > 0.2
    assert noise.minus(floor, balanced_accuracy).low < 0.02
    assert floor.score(accuracy).estimate == pytest.approx(0.25, abs=0.1)


def test_labels_and_groups_stay_with_their_rows() -> None:
    split = split_by_group(GROUPS, seed=1)
    result = held_out_predictions(features(5.0, 0), LABELS, GROUPS, [split], "linear")
    assert np.array_equal(result.labels, LABELS[split.test]) and np.array_equal(result.groups, GROUPS[split.test])
    assert result.counts.sum() == len(split.test)


def test_tokens_are_averaged_for_pooled_probes() -> None:
    pooled = features(2.0, 0)
    tokens = torch.stack([pooled - 1, pooled + 1], dim=1)
    split = [split_by_group(GROUPS, seed=1)]
    expected = held_out_predictions(pooled, LABELS, GROUPS, split, "knn")
    assert np.array_equal(held_out_predictions(tokens, LABELS, GROUPS, split, "knn").predictions, expected.predictions)


def test_features_that_are_not_finite_are_refused() -> None:
    broken = features(1.0, 0)
    broken[3, 3] = torch.inf
    with pytest.raises(UserError, match="not finite"):
        held_out_predictions(broken, LABELS, GROUPS, [split_by_group(GROUPS, seed=0)], "knn")
