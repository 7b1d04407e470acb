"""Laws of both objectives: what must be predicted is not seen, and what is only followed is not trained."""

from __future__ import annotations

import pytest
import torch

from surgrec.optim.optimizer import build_adamw
from tests.objectives.build import masks_of, objective_of, pixels_of_tokens, random_video, run

VARIANTS = ("mae", "jepa", "dense jepa")


@pytest.mark.parametrize("variant", VARIANTS)
def test_pixels_under_the_target_mask_change_no_prediction(variant: str) -> None:
    torch.manual_seed(0)
    objective, masks, video = objective_of(variant), masks_of(variant), random_video()
    before = run(objective, video, masks)
    for index, mask in enumerate(masks):
        changed = torch.where(pixels_of_tokens(mask.target), 100 * torch.randn_like(video), video)
        after = run(objective, changed, masks)
        for own in range(
            index, len(before.predictions), len(masks)
        ):  # dense: the context's own come after all targets'
            assert torch.equal(before.predictions[own], after.predictions[own])
        assert torch.equal(before.context[index], after.context[index])
        assert after.loss != before.loss  # the targets did change


@pytest.mark.parametrize("variant", VARIANTS)
def test_predictions_follow_from_the_context_alone_and_from_all_of_it(variant: str) -> None:
    torch.manual_seed(1)
    objective, masks, video = objective_of(variant), masks_of(variant), random_video()
    before = run(objective, video, masks)
    for index, mask in enumerate(masks):
        elsewhere = torch.where(pixels_of_tokens(mask.context), video, torch.randn_like(video))
        assert torch.equal(before.predictions[index], run(objective, elsewhere, masks).predictions[index])
        for token in (0, -1):
            seen = torch.where(pixels_of_tokens(mask.context[:, [token]]), video + 1.0, video)
            moved = (run(objective, seen, masks).predictions[index] - before.predictions[index]).abs()
            assert moved.flatten(1).max(1).values.min() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_of_the_learner_gets_a_gradient(variant: str) -> None:
    torch.manual_seed(2)
    objective = objective_of(variant)
    run(objective, random_video(), masks_of(variant)).loss.backward()
    idle = [
        name for name, weight in objective.learner.named_parameters() if weight.grad is None or not weight.grad.any()
    ]
    assert idle == []


@pytest.mark.parametrize("variant", ["jepa", "dense jepa"])
def test_no_gradient_reaches_the_target_encoder(variant: str) -> None:
    torch.manual_seed(3)
    objective, masks, video = objective_of(variant), masks_of(variant), random_video()
    frozen = list(objective.frozen.parameters())
    before = [weight.clone() for weight in frozen]
    optimizer = build_adamw(objective.learner, (0.9, 0.95), 1e-8, 0.05, fused=False)
    optimised = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
    targets = objective.targets(video.requires_grad_(), masks)
    objective.learner(video, masks, targets).loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()

    assert frozen and not any(weight.requires_grad for weight in frozen)
    assert all(weight.grad is None for weight in frozen)
    assert not any(target.requires_grad for target in targets)
    assert optimised.isdisjoint(map(id, frozen)) and optimised == set(map(id, objective.learner.parameters()))
    assert all(torch.equal(old, new) for old, new in zip(before, frozen, strict=True))
    assert not any(module.training for module in objective.frozen["target_encoder"].modules())
