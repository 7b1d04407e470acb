"""Image encoders from files: the families `dinov2`, `dinov3` and `vit`.

In: a file in timm's layout or the authors' own, or the name of weights that timm fetches. Out: a `FrameEncoder` with every weight in
place, and the report of keys. It is its own file because here the shapes in a file become a timm model; what timm's own conversion
leaves out in silence is here a rule or a listed drop.

What shapes do not say is a fact of the family: norms and activations by the timm model that is taken as the base, heads by the
published sizes. Any other model is named: `vit_small_patch16_224`, or `heads:6` for a size that was never published.

DINOv2 (Oquab et al. 2023, arXiv 2304.07193), registers (Darcet et al. 2023, arXiv 2309.16588), DINOv3 (Siméoni et al. 2025, arXiv
2508.10104), ViT (Dosovitskiy et al. 2021, arXiv 2010.11929).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgrec.hub.frame_encoder import FrameEncoder, ImagePositions
from surgrec.hub.keys import ForeignWeightsError, KeyReport, Layout, OneWay, Rule, read_weights
from surgrec.hub.weights_file import read_weights_file

IMAGE_FAMILIES = ("dinov2", "dinov3", "vit")
_HUB = "hub:"
_HEADS = "heads:"
_NESTS = ("teacher", "model", "state_dict")  # where a checkpoint that holds more than weights keeps them
_PREFIXES = ("", "module.", "backbone.", "module.backbone.")
_STEM = "patch_embed.proj.weight"

# (width, depth) of the published sizes to their heads
_PUBLISHED: dict[str, dict[tuple[int, int], int]] = {
    "dinov2": {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1536, 40): 24},
    "dinov3": {(384, 12): 6, (768, 12): 12, (1024, 24): 16, (1280, 32): 20, (4096, 40): 32},
    "vit": {(192, 12): 3, (384, 12): 6, (768, 12): 12, (1024, 24): 16, (1280, 32): 16, (1408, 40): 16, (1664, 48): 16},
}
_DROPS = (
    ("mask_token", "mask token, only for pretraining"),
    (r"head\.(?:weight|bias)", "of the classifier"),
)
_DINO_HEADS = ((r"(?:module\.)?(?:dino_head|ibot_head|head)\..*", "of a head that is only for pretraining"),)


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

    `source` is `PATH`, `PATH@TIMM_NAME` or `PATH@heads:N` for a file, or `hub:TIMM_NAME` for weights that timm fetches from the hub.
    `positions="interpolate"` allows frames of another size than the learned positions were trained on.
    Raises `ForeignWeightsError` for what cannot be read, naming the file and the keys.
    """
    if family not in IMAGE_FAMILIES:
        raise ForeignWeightsError(f"there is no image family {family!r}; choose one of {', '.join(IMAGE_FAMILIES)}")
    if source.startswith(_HUB):
        return _fetched(source.removeprefix(_HUB), positions)
    path, name, num_heads = _parts(source)
    weights, prefix = _weights(path)
    base, arguments = (name, _image_size(weights)) if name else _described(family, weights, num_heads, path)
    model = _create(base, arguments, positions)
    _check_rope(model, weights, path)
    layout = _layout(weights, tuple(weights["pos_embed"].shape) if "pos_embed" in weights else None)
    # the prefix was cut off to look at shapes; the keys are accounted for as they stand in the file
    found = {prefix + key if key not in _foreign(weights) else key: value for key, value in weights.items()}
    state, report = read_weights(model.state_dict(), found, layout, family=family, part="image encoder", where=str(path))
    model.load_state_dict(state, strict=True)
    return _finished(model, base, arguments, positions, report)
