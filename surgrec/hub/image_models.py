"""Image encoders from files: the families `dinov2`, `dinov3` and `vit`.

In: a file in timm's layout or the authors' own, or the name of weights that timm fetches. Out: a `FrameEncoder` with every weight in
place, and the report of keys. It is its own file because here the shapes in a file become a timm model; what timm's own conversion
leaves out in silence is a rule or a listed drop here (`image_layouts`).

What shapes do not say is a fact of the family: norms and activations come from the timm model that serves as the base, heads from the
published sizes. Any other model is named: `PATH@model:vit_small_patch16_224`, or `PATH@heads:6` for a size that was never
published.

DINOv2 (Oquab et al. 2023, arXiv 2304.07193), registers (Darcet et al. 2023, arXiv 2309.16588), DINOv3 (Siméoni et al. 2025, arXiv
2508.10104), ViT (Dosovitskiy et al. 2021, arXiv 2010.11929).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgrec.hub.frame_encoder import FrameEncoder, ImagePositions
from surgrec.hub.image_layouts import image_layout, refuse_other_rotations
from surgrec.hub.keys import ForeignWeightsError, KeyReport, read_weights
from surgrec.hub.nested import find_weights, without_prefix
from surgrec.hub.pretrained import STEM, Source, count_of, heads_of, shape_at

IMAGE_FAMILIES = ("dinov2", "dinov3", "vit")
OPTIONS = ("heads", "model")
_HUB = "hub:"

# (width, depth) of the published sizes to their heads
_PUBLISHED: dict[str, dict[tuple[int, int], int]] = {
    "dinov2": {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1536, 40): 24},
    "dinov3": {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1280, 32): 20, (4096, 40): 32},
    "vit": {(192, 12): 3, (384, 12): 6, (768, 12): 12, (1024, 24): 16, (1280, 32): 16, (1408, 40): 16, (1664, 48): 16},
}


@dataclass(frozen=True)
class ImageModel:
    """An image encoder; what its pixels are normalised with, `mean` and `std` of values in [0, 1]; the report, None where timm loaded it.

    The mean and the standard deviation are those of timm's default weights for that model: a file does not say them.
    """

    encoder: FrameEncoder
    mean: tuple[float, ...]
    std: tuple[float, ...]
    report: KeyReport | None


def load_image_model(family: str, source: str, positions: ImagePositions = "own") -> ImageModel:
    """The image encoder that `source` names, in evaluation mode and without gradients.

    `source` is `PATH`, `PATH@model:TIMM_NAME` or `PATH@heads:N` for a file, or `hub:TIMM_NAME` for weights that timm fetches from the hub.
    `positions="interpolate"` allows frames of another size than the learned positions were trained on.
    Raises `ForeignWeightsError` for what cannot be read, naming the file and the keys.
    """
    if family not in IMAGE_FAMILIES:
        raise ForeignWeightsError(f"there is no image family {family!r}; choose one of {', '.join(IMAGE_FAMILIES)}")
    dynamic: dict[str, Any] = {"dynamic_img_size": True} if positions == "interpolate" else {}
    if source.startswith(_HUB):
        name = source.removeprefix(_HUB)
        return _finished(_create(name, dynamic, pretrained=True), name, dynamic, positions, None)
    given = Source.parse(source, OPTIONS)
    path, named = given.path, given.options.get("model")
    weights, prefix = find_weights(path)
    bare = without_prefix(weights, prefix)
    seen = _Seen(family, bare, path)
    name, arguments = (named, seen.image_size()) if named else seen.model(given.number("heads"))
    arguments |= dynamic
    layout = image_layout(bare, prefix)
    # a file of a few bytes can describe a model that fills the memory; only one whose every weight is in the file is built
    wanted = _create(name, arguments, device="meta").state_dict()
    state, report = read_weights(wanted, weights, layout, family=family, part="image encoder", where=str(path))
    model = _create(name, arguments)
    refuse_other_rotations(model, bare, path)
    model.load_state_dict(state, strict=True)
    return _finished(model, name, arguments, positions, report)


# -- from a file's shapes to a timm model


class _Seen:
    """What the shapes of some weights, under bare names, say about the model that they belong to."""

    def __init__(self, family: str, weights: Mapping[str, Tensor], path: Path) -> None:
        self.family, self.weights, self.path = family, weights, path

    def model(self, num_heads: int | None) -> tuple[str, dict[str, Any]]:
        """The base model's name in timm and the arguments that make it this one."""
        width, depth = self.shape("cls_token", 3)[-1], count_of(self.weights, "blocks")
        arguments: dict[str, Any] = {"embed_dim": width, "depth": depth, "patch_size": self.shape(STEM, 4)[-1]}
        arguments["num_heads"] = heads_of(_PUBLISHED[self.family], width, depth, num_heads, str(self.path))
        arguments |= self.image_size()
        if self.family == "dinov3":
            return "vit_base_patch16_dinov3", arguments | self._dinov3(width)
        return self._vit(width, arguments)

    def _vit(self, width: int, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        packed = self._has("blocks.0.mlp.w12.weight")
        hidden = self.shape("blocks.0.mlp.w12.weight" if packed else "blocks.0.mlp.fc1.weight", 2)[0]
        # timm's layout of a gated MLP has the usual names, but fc2 reads half of what fc1 writes
        is_gated = packed or self.shape("blocks.0.mlp.fc2.weight", 2)[1] * 2 == hidden
        arguments["mlp_ratio"] = _ratio(hidden, width)
        arguments["qkv_bias"] = self._has("blocks.0.attn.qkv.bias")
        arguments["init_values"] = 1e-5 if self._has("blocks.0.ls1.gamma") else None
        if registers := self._registers():
            arguments |= {"reg_tokens": registers, "no_embed_class": True}
        if self.family == "vit":
            return "vit_base_patch16_224", arguments
        return ("vit_giant_patch14_dinov2" if is_gated else "vit_base_patch14_dinov2"), arguments

    def _dinov3(self, width: int) -> dict[str, Any]:
        gate = next((key for key in ("blocks.0.mlp.w1.weight", "blocks.0.mlp.fc1_g.weight") if self._has(key)), None)
        hidden = self.shape(gate or "blocks.0.mlp.fc1.weight", 2)[0]
        gated = {"swiglu_mlp": True, "swiglu_align_to": 1} if gate else {}  # 1: the file's width is aligned already
        has_bias = self._has("blocks.0.attn.qkv.bias") or self._has("blocks.0.attn.q_bias")
        return {
            "mlp_ratio": _ratio(hidden, width),
            "qkv_bias": has_bias,
            "num_reg_tokens": self._registers(),
            **gated,
        }

    def image_size(self) -> dict[str, Any]:
        """The trained image size, from the table of learned positions; empty where there is none."""
        if not self._has("pos_embed"):
            return {}
        shape = self.shape("pos_embed", 3)
        cells = shape[1] - (0 if self._has("reg_token") else 1)
        side = math.isqrt(cells)
        if not side or side * side != cells:
            raise ForeignWeightsError(
                f"{self.path} has pos_embed of shape {shape}, which is no class token and a square of "
                f"patches; check the family {self.family}, or name the model: PATH@model:TIMM_NAME"
            )
        return {"img_size": side * self.shape(STEM, 4)[-1]}

    def shape(self, key: str, ndim: int) -> tuple[int, ...]:
        """The shape of a weight that every model of the family has, see `shape_at`."""
        return shape_at(self.weights, key, ndim, f"{self.path}, read as {self.family},")

    def _has(self, key: str) -> bool:
        return isinstance(self.weights.get(key), Tensor)

    def _registers(self) -> int:
        names = ("register_tokens", "storage_tokens", "reg_token")
        return next((self.shape(name, 3)[1] for name in names if self._has(name)), 0)


def _ratio(hidden: int, width: int) -> float:
    """timm takes `int(width * ratio)`; where rounding would lose a row, half a row more."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


# -- building


def _create(name: str, arguments: dict[str, Any], pretrained: bool = False, device: str = "cpu") -> nn.Module:
    import surgrec.core.torchvision_guard  # noqa: F401, I001  (before timm)
    import timm

    if not timm.is_model(name):
        raise ForeignWeightsError(f"timm has no model {name!r}; `timm.list_models('vit_*')` lists those it has")
    try:
        # first weights are drawn, and overwritten; a run's own draws must not notice
        with torch.random.fork_rng(devices=[]), torch.device(device):
            return timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except (TypeError, RuntimeError, ValueError, OSError, AssertionError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:200]
        what = "could not be fetched" if pretrained else "does not fit the file"
        raise ForeignWeightsError(f"the timm model {name} {what} ({type(error).__name__}: {reason})") from None


def _finished(
    model: nn.Module, name: str, arguments: dict[str, Any], positions: ImagePositions, report: KeyReport | None
) -> ImageModel:
    encoder = FrameEncoder(model, name=name, arguments=arguments, positions=positions)
    normalised: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return ImageModel(encoder.eval().requires_grad_(False), normalised["mean"], normalised["std"], report)
