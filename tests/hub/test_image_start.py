"""A video encoder that starts from an image encoder computes what that computes, as far as it has the parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.hub.frame_encoder import FrameEncoder
from surgrec.hub.image_start import Pixels, fill_from_image, said_of_the_rest
from surgrec.hub.initial import start_from
from surgrec.hub.keys import ForeignWeightsError
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from tests.core.test_imports import python
from tests.hub.build import PIXELS
from tests.hub.image_files import dinov2_official, dinov3_official, image_model, written

IMAGES: dict[str, dict[str, Any]] = {
    "vit_small_patch14_dinov2": {"img_size": 28},
    "vit_small_patch14_reg4_dinov2": {"img_size": 28},
    "vit_small_patch16_224": {"img_size": 32},
}
KINDS: list[dict[str, Any]] = [
    {"positions": "rope", "qkv_bias": "qkv"},
    {"positions": "sincos", "qkv_bias": "qv"},
    {"positions": "sincos_3d", "qkv_bias": "qkv", "tubelet": 4},
    {"positions": "sincos", "qkv_bias": "qkv", "tubelet": 1},
]


def image(name: str, **changes: Any) -> FrameEncoder:
    arguments = IMAGES.get(name, {}) | changes
    return FrameEncoder(image_model(name, **arguments), name=name, arguments=arguments)


def video_encoder(patch: int, **changes: Any) -> Encoder:
    torch.manual_seed(3)
    shape: dict[str, Any] = {"width": 48, "depth": 2, "num_heads": 2, "num_frames": 4, "init": "trunc_normal"}
    shape |= {"height_pixels": 2 * patch, "width_pixels": 2 * patch, "patch": patch}
    return Encoder(**shape | {"positions": "rope", "qkv_bias": "qkv"} | changes).eval()


def start(encoder: Encoder, source: FrameEncoder) -> str:
    return fill_from_image(encoder, source, family="vit", where="init=vit:w.pth").text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(IMAGES))
def test_a_still_clip_is_embedded_as_its_frame_is(name: str, kind: dict[str, Any]) -> None:
    source = image(name)
    encoder = video_encoder(source.patch, **kind)
    start(encoder, source)
    frame = torch.randn(2, 3, 2 * source.patch, 2 * source.patch)
    with torch.no_grad():
        embedded = encoder.embed(frame[:, :, None].expand(-1, -1, 4, -1, -1))
        expected = source.model.patch_embed(frame)
    steps = embedded.unflatten(1, (4 // encoder.tubelet, -1))
    torch.testing.assert_close(steps, expected[:, None].expand_as(steps), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(IMAGES))
def test_blocks_and_norm_are_those_of_the_image_model(name: str, kind: dict[str, Any]) -> None:
    """LayerScale folded, the bias of keys kept or let go: the same function of tokens where no position enters."""
    source = image(name)
    encoder = video_encoder(source.patch, **kind)
    start(encoder, source)
    tokens = torch.randn(2, 9, 48)
    with torch.no_grad():
        ours, theirs = tokens, tokens
        for block, other in zip(encoder.blocks, source.model.blocks, strict=True):
            ours, theirs = block(ours), other(theirs)
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(encoder.norm(ours), source.model.norm(theirs), rtol=1e-5, atol=1e-5)


def test_what_is_left_behind_is_said() -> None:
    source = image("vit_small_patch14_reg4_dinov2")
    text = start(video_encoder(14), source)
    assert "28 of 28 weights of the video encoder filled; 3 keys dropped" in text
    for reason in ("positions of the image grid, the run has its own", "class token", "registers"):
        assert reason in text


def weights_of(encoder: Encoder) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in encoder.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("vit_small_patch16_dinov3_qkvb", {}, "rotary positions of its own"),
        ("vit_giant_patch14_dinov2", {"img_size": 28}, r"blocks of another kind \(Block, GluMlp\)"),
        ("vit_base_patch16_clip_quickgelu_224", {"img_size": 32}, "another activation than GELU"),
    ],
)
def test_what_has_no_place_is_refused_as_a_start(name: str, changes: dict[str, Any], reason: str) -> None:
    source = image(name, **changes)
    encoder = video_encoder(source.patch)
    before = weights_of(encoder)
    with pytest.raises(ForeignWeightsError, match=rf"{reason}.*can be used for features, but not as a start"):
        start(encoder, source)
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_what_only_a_video_encoder_has_stays_as_drawn() -> None:
    source, encoder = image("vit_small_patch14_dinov2"), video_encoder(14, levels=(0, 1), has_modality_embedding=True)
    before = weights_of(encoder)
    assert "28 of 28" in start(encoder, source)
    after = weights_of(encoder)
    kept = {key for key in before if torch.equal(before[key], after[key])}
    assert kept == {"level_norms.0.weight", "level_norms.0.bias", "modality"}
    assert "stay as drawn" in said_of_the_rest(encoder, "vit")[0] and not said_of_the_rest(video_encoder(14), "vit")
    (said,) = said_of_the_rest(video_encoder(14, positions="sincos", qkv_bias="qv"), "vit")
    assert "biases of keys left out" in said


def run_parts(**changes: Any) -> tuple[Encoder, Predictor]:
    encoder = video_encoder(14, **changes).train()
    return encoder, Predictor(encoder_width=48, width=24, depth=1, num_heads=2, num_mask_tokens=1)


@pytest.mark.parametrize("family", ["dinov2", "vit"])
def test_a_run_starts_from_a_file_and_says_what_it_took(tmp_path: Path, family: str) -> None:
    model = image_model("vit_small_patch14_dinov2", img_size=28)
    path = written(dinov2_official(model), tmp_path / "w.pth")
    encoder, predictor = run_parts()
    state = torch.get_rng_state()
    said = start_from(encoder, predictor, f"{family}:{path}@heads:2", PIXELS)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(encoder.blocks[1].norm1.weight, model.blocks[1].norm1.weight)
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert said[0].endswith("1 key dropped: 1 mask token, only for pretraining")
    assert "positions of the image grid, the run has its own" in said[1]
    assert "starts at random" in said[-1]


@pytest.mark.parametrize(("family", "is_as_the_runs"), [("dinov2", True), ("vit", False)])
def test_what_pixels_were_normalised_with_is_compared_and_said(
    tmp_path: Path, family: str, is_as_the_runs: bool
) -> None:
    path = written(dinov2_official(image_model("vit_small_patch14_dinov2", img_size=28)), tmp_path / "w.pth")
    said = start_from(*run_parts(), f"{family}:{path}@heads:2", PIXELS)
    imagenet = "mean 0.485,0.456,0.406 and standard deviation 0.229,0.224,0.225"
    if is_as_the_runs:
        assert f"dinov2: pixels are normalised as in its own training, with {imagenet}" in said
        return
    assert (
        "vit: its pixels were normalised with mean 0.5,0.5,0.5 and standard deviation 0.5,0.5,0.5, this run's are with "
        f"{imagenet}; for its own values write augment.mean=[0.5,0.5,0.5] augment.std=[0.5,0.5,0.5]"
    ) in said
    own = Pixels((0.5,) * 3, (0.5,) * 3)
    assert any("as in its own training" in line for line in start_from(*run_parts(), f"vit:{path}@heads:2", own))


def test_a_run_that_cannot_start_is_told_so(tmp_path: Path) -> None:
    dinov3 = written(dinov3_official(image_model("vit_small_patch16_dinov3")), tmp_path / "v3.pth")
    dinov2 = written(dinov2_official(image_model("vit_small_patch14_dinov2", img_size=28)), tmp_path / "v2.pth")
    with pytest.raises(UserError, match=r"init=dinov3:.* can be used for features, but not as a start"):
        start_from(*run_parts(), f"dinov3:{dinov3}@heads:2", PIXELS)
    with pytest.raises(UserError, match=r"init=dinov2:.*does not fit this run's encoder: its num_heads is 4, not 2"):
        start_from(*run_parts(), f"dinov2:{dinov2}@heads:4", PIXELS)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(ForeignWeightsError, match=r"num_heads is 2, not 4, patch is 14, not 16; choose backbone"):
        start(video_encoder(16, num_heads=4), image("vit_small_patch14_dinov2"))
    with pytest.raises(ForeignWeightsError, match="hidden_width is 192, not 96"):
        start(video_encoder(14, mlp_ratio=2.0), image("vit_small_patch14_dinov2"))


def test_other_norms_and_unknown_weights_are_refused() -> None:
    with pytest.raises(ForeignWeightsError, match=r"norm_eps is 1e-06, not 1e-05"):
        start(video_encoder(14, norm_eps=1e-5), image("vit_small_patch14_dinov2"))
    with pytest.raises(ForeignWeightsError, match=r"unknown blocks\.0\.attn\.q_norm\.weight"):
        start(video_encoder(14), image("vit_small_patch14_dinov2", qk_norm=True))
    with pytest.raises(ForeignWeightsError, match=r"a bias of keys.*choose backbone\.qkv_bias=qkv"):
        start(video_encoder(14, qkv_bias="qv"), image("vit_small_patch14_dinov2"))


@pytest.mark.slow
def test_who_starts_from_no_image_model_does_not_wait_for_timm() -> None:
    loaded = python("import sys, surgrec.hub.initial, surgrec.hub.endofm; print(*sys.modules)").split()
    assert "torch" in loaded and not {"timm", "transformers", "torchvision"} & set(loaded)
