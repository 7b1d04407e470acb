"""Endo-FM's checkpoint layout leads to transformers' TimeSformer and gives its outputs; as a start it gives its spatial half."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)
from surgrec.core.grid import TokenGrid
from surgrec.hub.endofm import load_endofm, start_from_endofm
from surgrec.hub.keys import ForeignWeightsError
from surgrec.models.encoder import Encoder
from surgrec.models.errors import ModelError
from tests.hub.build import PIXELS
from tests.hub.image_files import written

transformers = pytest.importorskip("transformers")

# from transformers' names to the authors', as timm's ViT and TimeSformer have them
NAMES = (
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.time_embeddings", "time_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("encoder.layer", "blocks"),
    ("temporal_attention.attention.qkv", "temporal_attn.qkv"),
    ("temporal_attention.output.dense", "temporal_attn.proj"),
    ("temporal_layernorm", "temporal_norm1"),
    ("temporal_dense", "temporal_fc"),
    ("attention.attention.qkv", "attn.qkv"),
    ("attention.output.dense", "attn.proj"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("layernorm", "norm"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
)


def timesformer() -> nn.Module:
    """Random everywhere; 4 frames of 3 x 3 patches, so that no two axes can be taken for each other."""
    generator = torch.Generator().manual_seed(5)
    config = transformers.TimesformerConfig(
        image_size=24,
        patch_size=8,
        num_frames=4,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
    )
    model = transformers.TimesformerModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def authors_names(model: nn.Module, prefix: str = "backbone.") -> dict[str, Tensor]:
    weights = {}
    for key, value in model.state_dict().items():
        for ours, theirs in NAMES:
            key = key.replace(ours, theirs)
        weights[prefix + key] = value
    head = {"head.mlp.0.weight": torch.ones(3), "head.last_layer.weight_g": torch.ones(3)}
    return weights | ({} if prefix == "" else head)


def source(weights: dict[str, Any], folder: Path) -> str:
    return f"{written(weights, folder / 'endo_fm.pth')}@heads:2"


@pytest.mark.parametrize(("nest", "prefix"), [("teacher", "backbone."), (None, ""), ("teacher", "module.backbone.")])
def test_the_outputs_are_those_of_transformers(tmp_path: Path, nest: str | None, prefix: str) -> None:
    model = timesformer()
    weights: dict[str, Any] = authors_names(model, prefix)
    loaded = load_endofm(source({nest: weights, "epoch": 3} if nest else weights, tmp_path))
    clip = torch.randn(2, 3, 4, 24, 24)
    with torch.no_grad():
        tokens, of_class = loaded.encoder.with_class_token(clip)
        states = model(pixel_values=clip.transpose(1, 2)).last_hidden_state
        assert torch.equal(tokens, loaded.encoder(clip))
    assert torch.equal(of_class, states[:, 0])
    assert torch.equal(tokens, rearrange(states[:, 1:], "b (h w t) d -> b (t h w) d", t=4, h=3))
    assert loaded.encoder.grid_of(clip) == TokenGrid(4, 3, 3)
    assert len(loaded.report.dropped) == (2 if prefix else 0) and loaded.report.is_complete
    assert not loaded.encoder.training and not any(part.requires_grad for part in loaded.encoder.parameters())


def test_tokens_lie_as_the_grid_says(tmp_path: Path) -> None:
    """Positions that are all of one place or one time mark the tokens of that place and time."""
    model = timesformer()
    weights = authors_names(model)
    loaded = load_endofm(source({"teacher": weights}, tmp_path))
    clip = torch.randn(1, 3, 4, 24, 24)
    changed = clip.clone()
    changed[:, :, 2, 8:16, 16:] += 5.0  # time 2, row 1, column 2
    with torch.no_grad():
        moved = (loaded.encoder(changed) - loaded.encoder(clip)).abs().amax((0, 2))
    assert moved.argmax() == (2 * 3 + 1) * 3 + 2


def test_clips_of_another_size_are_refused(tmp_path: Path) -> None:
    encoder = load_endofm(source({"teacher": authors_names(timesformer())}, tmp_path)).encoder
    for shape in ((1, 3, 8, 24, 24), (1, 3, 4, 32, 32), (3, 4, 24, 24)):
        with pytest.raises(ModelError, match=r"reads float videos \(B, 3, 4, 24, 24\)"):
            encoder(torch.zeros(shape))


def renamed(weights: dict[str, Tensor]) -> None:
    weights["backbone.blocks.1.temporal_fc1.weight"] = weights.pop("backbone.blocks.1.temporal_fc.weight")


def missing(weights: dict[str, Tensor]) -> None:
    del weights["backbone.blocks.1.norm2.bias"]


def misshapen(weights: dict[str, Tensor]) -> None:
    weights["backbone.norm.weight"] = weights["backbone.norm.weight"][1:]


def extra(weights: dict[str, Tensor]) -> None:
    weights["backbone.norm3.weight"] = torch.ones(2)


WRONG: list[tuple[Callable[[dict[str, Tensor]], None], str]] = [
    (
        renamed,
        r"lacks backbone\.blocks\.1\.temporal_fc\.weight and has the unknown backbone\.blocks\.1\.temporal_fc1\.weight",
    ),
    (missing, r"lacks backbone\.blocks\.1\.norm2\.bias"),
    (misshapen, r"misfit backbone\.norm\.weight of shape \(47,\) instead of \(48,\)"),
    (extra, r"unknown backbone\.norm3\.weight"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG)
def test_one_wrong_key_refuses_all(tmp_path: Path, change: Callable[[dict[str, Tensor]], None], sentence: str) -> None:
    weights = authors_names(timesformer())
    change(weights)
    with pytest.raises(ForeignWeightsError, match=sentence):
        load_endofm(source({"teacher": weights}, tmp_path))


@pytest.mark.parametrize(
    "key",
    [
        "patch_embed.proj.weight",
        "pos_embed",
        "time_embed",
        "blocks.0.mlp.fc1.weight",
        "blocks.0.temporal_attn.qkv.weight",
    ],
)
def test_keys_that_give_shapes_are_named_whatever_their_shape(tmp_path: Path, key: str) -> None:
    weights = authors_names(timesformer())
    own = weights[f"backbone.{key}"]
    for tensor in (torch.tensor(1.0), own.flatten(), own[None], own[:0], torch.zeros(()).expand(own.shape)):
        path = source({"teacher": weights | {f"backbone.{key}": tensor}}, tmp_path)
        with pytest.raises(ForeignWeightsError, match=rf"{re.escape(key)} of shape"):
            load_endofm(path)


def test_positions_that_are_no_square_are_refused(tmp_path: Path) -> None:
    weights = authors_names(timesformer())
    for count in (1, 8):
        changed = weights | {"backbone.pos_embed": torch.zeros(1, count, 48)}
        with pytest.raises(ForeignWeightsError, match="no class token and a square of patches"):
            load_endofm(source({"teacher": changed}, tmp_path))


@pytest.mark.parametrize("key", ["head.norm.weight", "head.mlp.bias", "backbone.blocks.0.temporal_attn.gate.weight"])
def test_what_only_looks_like_a_drop_is_not_dropped(tmp_path: Path, key: str) -> None:
    weights = authors_names(timesformer()) | {key: torch.ones(2)}
    with pytest.raises(ForeignWeightsError, match=f"unknown {re.escape(key)}"):
        load_endofm(source({"teacher": weights}, tmp_path))
    with pytest.raises(ForeignWeightsError, match=f"unknown {re.escape(key)}"):
        start_from_endofm(video_encoder(), source({"teacher": weights}, tmp_path), PIXELS)


def test_sources_that_make_no_sense(tmp_path: Path) -> None:
    weights = authors_names(timesformer())
    good = source({"teacher": weights}, tmp_path)
    for text, sentence in (
        (good.removesuffix("@heads:2"), r"48 wide and 2 deep, which is no published size \(768 x 12\).*@heads:12"),
        (good.replace("heads:2", "model:vit"), "no option @model:"),
        (str(tmp_path / "absent.pth"), "no file of weights"),
    ):
        with pytest.raises(ForeignWeightsError, match=sentence):
            load_endofm(text)
    del weights["backbone.time_embed"]
    with pytest.raises(ForeignWeightsError, match="is no TimeSformer: it lacks time_embed"):
        load_endofm(source({"teacher": weights}, tmp_path))


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "transformers":
            raise ImportError(name)
        return there(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ForeignWeightsError, match=r"pip install 'surgrec\[parity\]'"):
        load_endofm(source({"teacher": authors_names(timesformer())}, tmp_path))


# -- as a start


def video_encoder(**changes: Any) -> Encoder:
    shape: dict[str, Any] = {"width": 48, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "num_frames": 4, "patch": 8}
    shape |= {"height_pixels": 24, "width_pixels": 24, "positions": "sincos", "qkv_bias": "qkv", "init": "xavier"}
    return Encoder(**shape | changes).eval()


def test_a_start_is_the_spatial_half_and_says_so(tmp_path: Path) -> None:
    model, encoder = timesformer(), video_encoder()
    said, pixels = start_from_endofm(encoder, source({"teacher": authors_names(model)}, tmp_path), PIXELS)
    assert (
        "were normalised with mean 0.45,0.45,0.45 and standard deviation 0.225,0.225,0.225, this run's are with"
        in pixels
    )
    for left_behind in ("attention over time alone", "positions in time", "class token", "projection head"):
        assert left_behind in said
    frame, tokens = torch.randn(1, 3, 24, 24), torch.randn(1, 5, 48)
    layer: Any = model.get_submodule("encoder.layer.1")
    with torch.no_grad():
        embedded = encoder.embed(frame[:, :, None].expand(-1, -1, 4, -1, -1))
        expected = model.get_submodule("embeddings.patch_embeddings")(frame[:, None])[0]
        torch.testing.assert_close(embedded, expected.repeat(1, 2, 1), rtol=1e-5, atol=1e-5)
        mixed = tokens + layer.attention(layer.layernorm_before(tokens))[0]
        expected = mixed + layer.output(layer.intermediate(layer.layernorm_after(mixed)))
        torch.testing.assert_close(encoder.blocks[1](tokens), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(encoder.norm(tokens), model.get_submodule("layernorm")(tokens))


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    weights = authors_names(timesformer())
    with pytest.raises(ForeignWeightsError, match="patch is 8, not 16"):
        start_from_endofm(
            video_encoder(patch=16, height_pixels=32, width_pixels=32), source({"teacher": weights}, tmp_path), PIXELS
        )
    extra(weights)
    with pytest.raises(ForeignWeightsError, match=r"unknown backbone\.norm3\.weight"):
        start_from_endofm(video_encoder(), source({"teacher": weights}, tmp_path), PIXELS)
