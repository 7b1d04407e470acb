"""Image encoders from files compute what the timm model computes whose weights were written, or nothing is loaded."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import surgrec.core.torchvision_guard  # noqa: F401  (before timm)

# isort: split
import timm

from surgrec.hub.image_models import _PUBLISHED, ImageModel, load_image_model
from surgrec.hub.keys import ForeignWeightsError
from surgrec.models.errors import ModelError
from tests.hub.image_files import converted_by_timm, dinov2_official, dinov3_official, image_model, shapes_of, written

SMALL_DINOV2 = ("vit_small_patch14_dinov2", {"img_size": 28})
REGISTERS = ("vit_small_patch14_reg4_dinov2", {"img_size": 28})
GATED_DINOV2 = ("vit_giant_patch14_reg4_dinov2", {"img_size": 28})
DINOV3_BIAS = ("vit_small_patch16_dinov3_qkvb", {})
DINOV3 = ("vit_small_patch16_dinov3", {})
GATED_DINOV3 = ("vit_small_plus_patch16_dinov3_qkvb", {})
VIT = ("vit_small_patch16_224", {"img_size": 32})

Official = Callable[[nn.Module], dict[str, Tensor]]


def timm_layout(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def same(loaded: ImageModel, model: nn.Module) -> bool:
    """Equal outputs on a video of two frames of the trained size."""
    encoder = loaded.encoder
    clip = torch.randn(1, 3, 2, encoder.height_pixels, encoder.width_pixels)
    with torch.no_grad():
        tokens, prefix = encoder.with_prefix(clip)
        theirs = torch.stack([model.forward_features(frame) for frame in clip.unbind(2)], 1)
    assert not encoder.training and not any(parameter.requires_grad for parameter in encoder.parameters())
    ours = torch.cat((prefix, tokens.unflatten(1, (2, -1))), 2)
    return torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "made", "layout", "num_dropped"),
    [
        ("dinov2", SMALL_DINOV2, dinov2_official, 1),
        ("dinov2", SMALL_DINOV2, timm_layout, 0),
        ("dinov2", REGISTERS, dinov2_official, 1),
        ("dinov2", REGISTERS, timm_layout, 0),
        ("dinov2", GATED_DINOV2, dinov2_official, 1),
        ("dinov2", GATED_DINOV2, timm_layout, 0),
        ("dinov3", DINOV3_BIAS, dinov3_official, 4),  # the mask token, the periods, a mask of the bias in two blocks
        ("dinov3", DINOV3_BIAS, timm_layout, 0),
        ("dinov3", DINOV3, dinov3_official, 2),
        ("dinov3", GATED_DINOV3, dinov3_official, 4),
        ("dinov3", GATED_DINOV3, timm_layout, 0),
        ("vit", VIT, timm_layout, 0),
    ],
)
def test_files_give_the_model_back(
    tmp_path: Path, family: str, made: tuple[str, dict[str, Any]], layout: Official, num_dropped: int
) -> None:
    """Only the number of heads is said; everything else is read from shapes."""
    model = image_model(made[0], **made[1])
    loaded = load_image_model(family, f"{written(layout(model), tmp_path / 'w.pth')}@heads:2")
    assert same(loaded, model)
    assert loaded.report is not None and loaded.report.is_complete and len(loaded.report.dropped) == num_dropped


@pytest.mark.parametrize(
    ("made", "layout"),
    [(made, dinov2_official) for made in (SMALL_DINOV2, REGISTERS, GATED_DINOV2)]
    + [(made, dinov3_official) for made in (DINOV3_BIAS, DINOV3, GATED_DINOV3)],
)
def test_the_file_writer_of_these_tests_agrees_with_timm(made: tuple[str, dict[str, Any]], layout: Official) -> None:
    """timm's own conversion of the authors' layout leads to the same weights: the tests do not only agree with themselves."""
    model = image_model(made[0], **made[1])
    converted = converted_by_timm(layout(model), model)
    assert converted.keys() == model.state_dict().keys()
    assert all(torch.allclose(converted[key], value, atol=1e-6) for key, value in model.state_dict().items())


def test_a_published_size_says_its_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_PUBLISHED["dinov2"], (48, 2), 2)
    model = image_model(*REGISTERS[:1], img_size=28)
    save_file(timm_layout(model), tmp_path / "w.safetensors")
    assert same(load_image_model("dinov2", str(tmp_path / "w.safetensors")), model)


def test_a_named_model(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    model = image_model(name, embed_dim=192, depth=12, num_heads=3, img_size=32, num_classes=4)
    loaded = load_image_model("vit", f"{written(timm_layout(model), tmp_path / 'w.pth')}@model:{name}")
    assert same(loaded, model)
    assert loaded.report is not None and set(loaded.report.dropped) == {"head.weight", "head.bias"}
    assert loaded.encoder.name == name and loaded.encoder.height_pixels == 32


PUBLISHED = {
    "dinov2": [f"vit_{size}_patch14_dinov2" for size in ("small", "base", "large", "giant")],
    "dinov3": [f"vit_{size}_patch16_dinov3" for size in ("small", "small_plus", "base", "large", "huge_plus", "7b")],
    "vit": [f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")]
    + [f"vit_{size}_patch14_224" for size in ("huge", "giant", "gigantic")],
}


@pytest.mark.parametrize("family", list(PUBLISHED))
def test_the_published_heads_are_those_of_timm(family: str) -> None:
    sizes = set()
    for name in PUBLISHED[family]:
        model = shapes_of(name)
        sizes.add((model.embed_dim, len(model.blocks)))
        assert _PUBLISHED[family][model.embed_dim, len(model.blocks)] == model.blocks[0].attn.num_heads
    assert sizes == _PUBLISHED[family].keys()


def test_pixels_are_normalised_as_timm_does(tmp_path: Path) -> None:
    """ViTs of the augreg recipe want another mean than DINO: a trap for who normalises all alike."""
    dino = written(timm_layout(image_model(SMALL_DINOV2[0], img_size=28)), tmp_path / "a.pth")
    vit = written(timm_layout(image_model(VIT[0], img_size=32)), tmp_path / "b.pth")
    assert load_image_model("dinov2", f"{dino}@heads:2").mean == (0.485, 0.456, 0.406)
    assert load_image_model("vit", f"{vit}@heads:2").mean == (0.5, 0.5, 0.5)
    dinov3 = written(timm_layout(image_model(DINOV3_BIAS[0])), tmp_path / "c.pth")
    loaded = load_image_model("dinov3", f"{dinov3}@heads:2")
    assert (loaded.mean, loaded.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_a_training_checkpoint_is_read_from_its_teacher(tmp_path: Path) -> None:
    model = image_model(*SMALL_DINOV2[:1], img_size=28)
    teacher = {f"backbone.{key}": value for key, value in dinov2_official(model).items()}
    teacher |= {"dino_head.mlp.0.weight": torch.ones(2), "ibot_head.last_layer.weight": torch.ones(2)}
    path = written({"teacher": teacher, "iteration": 3}, tmp_path / "w.pth")
    loaded = load_image_model("dinov2", f"{path}@heads:2")
    assert same(loaded, model) and loaded.report is not None
    assert set(loaded.report.dropped) == {
        "backbone.mask_token",
        "dino_head.mlp.0.weight",
        "ibot_head.last_layer.weight",
    }


def test_frames_of_another_size_on_request(tmp_path: Path) -> None:
    model = image_model(SMALL_DINOV2[0], img_size=28)
    source = f"{written(dinov2_official(model), tmp_path / 'w.pth')}@heads:2"
    clip = torch.randn(1, 3, 1, 42, 42)
    with pytest.raises(ModelError, match="positions for 28 x 28"):
        load_image_model("dinov2", source).encoder(clip)
    encoder = load_image_model("dinov2", source, "interpolate").encoder
    model.set_input_size((42, 42))
    with torch.no_grad():
        torch.testing.assert_close(encoder(clip), model.forward_features(clip[:, :, 0])[:, 1:], rtol=1e-5, atol=1e-5)


# -- refusals


def renamed(weights: dict[str, Tensor]) -> None:
    weights["blocks.1.norm2.scale"] = weights.pop("blocks.1.norm2.weight")


def missing(weights: dict[str, Tensor]) -> None:
    del weights["blocks.1.attn.proj.bias"]


def misshapen(weights: dict[str, Tensor]) -> None:
    weights["blocks.0.mlp.fc1.bias"] = weights["blocks.0.mlp.fc1.bias"][:-1]


def extra(weights: dict[str, Tensor]) -> None:
    weights["norm_pre.weight"] = torch.ones(48)


WRONG: list[tuple[Callable[[dict[str, Tensor]], None], str]] = [
    (renamed, r"lacks blocks\.1\.norm2\.weight and has the unknown blocks\.1\.norm2\.scale"),
    (missing, r"lacks blocks\.1\.attn\.proj\.bias"),
    (misshapen, r"misfit blocks\.0\.mlp\.fc1\.bias of shape \(191,\) instead of \(192,\)"),
    (extra, r"unknown norm_pre\.weight"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG)
@pytest.mark.parametrize(
    ("family", "made", "layout"),
    [("dinov2", REGISTERS, dinov2_official), ("dinov3", DINOV3_BIAS, dinov3_official), ("vit", VIT, timm_layout)],
)
def test_one_wrong_key_refuses_all(
    tmp_path: Path,
    family: str,
    made: tuple[str, dict[str, Any]],
    layout: Official,
    change: Callable[[dict[str, Tensor]], None],
    sentence: str,
) -> None:
    weights = layout(image_model(made[0], **made[1]))
    change(weights)
    with pytest.raises(ForeignWeightsError, match=sentence):
        load_image_model(family, f"{written(weights, tmp_path / 'w.pth')}@heads:2")


@pytest.mark.parametrize(
    ("key", "change", "sentence"),
    [
        ("rope_embed.periods", lambda value: value * 1.1, "other rotary periods"),
        ("blocks.1.attn.qkv.bias_mask", torch.ones_like, r"blocks\.1\.attn\.qkv\.bias_mask another mask"),
        ("blocks.0.ls2.gamma", lambda value: value[:5], r"misfit blocks\.0\.ls2\.gamma"),
    ],
)
def test_what_dinov3_computes_from_a_file_is_checked(
    tmp_path: Path, key: str, change: Callable[[Tensor], Tensor], sentence: str
) -> None:
    weights = dinov3_official(image_model(DINOV3_BIAS[0]))
    weights[key] = change(weights[key])
    with pytest.raises(ForeignWeightsError, match=sentence):
        load_image_model("dinov3", f"{written(weights, tmp_path / 'w.pth')}@heads:2")


def test_a_bias_of_keys_without_a_mask_is_refused(tmp_path: Path) -> None:
    weights = dinov3_official(image_model(DINOV3_BIAS[0]))
    weights = {key: value for key, value in weights.items() if not key.endswith("bias_mask")}
    assert same(
        load_image_model("dinov3", f"{written(weights, tmp_path / 'a.pth')}@heads:2"), image_model(DINOV3_BIAS[0])
    )
    weights["blocks.0.attn.qkv.bias"][50] = 1.0
    with pytest.raises(ForeignWeightsError, match=r"bias of the keys in blocks\.0\.attn\.qkv\.bias"):
        load_image_model("dinov3", f"{written(weights, tmp_path / 'b.pth')}@heads:2")


@pytest.mark.parametrize(
    ("family", "made", "layout", "keys"),
    [
        (
            "dinov2",
            REGISTERS,
            dinov2_official,
            ("cls_token", "pos_embed", "register_tokens", "blocks.0.mlp.fc2.weight"),
        ),
        ("dinov2", GATED_DINOV2, dinov2_official, ("blocks.0.mlp.w12.weight",)),
        ("dinov3", DINOV3_BIAS, dinov3_official, ("cls_token", "storage_tokens", "blocks.0.mlp.fc1.weight")),
        ("dinov3", GATED_DINOV3, dinov3_official, ("blocks.0.mlp.w1.weight",)),
        ("vit", VIT, timm_layout, ("patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight")),
    ],
)
def test_keys_that_give_shapes_are_named_whatever_their_shape(
    tmp_path: Path, family: str, made: tuple[str, dict[str, Any]], layout: Official, keys: tuple[str, ...]
) -> None:
    weights = layout(image_model(made[0], **made[1]))
    for key in keys:
        for tensor in (torch.tensor(1.0), weights[key].flatten(), weights[key][None], weights[key][:0]):
            path = written(weights | {key: tensor}, tmp_path / "w.pth")
            with pytest.raises(ForeignWeightsError, match=rf"{re.escape(key)} of shape"):
                load_image_model(family, f"{path}@heads:2")


def test_every_key_may_be_of_any_shape_and_none_is_a_traceback(tmp_path: Path) -> None:
    weights = dinov3_official(image_model(DINOV3_BIAS[0]))
    for key in [key for key in weights if "blocks.1." not in key and key != "mask_token"]:
        path = written(weights | {key: torch.tensor(1.0)}, tmp_path / "w.pth")
        with pytest.raises(ForeignWeightsError, match=re.escape(key)):
            load_image_model("dinov3", f"{path}@heads:2")


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (torch.zeros(()).expand(48, 3, 4096, 4096), "expanded from 4 bytes"),
        (torch.empty(48, 3, 16, 16, device="meta"), "without values"),
        (torch.full((48, 3, 16, 16), float("inf")), "not finite"),
    ],
)
def test_a_tensor_that_is_no_weight_builds_nothing(
    tmp_path: Path, tensor: Tensor, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel of 4096 x 4096 pixels in a file of some kilobytes would be a model of gigabytes."""
    weights = timm_layout(image_model(VIT[0], **VIT[1])) | {"patch_embed.proj.weight": tensor}
    path = written(weights, tmp_path / "w.pth")
    monkeypatch.setattr("timm.create_model", lambda *args, **more: pytest.fail("a model was built"))
    with pytest.raises(ForeignWeightsError, match=rf"has patch_embed\.proj\.weight .*{sentence}"):
        load_image_model("vit", f"{path}@heads:2")


def test_a_named_model_that_is_not_in_the_file_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create, devices = timm.create_model, []

    def noted(*args: Any, **more: Any) -> nn.Module:
        model: nn.Module = create(*args, **more)
        devices.append(next(model.parameters()).device.type)
        return model

    path = written(timm_layout(image_model(VIT[0], **VIT[1])), tmp_path / "w.pth")
    monkeypatch.setattr("timm.create_model", noted)
    with pytest.raises(ForeignWeightsError, match="lacks"):
        load_image_model("vit", f"{path}@model:vit_large_patch16_224")
    assert devices == ["meta"]


@pytest.mark.parametrize(
    "key", ["head.norm.weight", "dino_head.mlp.0.scale", "ibot_head.last_layer", "head_dist.weight"]
)
def test_what_only_looks_like_a_head_is_not_dropped(tmp_path: Path, key: str) -> None:
    teacher = {f"backbone.{k}": v for k, v in dinov2_official(image_model(*SMALL_DINOV2[:1], img_size=28)).items()}
    path = written({"teacher": teacher | {key: torch.ones(2)}}, tmp_path / "w.pth")
    with pytest.raises(ForeignWeightsError, match=f"unknown {re.escape(key)}"):
        load_image_model("dinov2", f"{path}@heads:2")


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_with_code_in_it_runs_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"cls_token": Payload(victim)}))
    with pytest.raises(ForeignWeightsError):
        load_image_model("dinov2", str(tmp_path / "w.pth"))
    assert not victim.exists()


def test_sources_that_make_no_sense(tmp_path: Path) -> None:
    weights = dinov2_official(image_model(SMALL_DINOV2[0], img_size=28))
    path = written(weights, tmp_path / "w.pth")
    for family, source, sentence in (
        ("dino", str(path), "no image family 'dino'"),
        ("dinov2", str(path), r"48 wide and 2 deep, which is no published size .*@heads:12"),
        ("dinov2", f"{path}@heads:two", "is no number of heads"),
        ("dinov2", f"{path}@model:no_such_vit", "timm has no model 'no_such_vit'"),
        ("dinov2", "hub:no_such_vit", "timm has no model 'no_such_vit'"),
        ("dinov2", f"{path}@model:vit_tiny_patch16_224", "misfit"),
        ("dinov2", str(tmp_path / "absent.pth"), "no file of weights"),
        ("vit", f"{written({'fc.weight': torch.ones(2)}, tmp_path / 'r.pth')}", r"lacks patch_embed\.proj\.weight"),
    ):
        with pytest.raises(ForeignWeightsError, match=sentence):
            load_image_model(family, source)
    del weights["pos_embed"]
    with pytest.raises(ForeignWeightsError, match="lacks pos_embed"):
        load_image_model("dinov2", f"{written(weights, tmp_path / 'v.pth')}@heads:2")


def test_weights_of_the_hub_are_fetched_by_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline: timm is asked for its pretrained weights, and its failure becomes one sentence."""
    model, asked = image_model(SMALL_DINOV2[0], img_size=28), []

    def create(name: str, **arguments: Any) -> nn.Module:
        asked.append((name, arguments))
        if len(asked) > 1:
            raise OSError("no connection")
        return model

    monkeypatch.setattr("timm.create_model", create)
    loaded = load_image_model("dinov2", f"hub:{SMALL_DINOV2[0]}")
    assert asked == [(SMALL_DINOV2[0], {"pretrained": True, "num_classes": 0})]
    assert loaded.report is None and same(loaded, model)
    with pytest.raises(ForeignWeightsError, match=r"could not be fetched \(OSError: no connection\)"):
        load_image_model("dinov2", f"hub:{SMALL_DINOV2[0]}")
