"""A clip of another size or length: the same weights, and positions as they were asked for."""

from __future__ import annotations

import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.core.grid import GeometryError
from surgrec.data.preprocess import PreprocessSpec
from surgrec.hub.geometry import fit_clip
from surgrec.hub.preprocess import ClipPreprocess
from tests.models.build import small_encoder

CLIP = {"num_frames": 4, "height_pixels": 32, "width_pixels": 32}
PREPROCESS = ClipPreprocess(4, 0.2, PreprocessSpec(40, 32))


def video(frames: int, pixels: int) -> torch.Tensor:
    return torch.randn(1, 3, frames, pixels, pixels, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["mae", "vjepa1", "jepa"])
def test_the_clip_of_training_changes_nothing(family: str) -> None:
    encoder = small_encoder(family, **CLIP)
    fitted = fit_clip(encoder, PREPROCESS, num_frames=4, pixels=32, positions="interpolate")
    assert fitted.encoder is encoder and fitted.preprocess is PREPROCESS and fitted.said == ""


@pytest.mark.parametrize("family", ["mae", "vjepa1"])
def test_added_positions_must_be_asked_for(family: str) -> None:
    encoder = small_encoder(family, **CLIP)
    with pytest.raises(
        UserError, match='2 x 4 x 4 tokens, and the clip has 2 x 6 x 6; ask for positions with "interpolate"'
    ):
        fit_clip(encoder, PREPROCESS, pixels=48)
    wanted = {
        "interpolate": small_encoder(family, **CLIP | {"num_frames": 8}, position_grid=(2, 4, 4)),
        "own": small_encoder(family, **CLIP | {"num_frames": 8}),
    }
    outputs = []
    for positions, expected in wanted.items():
        expected.load_state_dict(encoder.state_dict())
        fitted = fit_clip(encoder, PREPROCESS, num_frames=8, pixels=48, positions=positions)  # type: ignore[arg-type]
        outputs.append(fitted.encoder(video(8, 48)))
        assert torch.equal(outputs[-1], expected(video(8, 48)))
        assert "4 x 6 x 6 tokens" in fitted.said.replace("to 4 x 6 x 6", "4 x 6 x 6 tokens")
        assert fitted.encoder.embed.proj.weight.data_ptr() == encoder.embed.proj.weight.data_ptr()
        assert fitted.preprocess == ClipPreprocess(8, 0.2, PreprocessSpec(60, 48))
        assert fitted.preprocess(torch.zeros(8, 90, 120, 3, dtype=torch.uint8)).shape == (1, 3, 8, 48, 48)
    assert not torch.allclose(*outputs) and encoder.position_grid is None


def test_rotary_positions_fit_any_grid_and_can_be_stretched() -> None:
    encoder = small_encoder("jepa", **CLIP)
    own = fit_clip(encoder, PREPROCESS, num_frames=8, pixels=64)
    assert torch.equal(own.encoder(video(8, 64)), encoder(video(8, 64))) and "none resampled" in own.said
    stretched = fit_clip(encoder, PREPROCESS, num_frames=8, pixels=64, positions="interpolate")
    assert stretched.encoder.rope_grid == 4 and "8 rows and 8 columns, stretched to span the 4" in stretched.said
    assert not torch.allclose(stretched.encoder(video(8, 64)), own.encoder(video(8, 64)))
    assert torch.equal(stretched.encoder(video(8, 32)), encoder(video(8, 32))), "stretching to the trained size is none"
    wide = small_encoder("jepa", **CLIP | {"width_pixels": 48})
    with pytest.raises(UserError, match="4 rows and 6 columns cannot be interpolated"):
        fit_clip(wide, PREPROCESS, pixels=64, positions="interpolate")


def test_stretched_positions_stay_stretched() -> None:
    encoder = small_encoder("jepa", **CLIP, rope_grid=16, rope_style="interleaved")
    fitted = fit_clip(encoder, PREPROCESS, pixels=64)
    assert fitted.encoder.rope_grid == 16 and "stretched to 16" in fitted.said
    assert torch.equal(fitted.encoder(video(4, 64)), encoder(video(4, 64)))


def test_resampled_positions_are_resampled_from_where_they_came() -> None:
    encoder = small_encoder("mae", **CLIP, position_grid=(2, 2, 2))
    fitted = fit_clip(encoder, PREPROCESS, pixels=64, positions="interpolate")
    assert fitted.encoder.position_grid == (2, 2, 2) and "positions of 2 x 2 x 2 tokens" in fitted.said
    assert fit_clip(encoder, PREPROCESS, pixels=64, positions="own").encoder.position_grid is None


def test_mode_and_gradients_are_kept() -> None:
    encoder = small_encoder("mae", **CLIP).eval().requires_grad_(False)
    fitted = fit_clip(encoder, PREPROCESS, num_frames=2, positions="own").encoder
    assert not fitted.training and not any(parameter.requires_grad for parameter in fitted.parameters())


def test_what_cannot_be_is_a_sentence() -> None:
    encoder = small_encoder("mae", **CLIP)
    with pytest.raises(GeometryError, match="clip frames 3"):
        fit_clip(encoder, PREPROCESS, num_frames=3, positions="own")
    with pytest.raises(GeometryError, match="clip height 33"):
        fit_clip(encoder, PREPROCESS, pixels=33, positions="own")
    with pytest.raises(UserError, match="choose interpolate or own"):
        fit_clip(encoder, PREPROCESS, pixels=64, positions="nearest")  # type: ignore[arg-type]
