"""The numbers that tell learning from collapse, on data whose answer is known."""

from __future__ import annotations

import pytest
import torch

from surgrec.objectives.diagnostics import effective_rank, health
from surgrec.objectives.objective import Outcome
from tests.objectives.build import masks_of, objective_of, random_video, run


def test_effective_rank_of_isotropic_features_is_their_width() -> None:
    torch.manual_seed(0)
    assert float(effective_rank(torch.eye(32))) == pytest.approx(32, rel=1e-4)
    assert 30 < float(effective_rank(torch.randn(4000, 32))) <= 32.01


@pytest.mark.parametrize("rank", [1, 3])
def test_effective_rank_of_features_in_a_subspace_is_its_dimension(rank: int) -> None:
    torch.manual_seed(1)
    axes = torch.linalg.qr(torch.randn(64, rank)).Q
    tokens = torch.randn(5000, rank) @ axes.T
    assert float(effective_rank(tokens)) == pytest.approx(rank, abs=0.02)
    assert float(effective_rank(tokens * 1e-4)) == pytest.approx(rank, abs=0.02)  # whatever the scale


def test_effective_rank_is_the_exponential_of_the_entropy_of_singular_values() -> None:
    torch.manual_seed(2)
    tokens = torch.randn(50, 8, dtype=torch.float64) * torch.arange(1, 9)
    values = torch.linalg.svdvals(tokens)
    shares = values / values.sum()
    assert float(effective_rank(tokens)) == pytest.approx(float((-(shares * shares.log()).sum()).exp()), rel=1e-4)


def outcome_of(prediction: torch.Tensor, context: torch.Tensor) -> Outcome:
    return Outcome(torch.zeros(()), (prediction,), (context,))


def test_loss_over_mean_is_1_for_the_mean_and_0_for_the_truth() -> None:
    torch.manual_seed(3)
    target, context = torch.randn(4, 6, 5), torch.randn(4, 9, 16)
    mean = target.mean((0, 1)).expand_as(target)
    assert health(outcome_of(mean, context), (target,))["loss_over_mean"] == pytest.approx(1.0, abs=1e-6)
    assert health(outcome_of(target, context), (target,))["loss_over_mean"] == 0.0
    assert health(outcome_of(mean + 10, context), (target,))["loss_over_mean"] > 1.0


def test_feature_std_is_0_after_a_collapse_to_a_point() -> None:
    point = torch.randn(1, 1, 16).expand(4, 9, 16)
    target = torch.randn(4, 6, 5)
    numbers = health(outcome_of(target, point), (target,))
    assert numbers["feature_std"] == pytest.approx(0, abs=1e-6) and numbers["effective_rank"] == pytest.approx(
        1, abs=0.01
    )
    spread = torch.randn(64, 50, 16) * 3
    assert health(outcome_of(target, spread), (target,))["feature_std"] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("variant", ["mae", "jepa", "dense jepa"])
def test_health_of_a_real_outcome_is_finite_and_needs_no_gradient(variant: str) -> None:
    torch.manual_seed(4)
    objective, masks, video = objective_of(variant), masks_of(variant), random_video()
    outcome = run(objective, video, masks)
    numbers = health(outcome, objective.targets(video, masks))
    assert set(numbers) == {"feature_std", "effective_rank", "loss_over_mean"}
    assert all(0 < value < 1e3 for value in numbers.values())
    outcome.loss.backward()  # the graph is still there


def test_health_survives_features_in_half_precision() -> None:
    torch.manual_seed(5)
    target, context = torch.randn(4, 6, 5), torch.randn(4, 9, 16).bfloat16()
    numbers = health(outcome_of(target.bfloat16(), context), (target,))
    assert numbers["loss_over_mean"] < 0.02 and numbers["effective_rank"] > 10
