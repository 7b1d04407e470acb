"""The numbers that tell learning from collapse, on data whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from surgrec.objectives.diagnostics import HEALTH, effective_rank
from surgrec.objectives.diagnostics import health as measured
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


def health(outcome: Outcome, targets: tuple[torch.Tensor, ...]) -> dict[str, float]:
    return dict(zip(HEALTH, measured(outcome, targets).tolist(), strict=True))


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
    assert all(0 < value < 1e3 for name, value in numbers.items() if name != "clip_similarity")
    assert numbers["num_tokens"] == outcome.context[0].shape[:2].numel()
    assert -1 <= numbers["clip_similarity"] <= 1
    outcome.loss.backward()  # the graph is still there


def test_health_survives_features_in_half_precision() -> None:
    torch.manual_seed(5)
    target, context = torch.randn(4, 6, 5), torch.randn(4, 9, 16).bfloat16()
    numbers = health(outcome_of(target.bfloat16(), context), (target,))
    assert numbers["loss_over_mean"] < 0.02 and numbers["effective_rank"] > 10


def test_clip_similarity_is_the_mean_over_all_pairs_of_tokens_of_different_clips() -> None:
    torch.manual_seed(6)
    tokens = torch.randn(3, 5, 8) + 0.5
    pairs = [
        float(torch.cosine_similarity(one, other, dim=0))
        for a in range(3)
        for b in range(3)
        if a != b
        for one in tokens[a]
        for other in tokens[b]
    ]
    target = torch.randn(3, 6, 5)

    def similarity(tokens: torch.Tensor) -> float:
        return health(outcome_of(target, tokens), (target,))["clip_similarity"]

    assert similarity(tokens) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert similarity(torch.ones(2, 4, 8)) == pytest.approx(1.0, abs=1e-6)
    assert similarity(tokens[:1]) != similarity(tokens[:1])  # not a number: one clip has nothing to be like


def test_ranks_that_add_up_measure_what_one_would_have() -> None:
    """But `loss_over_mean`, which compares with the mean of a rank's own targets."""
    torch.manual_seed(9)
    prediction, target, context = torch.randn(4, 6, 5), torch.randn(4, 6, 5) + 1, torch.randn(4, 9, 16) + 0.5
    halves = [slice(0, 2), slice(2, 4)]
    sums: list[torch.Tensor] = []
    for half in halves:
        measured(outcome_of(prediction[half], context[half]), (target[half],), lambda each: sums.append(each) or each)
    together = measured(outcome_of(prediction[:2], context[:2]), (target[:2],), lambda _: sums[0] + sums[1])
    alone = measured(outcome_of(prediction, context), (target,))
    assert torch.allclose(together[:-1], alone[:-1], rtol=1e-6)
    assert float(together[-1]) == pytest.approx(float(alone[-1]), rel=0.2)


def test_target_std_and_prediction_spread_are_0_where_everything_is_the_same() -> None:
    torch.manual_seed(7)
    context, target = torch.randn(4, 9, 16), torch.randn(4, 600, 5) * 2
    numbers = health(outcome_of(target * 0.5, context), (target,))
    assert numbers["target_std"] == pytest.approx(2, rel=0.05)
    assert numbers["prediction_spread"] == pytest.approx(0.5, rel=1e-4)
    same = target.mean((0, 1)).expand_as(target)
    assert health(outcome_of(same, context), (target,))["prediction_spread"] == pytest.approx(0, abs=1e-5)
    assert health(outcome_of(same, context), (same,))["target_std"] == pytest.approx(0, abs=1e-5)


def test_health_stays_on_the_device_and_averages_over_masks() -> None:
    torch.manual_seed(8)
    first, second, context = torch.randn(2, 6, 5), 3 * torch.randn(2, 8, 5), torch.randn(2, 9, 16)
    both = measured(Outcome(torch.zeros(()), (first, second), (context,)), (first, second))
    assert isinstance(both, torch.Tensor) and both.shape == (len(HEALTH),)
    each = [health(outcome_of(target, context), (target,))["target_std"] for target in (first, second)]
    assert float(both[HEALTH.index("target_std")]) == pytest.approx(sum(each) / 2)


@pytest.mark.parametrize("num_clips", [1, 4])
@pytest.mark.parametrize("grid", [(8, 14, 14), (8, 16, 16), (4, 18, 16), (16, 8, 8), (3, 20, 20), (64, 4, 4)])
def test_of_many_tokens_exactly_1024_are_looked_at_and_all_of_the_grid_alike(
    grid: tuple[int, int, int], num_clips: int
) -> None:
    """Features that name the column, the row or the time step of their token: each is seen as often as any other."""
    assert num_clips * math.prod(grid) >= 1024
    axes = torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")
    for size, axis in zip(grid, axes, strict=True):
        features = torch.nn.functional.one_hot(axis.flatten(), size).float().expand(num_clips, -1, -1)
        target = torch.zeros(num_clips, math.prod(grid), 1)
        numbers = health(outcome_of(target, features), (target,))
        assert numbers["num_tokens"] == 1024
        assert numbers["effective_rank"] == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize("count", [513, 1000, 1023, 1024, 1025, 1500, 2047, 2048, 5000, 14336])
def test_at_most_1024_tokens_are_looked_at_evenly_over_all_of_them(count: int) -> None:
    """The first, second, ... tenth of the tokens are as many of those that are looked at."""
    tenths = torch.nn.functional.one_hot(torch.arange(count) * 10 // count, 10).float()[None]
    target = torch.zeros(1, count, 1)
    numbers = health(outcome_of(target, tenths), (target,))
    assert numbers["num_tokens"] == min(count, 1024)
    assert numbers["effective_rank"] == pytest.approx(10, rel=1e-3)
