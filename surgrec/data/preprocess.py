"""From frames to a model's input, without chance: shrink, cut out the middle, normalise.

In: uint8 frames. Out: float32 video. It is its own file because releases carry its `PreprocessSpec`, and features of one video
must be the same for ever; `augment` shares its resizing and normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch.nn.functional import interpolate

from surgrec.core.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic")


def resize(frames: torch.Tensor, height: int, width: int, interpolation: str) -> torch.Tensor:
    """uint8 (T, H, W, 3) to float32 (T, 3, height, width), 0 to 255, antialiased where it shrinks."""
    # a third faster than channels side by side, the same values
    planes = rearrange(frames, "t h w c -> t c h w").contiguous().float()
    resized = interpolate(planes, size=(height, width), mode=interpolation, align_corners=False, antialias=True)
    return resized.clamp_(0, 255) if interpolation == "bicubic" else resized  # bicubic overshoots at edges


def normalise(video: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """float32 (..., C, T, H, W), 0 to 255, to (video / 255 - mean) / std, in place.

    Every element goes through the same three operations, each correctly rounded, so the result does not depend on the batch.
    """
    channel_mean = torch.tensor(mean, dtype=video.dtype, device=video.device)[:, None, None, None]
    channel_std = torch.tensor(std, dtype=video.dtype, device=video.device)[:, None, None, None]
    return video.div_(255).sub_(channel_mean).div_(channel_std)


def check_pixels(mean: tuple[float, ...], std: tuple[float, ...], interpolation: str) -> None:
    """Raise `UserError` where the values that both specs share are unusable."""
    if len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
        raise UserError(f"mean {mean} and std {std} must be three numbers each, for red, green, blue; std above 0")
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"interpolation {interpolation!r} is unknown; use one of {', '.join(INTERPOLATIONS)}")


def resize_and_center_crop(
    frames: torch.Tensor, short_side_pixels: int, crop_pixels: int, interpolation: str = "bilinear"
) -> torch.Tensor:
    """uint8 (T, H, W, 3) to float32 (T, 3, crop, crop), 0 to 255: the short side to `short_side_pixels`, then the middle.

    The long side is cut to whole pixels, as torchvision and transformers do; rounding would show their users other pixels.
    """
    height, width = frames.shape[1:3]
    short = min(height, width)
    height, width = height * short_side_pixels // short, width * short_side_pixels // short
    top, left = (height - crop_pixels) // 2, (width - crop_pixels) // 2
    return resize(frames, height, width, interpolation)[..., top : top + crop_pixels, left : left + crop_pixels]


@dataclass(frozen=True)
class PreprocessSpec:
    """What a model expects of its pixels; `preprocessing.json` of a release holds these fields beside the clip's."""

    short_side_pixels: int
    crop_pixels: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_pixels(self.mean, self.std, self.interpolation)
        if not 1 <= self.crop_pixels <= self.short_side_pixels:
            raise UserError(
                f"a crop of {self.crop_pixels} pixels does not lie in frames of short side {self.short_side_pixels}; "
                "lower the crop or raise the short side"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PreprocessSpec:
        """The inverse of `to_dict`. Raises `UserError` for a key too many or too few."""
        wanted = {field.name for field in fields(cls)}
        if set(values) != wanted:
            raise UserError(f"preprocessing has the keys {sorted(values)} but needs exactly {sorted(wanted)}")
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**plain)


class Preprocess:
    """uint8 frames to the video that a model takes; deterministic."""

    def __init__(self, spec: PreprocessSpec) -> None:
        self.spec = spec

    def __call__(
        self, frames: torch.Tensor | npt.NDArray[np.uint8], device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """uint8 (T, H, W, 3) RGB to float32 (1, 3, T, S, S) on `device`, S = `crop_pixels`."""
        pixels = torch.as_tensor(frames)
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), not {pixels.dtype} {tuple(pixels.shape)}")
        spec = self.spec
        pixels = pixels.to(device, non_blocking=True)
        cropped = resize_and_center_crop(pixels, spec.short_side_pixels, spec.crop_pixels, spec.interpolation)
        video = rearrange(cropped, "t c h w -> 1 c t h w").contiguous()
        return normalise(video, spec.mean, spec.std)
