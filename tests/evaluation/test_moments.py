"""Features at moments: of the clip that ends there and of nothing later, whatever is damaged around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from surgrec.data.preprocess import PreprocessSpec
from surgrec.evaluation.moments import encode_moments, windows_before
from surgrec.features.baseline import FrozenModel
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.video.decode import open_video
from surgrec.video.errors import VideoError
from tests.video.make_videos import Coded, write


class Pixel(nn.Module):
    """A token for each frame: the mean of its pixels."""

    width, tubelet, patch = 3, 1, 8

    def forward(self, video: Tensor) -> Tensor:
        return video.mean((3, 4)).transpose(1, 2)


MODEL = FrozenModel(Pixel(), ClipPreprocess(3, 0.5, PreprocessSpec(8, 8, (0.0,) * 3, (1.0,) * 3)), "pixels", "0")


def test_the_last_frame_is_the_moment_and_none_is_before_the_video() -> None:
    windows = windows_before([0.0, 0.75, 4.0], 3, 0.5)
    np.testing.assert_allclose(windows.times_seconds, [[0, 0, 0], [0, 0.25, 0.75], [3, 3.5, 4]])
    assert windows.is_padded.tolist() == [True, True, False]
    for times in ([], [1.0, 1.0], [2.0, 1.0], [-1.0]):
        with pytest.raises(ValueError, match="ascending"):
            windows_before(times, 3, 0.5)


def test_features_are_those_of_the_clips(tmp_path: Path) -> None:
    path = write(tmp_path, Coded("a.mp4"))
    times = np.array([0.0, 0.3, 0.4, 0.9])
    features, is_valid = encode_moments(MODEL, path, times, batch_size=3)
    assert is_valid.all() and features.shape == (4, 3)
    for time, feature in zip(times, features, strict=True):
        with open_video(path) as video:
            frames = video.read(np.clip(time - np.array([1.0, 0.5, 0.0]), 0, None)).pixels
        torch.testing.assert_close(feature, MODEL.tokens([frames])[0].mean(0))
    alone, _ = encode_moments(MODEL, path, times[:2], batch_size=1)
    torch.testing.assert_close(alone, features[:2])
    with pytest.raises(VideoError):
        encode_moments(MODEL, tmp_path / "gone.mp4", times)


def test_pictures_and_a_damaged_one(tmp_path: Path) -> None:
    for number in range(8):
        Image.fromarray(np.full((8, 8, 3), number * 30, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "5.png").write_bytes(b"damaged")
    features, is_valid = encode_moments(MODEL, tmp_path, np.arange(8) / 2, frames_fps=2.0)
    assert is_valid.tolist() == [True] * 5 + [False] * 3  # a clip is three pictures long
    assert features[5:].isnan().all()
    expected = np.array([np.mean([max(0, i - 2), max(0, i - 1), i]) for i in range(5)]) * 30 / 255
    np.testing.assert_allclose(features[:5, 0], expected, rtol=1e-5)
