"""Encoders from files as their authors published them, through their own forward pass and with their own clip; and those that know nothing.

In: `FAMILY:PATH`, with options after the path. Out: a `FrozenModel`. It is its own file because a file of weights says nothing of the clip
that it wants to see: frames, time between them, pixels and their normalisation are facts of a family, and stand here with their source.

    videomae, surgrec-mae, vjepa, surgrec-jepa, vjepa2, vjepa2.1    read as docs/foreign_weights.md says, every key accounted for
    dinov2, dinov3, vit                                             frame by frame; @crop:224 for other pixels than the trained ones
    endofm                                                          whole clips, through transformers
    random:MODEL                                                    the same architecture and clip, first weights instead; @seed:N
    trivial:histogram                                               no network: colours of each frame
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from surgrec.core.errors import UserError
from surgrec.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec
from surgrec.features import baseline
from surgrec.features.baseline import INTERVAL_SECONDS, NUM_FRAMES, FrozenModel, weights_sha256
from surgrec.hub.endofm import load_endofm
from surgrec.hub.image_models import IMAGE_FAMILIES, load_image_model
from surgrec.hub.initial import VIDEO_FAMILIES, read_pretrained
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder

# Seconds from frame to frame, as each was trained: every fourth frame at 25 (VideoMAE: Tong et al. 2022; SurgRec's input is 16 x 4 frames
# of no stated rate) or at 30 frames a second (V-JEPA: Bardes et al. 2024), 4 a second (V-JEPA 2: Assran et al. 2025), every eighth at 30
# (Endo-FM: DATA.SAMPLING_RATE and DATA.TARGET_FPS of the authors' utils/defaults.py).
_INTERVALS = {
    "videomae": 0.16,
    "surgrec-mae": 0.16,
    "surgrec-jepa": 0.16,
    "vjepa": 4 / 30,
    "vjepa2": 0.25,
    "vjepa2.1": 0.25,
    "endofm": 8 / 30,
}
# V-JEPA's evaluations shrink to 256 / 224 of the crop, the others to the crop itself
_WIDER = ("vjepa", "vjepa2", "vjepa2.1")
_VIDEO = tuple(family for family in VIDEO_FAMILIES if family in _INTERVALS)
KINDS = (*_VIDEO, *IMAGE_FAMILIES, "endofm", "random", "trivial")
_OPTION = r"@{}:(\d+)"
_HISTOGRAM_PIXELS = 112


def load_foreign(
    kind: str, source: str, device: str, num_frames: int | None = None, interval: float | None = None
) -> FrozenModel:
    """The model of one of `KINDS`, on `device`, in evaluation mode. Raises `UserError` for one that cannot be had.

    `num_frames`: of a family that leaves it open (images, rotary positions); others have their own.
    """
    match kind:
        case "random":
            return _random(source, device, num_frames, interval)
        case "trivial":
            return _trivial(source, device, num_frames, interval)
        case "endofm":
            return _endofm(source, device, num_frames, interval)
    if kind in IMAGE_FAMILIES:
        return _image(kind, source, device, num_frames, interval)
    found = read_pretrained(kind, source)
    encoder = found.encoder.to(device).eval().requires_grad_(False)
    if num_frames not in (None, encoder.num_frames) and encoder.positions != "rope":
        raise UserError(f"{kind} weights know clips of {encoder.num_frames} frames; leave --frames out")
    crop = encoder.height_pixels
    short = crop * 256 // 224 if kind in _WIDER else crop
    pixels = PreprocessSpec(short, crop, IMAGENET_MEAN, IMAGENET_STD)
    preprocess = ClipPreprocess(num_frames or encoder.num_frames, interval or _INTERVALS[kind], pixels, device)
    return FrozenModel(encoder, preprocess, kind, weights_sha256(encoder), found.said)


def _image(family: str, source: str, device: str, num_frames: int | None, interval: float | None) -> FrozenModel:
    source, crop = _taken(source, "crop")
    model = load_image_model(family, source, "own" if crop is None else "interpolate")
    encoder = model.encoder.to(device)
    size = crop or encoder.height_pixels
    red, green, blue = model.mean
    # as timm prepares pictures for the same model: how much of the frame, and how it is made smaller
    own: Mapping[str, Any] = encoder.model.pretrained_cfg  # type: ignore[assignment]
    short = math.floor(size / float(own.get("crop_pct") or 1.0))
    interpolation = "bicubic" if own.get("interpolation") == "bicubic" else "bilinear"
    pixels = PreprocessSpec(short, size, (red, green, blue), (model.std[0], model.std[1], model.std[2]), interpolation)
    preprocess = ClipPreprocess(num_frames or NUM_FRAMES, interval or INTERVAL_SECONDS, pixels, device)
    said = (model.report.text(),) if model.report else (f"{family}: all weights filled by timm",)
    name = f"{family}, frame by frame" + (f", {crop} pixels" if crop else "")
    return FrozenModel(encoder, preprocess, name, weights_sha256(encoder), said)


def _endofm(source: str, device: str, num_frames: int | None, interval: float | None) -> FrozenModel:
    model = load_endofm(source)
    encoder = model.encoder.to(device)
    if num_frames not in (None, encoder.num_frames):
        raise UserError(f"endofm weights know clips of {encoder.num_frames} frames; leave --frames out")
    size = encoder.height_pixels
    pixels = PreprocessSpec(size, size, (0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    preprocess = ClipPreprocess(encoder.num_frames, interval or _INTERVALS["endofm"], pixels, device)
    return FrozenModel(encoder, preprocess, "endofm", weights_sha256(encoder), (model.report.text(),))


def _random(source: str, device: str, num_frames: int | None, interval: float | None) -> FrozenModel:
    """First weights as a run would draw them, by the scheme of the family."""
    source, seed = _taken(source, "seed")
    model = baseline.load_any(source, device, num_frames, interval)
    if not isinstance(model.encoder, Encoder):
        raise UserError(f"random:{source}: only releases and video families can be drawn anew; name one of those")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        encoder = Encoder(**model.encoder.architecture)
    encoder = encoder.to(device).eval().requires_grad_(False)
    said = (f"random: all {len(encoder.state_dict())} weights drawn anew, seed {seed or 0}",)
    return FrozenModel(encoder, model.preprocess, f"random weights of {model.name}", weights_sha256(encoder), said)


def _trivial(name: str, device: str, num_frames: int | None, interval: float | None) -> FrozenModel:
    if name != "histogram":
        raise UserError(f"there is no trivial:{name}; write trivial:histogram")
    encoder = ColourHistogram(num_frames or NUM_FRAMES)
    pixels = PreprocessSpec(_HISTOGRAM_PIXELS, _HISTOGRAM_PIXELS, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    preprocess = ClipPreprocess(encoder.clip_tokens[0], interval or INTERVAL_SECONDS, pixels, device)
    return FrozenModel(encoder, preprocess, "colour histogram", weights_sha256(encoder), ("trivial: no weights",))


class ColourHistogram(nn.Module):
    """A video (B, 3, T, H, W) of values in [0, 1] to tokens (B, T, 64): the share of each frame's pixels in 4 x 4 x 4 boxes of colour."""

    bins, width, tubelet, num_prefix_tokens = 4, 64, 1, 0

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.clip_tokens = num_frames, 1  # time steps, tokens of each

    def forward(self, video: Tensor) -> Tensor:
        level = (video * self.bins).long().clamp(0, self.bins - 1)
        red, green, blue = rearrange(level, "b c t h w -> c b t (h w)")
        box = (red * self.bins + green) * self.bins + blue
        counts = torch.zeros(*box.shape[:2], self.width, device=video.device)
        counts.scatter_add_(2, box, torch.ones_like(box, dtype=counts.dtype))
        return counts / box.shape[2]


def _taken(source: str, option: str) -> tuple[str, int | None]:
    """`source` without `@option:N`, and N; None where it is not there."""
    match = re.search(_OPTION.format(option), source)
    if match is None:
        return source, None
    return source[: match.start()] + source[match.end() :], int(match[1])
