"""Patches: their order, their inverse, and their equality with a convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surgrec.core.grid import GeometryError
from surgrec.models.embed import PatchEmbed, gather_patches, gather_tokens, grid_of_video, patchify, unpatchify
from surgrec.models.errors import ModelError
from tests.models.build import random_ids


@pytest.mark.parametrize("order", ["c t p p", "t p p c"])
def test_patch_holds_the_pixels_of_its_place(order: str) -> None:
    video = torch.randn(2, 3, 6, 8, 12)
    patches = patchify(video, tubelet=2, patch=4, order=order)  # type: ignore[arg-type]
    assert patches.shape == (2, 3 * 2 * 3, 3 * 2 * 4 * 4)
    time, row, column = 2, 1, 2
    cube = video[1, :, 4:6, 4:8, 8:12]
    expected = cube if order == "c t p p" else cube.permute(1, 2, 3, 0)
    assert torch.equal(patches[1, (time * 2 + row) * 3 + column], expected.flatten())


@pytest.mark.parametrize("order", ["c t p p", "t p p c"])
def test_unpatchify_and_gather_agree_with_patchify(order: str) -> None:
    video = torch.randn(3, 2, 4, 12, 8)
    patches = patchify(video, 2, 4, order)  # type: ignore[arg-type]
    grid = grid_of_video(video, 2, 4)
    assert torch.equal(unpatchify(patches, grid, 2, 4, order), video)  # type: ignore[arg-type]
    ids = random_ids(3, grid.num_tokens, 5)
    gathered = gather_patches(video, ids, 2, 4, order)  # type: ignore[arg-type]
    assert torch.equal(gathered, gather_tokens(patches, ids))
    assert torch.equal(gathered[2, 1], patches[2, ids[2, 1]])


def test_embedding_equals_a_convolution() -> None:
    embed = PatchEmbed(channels=3, tubelet=2, patch=8, width=20)
    video = torch.randn(2, 3, 4, 16, 24)
    kernel = embed.proj.weight.reshape(20, 3, 2, 8, 8)
    expected = F.conv3d(video, kernel, embed.proj.bias, stride=(2, 8, 8)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embed(video), expected, rtol=0, atol=1e-5)
    ids = random_ids(2, expected.shape[1], 7)
    torch.testing.assert_close(embed(video, ids), gather_tokens(expected, ids), rtol=0, atol=1e-5)


def test_input_that_does_not_fit_is_named() -> None:
    with pytest.raises(GeometryError, match="width 20"):
        patchify(torch.zeros(1, 3, 2, 16, 20), 2, 8)
    with pytest.raises(ModelError, match="patch order"):
        patchify(torch.zeros(1, 3, 2, 16, 16), 2, 8, "p p c t")  # type: ignore[arg-type]
    embed = PatchEmbed(channels=3, tubelet=2, patch=8, width=4)
    for video in (torch.zeros(1, 4, 3, 16, 16), torch.zeros(1, 3, 4, 16, 16, dtype=torch.uint8)):
        with pytest.raises(ModelError, match="float videos"):
            embed(video)
