"""Encoders from files as published, through their own forward pass: features are their own library's, every key is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.features.baseline import load_any
from surgrec.features.foreign import KINDS, ColourHistogram
from surgrec.hub.initial import FAMILIES

pytest.importorskip("transformers")

from tests.hub import official_files as official
from tests.hub.image_files import dinov2_official, image_model, written
from tests.hub.test_endofm import authors_names, source, timesformer
from tests.hub.test_official_files import CASE, make
from tests.models.oracle import oracle, videomae_config, vjepa2_config

CLIP = np.random.default_rng(0).integers(0, 256, (4, 40, 52, 3), dtype=np.uint8)


def prepared(model: Any) -> Tensor:
    """The clip as the encoder of the other library takes it: (1, T, C, H, W)."""
    video: Tensor = model.preprocess(CLIP[: model.preprocess.num_frames])
    return video.transpose(1, 2)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_every_published_family_can_be_measured() -> None:
    assert set(FAMILIES) - {"surgrec"} <= set(KINDS)


def test_videomae_equals_transformers(tmp_path: Path) -> None:
    theirs = oracle("VideoMAEModel", videomae_config(CASE, use_mean_pooling=True))
    path = official.mae_file(tmp_path / "w.pth", official.videomae_finetuned(theirs), "module")
    model = load_any(f"videomae:{path}@heads:3@frames:4@crop:32", "cpu")
    assert (model.preprocess.num_frames, model.preprocess.frame_interval_seconds) == (4, 0.16)
    with torch.no_grad():
        close(model.tokens([CLIP, CLIP[::-1]])[:1], theirs(prepared(model)).last_hidden_state)
    assert any("weights of the encoder filled" in line and "of the classifier" in line for line in model.said)
    with pytest.raises(UserError, match="know clips of 4 frames"):
        load_any(f"videomae:{path}@heads:3@frames:4@crop:32", "cpu", num_frames=8)


def test_vjepa2_equals_transformers(tmp_path: Path) -> None:
    theirs = oracle("VJEPA2Model", vjepa2_config(CASE))
    encoder, predictor = official.vjepa2_parts(theirs)
    path = official.jepa_file(tmp_path / "w.pt", encoder, predictor, target=encoder)
    name = f"vjepa2:{path}@heads:3@head_heads:2@frames:4@crop:32"
    model = load_any(name, "cpu")
    assert model.preprocess.window_seconds == 1.0 and model.preprocess.pixels.short_side_pixels == 36
    with torch.no_grad():
        close(model.tokens([CLIP]), theirs(prepared(model), skip_predictor=True).last_hidden_state)
    assert load_any(name, "cpu", num_frames=2, frame_interval_seconds=0.5).preprocess.window_seconds == 1.0


def test_endofm_equals_transformers(tmp_path: Path) -> None:
    theirs = timesformer()
    model = load_any(f"endofm:{source({'teacher': authors_names(theirs)}, tmp_path)}", "cpu")
    assert model.preprocess.pixels.mean == (0.45, 0.45, 0.45)
    with torch.no_grad():
        states = theirs(pixel_values=prepared(model)).last_hidden_state[:, 1:]
    ours = model.tokens([CLIP])  # time step by time step; theirs is place by place
    close(ours, states.unflatten(1, (9, 4)).transpose(1, 2).flatten(1, 2))
    assert "2 keys dropped" in model.said[0]


@pytest.mark.parametrize("crop", [None, 42])
def test_dinov2_equals_timm(crop: int | None, tmp_path: Path) -> None:
    theirs = image_model("vit_small_patch14_dinov2", img_size=28, dynamic_img_size=True)
    path = written(dinov2_official(theirs), tmp_path / "w.pth")
    option = f"@crop:{crop}" if crop else ""
    model = load_any(f"dinov2:{path}@heads:2{option}", "cpu", num_frames=4)
    with torch.no_grad():
        expected = theirs.forward_features(prepared(model)[0])[:, 1:]  # type: ignore[operator]
    close(model.tokens([CLIP]), expected.flatten(0, 1)[None])
    assert "1 key dropped" in model.said[0] and model.preprocess.pixels.crop_pixels == (crop or 28)


@pytest.mark.parametrize(
    ("family", "name", "crop_pct"),
    [
        ("dinov2", "vit_small_patch14_dinov2", 1.0),
        ("vit", "vit_tiny_patch16_224", 0.9),
        ("dinov3", "vit_small_patch16_dinov3", 1.0),
    ],
)
def test_pictures_are_prepared_as_timm_prepares_them(family: str, name: str, crop_pct: float, tmp_path: Path) -> None:
    from timm.data import resolve_model_data_config

    theirs = image_model(name, **({} if family == "dinov3" else {"img_size": 28 if family == "dinov2" else 32}))
    path = written(theirs.state_dict(), tmp_path / "w.pth")
    heads = getattr(theirs.blocks[0].attn, "num_heads", 0)  # type: ignore[index, union-attr]
    model = load_any(f"{family}:{path}@heads:{heads}", "cpu", num_frames=1)
    facts, pixels = resolve_model_data_config(theirs), model.preprocess.pixels
    assert facts["interpolation"] == pixels.interpolation == "bicubic"
    assert (pixels.mean, pixels.std) == (facts["mean"], facts["std"])
    assert pixels.short_side_pixels == int(pixels.crop_pixels / crop_pct)
    with torch.no_grad():
        expected = theirs.forward_features(prepared(model)[0])[:, theirs.num_prefix_tokens :]  # type: ignore[operator, misc]
    close(model.tokens([CLIP[:1]]), expected)


@pytest.mark.parametrize("name", ["vjepa", "surgrec-jepa", "surgrec-mae", "vjepa2.1"])
def test_the_other_families_are_whole_and_say_so(name: str, tmp_path: Path) -> None:
    file = make(name)
    path = file.write(tmp_path / "w.pt", file.parts)
    crop = "" if name in ("vjepa", "surgrec-jepa") else "@frames:4@crop:32"
    model = load_any(f"{name}:{path}{file.options}{crop}", "cpu")
    tokens = model.tokens([CLIP[: model.preprocess.num_frames]])
    assert tokens.shape[-1] == model.encoder.width and torch.isfinite(tokens).all()
    assert any(line.startswith(f"{name}: ") and " of the encoder" in line for line in model.said)
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    broken = file.parts[next(iter(file.parts))]
    del broken[sorted(broken)[-1]]
    path = file.write(tmp_path / "w.pt", file.parts)
    with pytest.raises(UserError):
        load_any(f"{name}:{path}{file.options}{crop}", "cpu")


def test_random_weights_are_those_of_the_seed_and_nothing_else_changes(release: Path) -> None:
    trained = load_any(str(release), "cpu")
    first, again, other = (load_any(f"random:{release}{seed}", "cpu") for seed in ("", "@seed:0", "@seed:1"))
    assert len({trained.sha256, first.sha256, other.sha256}) == 3 and again.sha256 == first.sha256
    assert first.preprocess == trained.preprocess and first.name == f"random weights of {trained.name}"
    assert first.encoder.architecture == trained.encoder.architecture  # type: ignore[operator]
    torch.testing.assert_close(first.tokens([CLIP]), again.tokens([CLIP]))
    state = torch.get_rng_state()
    load_any(f"random:{release}", "cpu")
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(UserError, match="can be drawn anew"):
        load_any("random:trivial:histogram", "cpu")


def test_a_histogram_counts_colours() -> None:
    model = load_any("trivial:histogram", "cpu", num_frames=2, frame_interval_seconds=0.5)
    frames = np.zeros((2, 112, 112, 3), dtype=np.uint8)
    frames[1, :28] = (255, 100, 0)  # a quarter of the second frame: red 3, green 1, blue 0
    tokens = model.tokens([frames])
    assert tokens.shape == (1, 2, 64) and tokens[0, 0, 0] == 1.0
    assert tokens[0, 1, 3 * 16 + 1 * 4] == 0.25 and tokens[0, 1, 0] == 0.75
    video = torch.rand(2, 3, 5, 8, 8)
    shares = ColourHistogram(5)(video)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 5))
    turned = ColourHistogram(5)(video.flip(-1))
    assert torch.equal(shares, turned)
    with pytest.raises(UserError, match="trivial:histogram"):
        load_any("trivial:colours", "cpu")


def test_a_clip_of_another_length_is_a_mistake(release: Path) -> None:
    with pytest.raises(ValueError, match="reads clips of 4 frames"):
        load_any(str(release), "cpu").tokens([CLIP[:2]])
