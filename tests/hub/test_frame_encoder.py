"""A video read frame by frame is what timm makes of every frame, in the order of the token grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from surgrec.core.grid import GeometryError, TokenGrid
from surgrec.hub.frame_encoder import FrameEncoder
from surgrec.models.errors import ModelError
from tests.hub.image_files import image_model

DINOV2, REGISTERS, DINOV3 = "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3_qkvb"
MODELS: list[tuple[str, dict[str, Any], int]] = [
    (DINOV2, {"img_size": 28}, 1),
    (REGISTERS, {"img_size": 28}, 5),
    ("vit_giant_patch14_reg4_dinov2", {"img_size": 28}, 5),
    ("vit_small_patch16_224", {"img_size": 32}, 1),
    (DINOV3, {"img_size": 32}, 5),
    ("vit_small_plus_patch16_dinov3", {"img_size": 32}, 5),
]


def encoder_of(name: str, positions: Any = "own", **arguments: Any) -> FrameEncoder:
    return FrameEncoder(image_model(name, **arguments), name=name, arguments=arguments, positions=positions)


def video(frames: int, height: int, width: int) -> Tensor:
    return torch.randn(2, 3, frames, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "arguments", "num_prefix"), MODELS)
def test_tokens_are_those_of_timm_frame_by_frame(name: str, arguments: dict[str, Any], num_prefix: int) -> None:
    encoder, side = encoder_of(name, **arguments), arguments["img_size"]
    clip = video(3, side, side)
    with torch.no_grad():
        tokens, prefix = encoder.with_prefix(clip)
        expected = torch.stack([encoder.model.forward_features(frame) for frame in clip.unbind(2)], 1)
        assert torch.equal(tokens, encoder(clip))
    assert encoder.grid_of(clip) == TokenGrid(3, 2, 2) and (encoder.tubelet, encoder.width) == (1, 48)
    assert tokens.shape == (2, 12, 48) and prefix.shape == (2, 3, num_prefix, 48)
    torch.testing.assert_close(prefix, expected[:, :, :num_prefix], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(tokens, expected[:, :, num_prefix:].flatten(1, 2), rtol=1e-5, atol=1e-6)


def test_rows_come_before_columns() -> None:
    """A change in one patch alone moves the token of that patch most: the tokens lie as `TokenGrid` says."""
    encoder = encoder_of(DINOV2, img_size=42)
    clip = video(2, 42, 42)
    changed = clip.clone()
    changed[:, :, 1, 14:28, 28:] += 3.0  # time 1, row 1, column 2 of 3 x 3
    with torch.no_grad():
        moved = (encoder(changed) - encoder(clip)).abs().amax((0, 2))
    assert moved.argmax() == (1 * 3 + 1) * 3 + 2 and moved[:9].max() == 0


def test_rotary_positions_fit_frames_of_any_size() -> None:
    encoder, clip = encoder_of(DINOV3, img_size=32), video(2, 48, 16)
    with torch.no_grad():
        expected = encoder.model.forward_features(clip[:, :, 1])[:, 5:]
        torch.testing.assert_close(encoder(clip)[:, 3:], expected, rtol=1e-5, atol=1e-6)


def test_learned_positions_are_interpolated_only_on_request() -> None:
    clip = video(1, 42, 28)
    with pytest.raises(ModelError, match=r"positions for 28 x 28 pixels, the video has 42 x 28.*interpolate"):
        encoder_of(DINOV2, img_size=28)(clip)
    encoder = encoder_of(DINOV2, "interpolate", img_size=28, dynamic_img_size=True)
    same = encoder_of(DINOV2, img_size=28)
    with torch.no_grad():
        expected = encoder.model.forward_features(clip[:, :, 0])[:, 1:]
        torch.testing.assert_close(encoder(clip), expected, rtol=1e-5, atol=1e-6)
        small = video(1, 28, 28)
        torch.testing.assert_close(encoder(small), same(small), rtol=1e-5, atol=1e-6)


def test_a_dynamic_model_asks_too() -> None:
    """timm interpolates wherever a model was built for it; here only who asked gets it."""
    with pytest.raises(ModelError, match="interpolate"):
        encoder_of(DINOV2, img_size=28, dynamic_img_size=True)(video(1, 42, 42))


def test_what_cannot_be_read_is_refused() -> None:
    encoder = encoder_of(DINOV2, img_size=28)
    with pytest.raises(GeometryError, match="height 27"):
        encoder(video(1, 27, 28))
    with pytest.raises(ModelError, match="float videos"):
        encoder(video(1, 28, 28)[:, :2])
    with pytest.raises(ModelError, match="built for one size"):
        encoder_of(DINOV2, "interpolate", img_size=28)
    with pytest.raises(ModelError, match="no image positions 'nearest'"):
        encoder_of(DINOV2, "nearest", img_size=28)
    with pytest.raises(ModelError, match="no vision transformer"):
        FrameEncoder(torch.nn.Linear(2, 2), name="resnet50")


def test_the_architecture_builds_it_again() -> None:
    encoder = encoder_of(REGISTERS, img_size=28)
    kept = encoder.architecture
    assert kept == {"kind": "frames", "timm": REGISTERS, "arguments": {"img_size": 28}, "positions": "own"}
    again = image_model(kept["timm"], **kept["arguments"])
    assert again.state_dict().keys() == encoder.model.state_dict().keys()
