"""Through timm an encoder computes what it computes here, bit for bit, and has what timm's users expect of a model."""

from __future__ import annotations

import surgrec.core.torchvision_guard  # before timm

# isort: split
from pathlib import Path

import pytest
import timm
import timm.optim
import torch
from torch import nn

import surgrec
import surgrec.hub.timm_models as ours
from surgrec.core.errors import UserError
from surgrec.hub.load import load_release
from surgrec.models.encoder import Encoder
from surgrec.models.sizes import SIZES
from tests.hub.build import small_release, written

NANO_CLIP = {"num_frames": 4, "img_size": 32}


@pytest.fixture(scope="module", params=["mae", "jepa", "dense jepa"])
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("release") / "small", request.param)


def video(seed: int = 0, frames: int = 4, pixels: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, frames, pixels, pixels, generator=torch.Generator().manual_seed(seed))


def test_features_are_those_of_the_release_bit_for_bit(release: Path) -> None:
    encoder, preprocess = surgrec.load_model(release)
    model = timm.create_model("surgrec_vit", release=release).eval()
    expected = encoder(video())
    assert torch.equal(model.forward_features(video()), expected)
    assert torch.equal(model(video()), expected.mean(dim=1))
    assert model.preprocess == preprocess
    with torch.no_grad():
        assert torch.equal(model.forward_features(video()), expected)


def test_intermediates_are_the_outputs_of_the_blocks(release: Path) -> None:
    encoder, _ = surgrec.load_model(release)
    outputs: list[torch.Tensor] = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    last = encoder(video())
    model = timm.create_model("surgrec_vit", release=release)
    tokens, inner = model.forward_intermediates(video(), output_fmt="NLC")
    assert torch.equal(tokens, last) and len(inner) == 2 and all(map(torch.equal, inner, outputs))
    _, maps = model.forward_intermediates(video(), indices=[0, -1])
    assert all(torch.equal(one.flatten(2).transpose(1, 2), two) for one, two in zip(maps, outputs, strict=True))
    assert maps[0].shape == (2, 48, 2, 4, 4)
    (first,) = model.forward_intermediates(
        video(), indices=[0], stop_early=True, intermediates_only=True, output_fmt="NLC"
    )
    assert torch.equal(first, outputs[0])
    (normed,) = model.forward_intermediates(video(), indices=1, norm=True, intermediates_only=True, output_fmt="NLC")
    assert torch.equal(normed, last)
    with pytest.raises(UserError, match="choose NCHW or NLC"):
        model.forward_intermediates(video(), output_fmt="NHWC")


def test_features_only(release: Path) -> None:
    whole = timm.create_model("surgrec_vit", release=release)
    model = timm.create_model("surgrec_vit", release=release, features_only=True, out_indices=[0])
    (found,) = model(video())
    assert torch.equal(found, whole.forward_intermediates(video(), indices=[0], intermediates_only=True)[0])
    assert (model.feature_info.channels(), model.feature_info.reduction()) == ([48], [8])
    assert len(model.model.encoder.blocks) == 1, "what is not wanted is not kept"
    assert len(timm.create_model("surgrec_vit", release=release, features_only=True, out_indices=2)(video())) == 2


def test_a_classifier_trains_and_the_encoder_under_it(release: Path) -> None:
    model = timm.create_model("surgrec_vit", release=release, num_classes=7)
    out = model(video())
    assert out.shape == (2, 7) and torch.equal(
        model.head(model.forward_head(model.forward_features(video()), pre_logits=True)), out
    )
    model.set_grad_checkpointing()
    out.logsumexp(1).sum().backward()
    assert model.training and model.encoder.embed.proj.weight.grad.abs().sum() > 0
    groups = timm.optim.param_groups_layer_decay(model, layer_decay=0.5)
    scales = {group["lr_scale"] for group in groups}
    assert scales == {1.0, 0.5, 0.25, 0.125}, "classifier and last norm, two blocks, stem"
    model.reset_classifier(0, "")
    assert model(video()).shape == (2, 32, 48) and isinstance(model.get_classifier(), nn.Identity)


def test_timm_finds_size_and_normalisation(release: Path) -> None:
    model = timm.create_model("surgrec_vit", release=release)
    config = timm.data.resolve_model_data_config(model)
    spec = model.preprocess.pixels
    assert (config["input_size"], config["mean"], config["std"]) == ((3, 32, 32), spec.mean, spec.std)
    assert config["crop_pct"] == pytest.approx(0.8) and config["interpolation"] == "bilinear"


def test_names_are_sizes_and_families() -> None:
    assert set(timm.list_models("surgrec_*")) == set(ours.NAMES) == {
        "surgrec_vit", *(f"surgrec_vit_{size}_{family}" for size in SIZES for family in ("mae", "jepa"))
    }  # fmt: skip
    with torch.device("meta"):
        base, tiny = timm.create_model("surgrec_vit_base_mae"), timm.create_model("surgrec_vit_tiny_jepa")
    assert base.encoder.architecture | {"init": "xavier"} == Encoder(
        width=768, depth=12, num_heads=12, num_frames=16, height_pixels=224, width_pixels=224,
        positions="sincos", qkv_bias="qv", init="xavier",
    ).architecture  # fmt: skip
    assert (tiny.encoder.positions, tiny.encoder.width, tiny.encoder.height_pixels) == ("rope", 192, 256)


def test_a_release_has_one_name(tmp_path: Path) -> None:
    encoder = timm.create_model("surgrec_vit_nano_mae", **NANO_CLIP).encoder
    base = small_release("mae")
    folder = written(tmp_path / "nano", "mae", encoder=encoder, head=None)
    model = timm.create_model("surgrec_vit_nano_mae", release=folder)
    assert torch.equal(model.encoder.embed.proj.weight, encoder.embed.proj.weight) and base.encoder is not encoder
    for name in ("surgrec_vit_nano_jepa", "surgrec_vit_tiny_mae"):
        with pytest.raises(UserError, match="is a surgrec_vit_nano_mae, not a surgrec_vit_"):
            timm.create_model(name, release=folder)


def test_another_clip_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = written(tmp_path / "mae", "mae")
    with pytest.raises(UserError, match='"interpolate"'):
        timm.create_model("surgrec_vit", release=folder, img_size=48)
    assert not caplog.messages
    model = timm.create_model("surgrec_vit", release=folder, img_size=48, num_frames=8, positions="interpolate")
    assert caplog.messages == ["positions of 2 x 4 x 4 tokens, resampled to 4 x 6 x 6"]
    assert model(video(frames=8, pixels=48)).shape == (2, 48) and model.preprocess.pixels.crop_pixels == 48


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pretrained": True}, "say which: release="),
        ({"drop_path": 0.1}, "has no option drop_path"),
        ({"in_chans": 1}, "reads 3 channels, not 1"),
        ({"img_size": (32, 64)}, "not square"),
        ({"global_pool": "token"}, "no global_pool 'token'"),
    ],
)
def test_what_cannot_be_is_a_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        timm.create_model("surgrec_vit_nano_mae", **(NANO_CLIP | options))
    with pytest.raises(UserError, match="whatever a release holds"):
        timm.create_model("surgrec_vit")


def test_images_are_refused() -> None:
    model = timm.create_model("surgrec_vit_nano_mae", **NANO_CLIP)
    with pytest.raises(UserError, match="clips, not images"):
        model(torch.zeros(1, 3, 32, 32))


def test_weights_of_a_release_stay_those_of_the_release(release: Path) -> None:
    """Training the model leaves what another caller loads alone."""
    model = timm.create_model("surgrec_vit", release=release)
    with torch.no_grad():
        model.encoder.embed.proj.weight.zero_()
    assert load_release(release).encoder.embed.proj.weight.abs().sum() > 0
