"""Masked autoencoding: the targets in closed form, the loss, and VideoMAE V2's decoder masking."""

from __future__ import annotations

import pytest
import torch
from einops import rearrange

from surgrec.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from surgrec.objectives.mae import normalise_patches
from tests.objectives.build import GRID, PATCH, masks_of, random_video, run, small_mae


def pixels(video: torch.Tensor) -> torch.Tensor:
    """Every patch of the video before normalisation, one row a pixel: (B, N, t * p * p, C)."""
    mean, std = (torch.tensor(value).view(1, 3, 1, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
    return rearrange(video * std + mean, "b c (t dt) (h dh) (w dw) -> b (t h w) (dt dh dw) c", dt=2, dh=PATCH, dw=PATCH)


def of_targets(patches: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.stack([patch[ids] for patch, ids in zip(patches, target, strict=True)])


def test_targets_are_normalised_per_patch_and_channel() -> None:
    torch.manual_seed(0)
    video, masks = random_video(), masks_of("mae")
    (target,) = small_mae().targets(video, masks)
    assert target.shape == (3, masks[0].target.shape[1], 2 * PATCH * PATCH * 3)
    values = rearrange(target, "b m (pixels c) -> b m pixels c", c=3)  # t p p c: the channel is fastest
    torch.testing.assert_close(values.mean(2), torch.zeros_like(values.mean(2)), rtol=0, atol=1e-5)
    torch.testing.assert_close(values.std(2), torch.ones_like(values.std(2)), rtol=0, atol=1e-4)  # unbiased

    chosen = of_targets(pixels(video), masks[0].target)
    expected = (chosen - chosen.mean(2, keepdim=True)) / (chosen.var(2, keepdim=True, unbiased=True).sqrt() + 1e-6)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)


def test_targets_without_normalisation_are_pixels_from_0_to_1() -> None:
    torch.manual_seed(1)
    unit = torch.rand(3, *random_video().shape[1:])
    mean, std = (torch.tensor(value).view(1, 3, 1, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
    masks = masks_of("mae")
    (target,) = small_mae(normalise_targets=False).targets((unit - mean) / std, masks)
    expected = of_targets(
        rearrange(unit, "b c (t dt) (h dh) (w dw) -> b (t h w) (dt dh dw c)", dt=2, dh=PATCH, dw=PATCH), masks[0].target
    )
    torch.testing.assert_close(target, expected, rtol=0, atol=1e-6)


def test_a_patch_of_one_colour_has_a_target_of_zero() -> None:
    """A black border is common in endoscopy: no division by zero, and no rounding error blown up to contrast."""
    target = normalise_patches(torch.zeros(1, 2, 2 * PATCH * PATCH * 3), 3)
    assert torch.equal(target, torch.zeros_like(target))


@pytest.mark.parametrize("running_cells", [False, True])
def test_the_loss_is_the_mean_square_over_the_masks_targets(running_cells: bool) -> None:
    torch.manual_seed(2)
    objective, video, masks = small_mae(), random_video(), masks_of("mae", running_cells=running_cells)
    outcome = run(objective, video, masks)
    (mask,), (target,) = masks, objective.targets(video, masks)
    assert outcome.predictions[0].shape == target.shape == (3, mask.target.shape[1], 2 * PATCH * PATCH * 3)
    torch.testing.assert_close(outcome.loss, ((outcome.predictions[0] - target) ** 2).mean(), rtol=1e-6, atol=0)


def test_running_cells_decode_half_of_what_is_hidden_and_learn() -> None:
    torch.manual_seed(3)
    (whole,), (half,) = masks_of("mae"), masks_of("mae", running_cells=True)
    assert torch.equal(half.context, whole.context) and half.target.shape[1] * 2 == whole.target.shape[1]
    assert GRID.t == 4
    objective = small_mae()
    run(objective, random_video(), (half,)).loss.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in objective.learner.parameters())


def test_the_released_encoder_is_the_trained_one_and_nothing_is_frozen() -> None:
    objective = small_mae()
    assert objective.released_encoder is objective.learner.encoder
    assert not list(objective.frozen.parameters())
    before = [weight.clone() for weight in objective.learner.parameters()]
    objective.after_update(0)
    assert all(torch.equal(old, new) for old, new in zip(before, objective.learner.parameters(), strict=True))
