"""Laws of the preprocessing that releases carry."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.data.preprocess import Preprocess, PreprocessSpec, normalise, resize_and_center_crop

SPEC = PreprocessSpec(short_side_pixels=36, crop_pixels=32)


def frames(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (20, 35), (36, 36), (37, 501)])
def test_any_frame_becomes_the_model_s_square(height: int, width: int) -> None:
    video = Preprocess(SPEC)(frames(height, width))
    assert video.shape == (1, 3, 3, 32, 32)
    assert video.is_contiguous()
    assert torch.equal(video, Preprocess(SPEC)(frames(height, width).numpy()))


def test_the_middle_is_cut_out() -> None:
    pixels = frames(32, 50)
    cropped = resize_and_center_crop(pixels, 32, 32)
    torch.testing.assert_close(cropped, pixels[:, :, 9:41].permute(0, 3, 1, 2).float(), atol=1e-3, rtol=0)


def test_normalisation_is_its_closed_form() -> None:
    video = torch.rand(2, 3, 4, 5, 6) * 255
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    expected = torch.stack([(video[:, c] / 255 - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(normalise(video.clone(), mean, std), expected)


def test_a_spec_survives_json() -> None:
    spec = PreprocessSpec(256, 224, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")
    assert PreprocessSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    for wrong in ({**spec.to_dict(), "extra": 1}, {"crop_pixels": 3}):
        with pytest.raises(UserError, match="needs exactly"):
            PreprocessSpec.from_dict(wrong)


def test_a_crop_larger_than_the_frame_is_explained() -> None:
    with pytest.raises(UserError, match="short side"):
        PreprocessSpec(short_side_pixels=200, crop_pixels=224)


def test_what_is_not_frames_is_refused() -> None:
    for wrong in (np.zeros((3, 8, 8), np.uint8), np.zeros((3, 8, 8, 3), np.float32), np.zeros((3, 3, 8, 8), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            Preprocess(SPEC)(wrong)
