"""From a batch of raw clips to the video a step trains on: random resized crop, flip, normalisation, on the device.

In: uint8 clips of any sizes and their positions. Out: one float32 batch. It is its own file because augmentation is addressed
by position like everything else, so a clip looks the same in whatever batch, rank or attempt it appears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange

from surgrec.core.errors import UserError
from surgrec.core.rng import uniforms
from surgrec.data.clips import Place
from surgrec.data.mixture import Integers
from surgrec.data.preprocess import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    check_pixels,
    normalise,
    resize,
    resize_and_center_crop,
)
from surgrec.video.decode import Region

__all__ = ["AugmentSpec", "Boxes", "ClipAugment", "normalise", "resize_and_center_crop"]

NUM_TRIES = 10


@dataclass(frozen=True)
class AugmentSpec:
    """Random resized crop to `crop_pixels` square: its area is a share `scale` of the frame, its width over height `aspect`."""

    crop_pixels: int
    scale: tuple[float, float] = (0.3, 1.0)
    aspect: tuple[float, float] = (0.75, 1.35)
    flip_probability: float = 0.5
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_pixels(self.mean, self.std, self.interpolation)
        if self.crop_pixels < 1 or not 0 <= self.flip_probability <= 1:
            raise UserError(
                f"crop_pixels {self.crop_pixels} must be at least 1, flip_probability {self.flip_probability} from 0 to 1"
            )
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"augment.scale {self.scale} must be two shares of the frame, 0 < low <= high <= 1")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise UserError(f"augment.aspect {self.aspect} must be two ratios of width to height, 0 < low <= high")


@dataclass(frozen=True)
class Boxes:
    """One box and one flip a clip, each (n,), in pixels of the frames."""

    top: Integers
    left: Integers
    height: Integers
    width: Integers
    is_flipped: npt.NDArray[np.bool_]


class ClipAugment:
    """One transform a clip, the same for all its frames.

    The box follows Inception's random resized crop as V-JEPA 2 uses it (area uniform, aspect log-uniform, the first of ten
    tries that lies inside the frame, else the largest box of allowed aspect; Szegedy et al. 2015, arXiv 1409.4842). All
    ten tries are drawn at once, each from its own lane. Unlike V-JEPA's, the resizing is antialiased.
    """

    def __init__(self, spec: AugmentSpec, seed: int) -> None:
        self.spec = spec
        self.seed = seed

    def boxes(self, positions: npt.ArrayLike, heights: npt.ArrayLike, widths: npt.ArrayLike) -> Boxes:
        """The boxes of the clips at `positions` (n,), whose frames are `heights` by `widths` pixels, (n,) each."""
        frame_height, frame_width = np.asarray(heights, dtype=np.int64), np.asarray(widths, dtype=np.int64)
        draws = uniforms(self.seed, "augment", positions, 2 * NUM_TRIES + 3)
        height, width = self._sizes(draws[:, 3:], frame_height, frame_width)
        return Boxes(
            top=np.floor(draws[:, 0] * (frame_height - height + 1)).astype(np.int64),
            left=np.floor(draws[:, 1] * (frame_width - width + 1)).astype(np.int64),
            height=height,
            width=width,
            is_flipped=draws[:, 2] < self.spec.flip_probability,
        )

    def _sizes(self, draws: npt.NDArray[np.float64], height: Integers, width: Integers) -> tuple[Integers, Integers]:
        """Heights and widths (n,) of the boxes from uniform `draws` (n, 2 * NUM_TRIES)."""
        (low, high), (narrow, wide) = self.spec.scale, self.spec.aspect
        area = (height * width)[:, None] * (low + draws[:, :NUM_TRIES] * (high - low))
        aspect = narrow * (wide / narrow) ** draws[:, NUM_TRIES:]
        whole_width = np.minimum(width, np.rint(height * wide))
        whole_height = np.minimum(height, np.rint(width / narrow))
        tried_height = np.column_stack([np.rint(np.sqrt(area / aspect)), whole_height])
        tried_width = np.column_stack([np.rint(np.sqrt(area * aspect)), whole_width])
        fits = (tried_height <= height[:, None]) & (tried_width <= width[:, None])
        first = fits.argmax(axis=1)[:, None]  # the last column always fits
        chosen = (np.take_along_axis(sizes, first, axis=1)[:, 0] for sizes in (tried_height, tried_width))
        box_height, box_width = (np.maximum(sizes, 1).astype(np.int64) for sizes in chosen)
        return box_height, box_width

    def bounding(self, positions: npt.ArrayLike, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) of the smallest rectangle that holds the boxes of all samples at `positions` (n,), which show one clip
        whose frames are `height` by `width` pixels: more of it need not be decoded.
        """
        number = len(np.asarray(positions))
        boxes = self.boxes(positions, np.full(number, height), np.full(number, width))
        top, left = int(boxes.top.min()), int(boxes.left.min())
        bottom, right = int((boxes.top + boxes.height).max()), int((boxes.left + boxes.width).max())
        return top, left, bottom - top, right - left

    def of_clips(self, repeats: int) -> ClipBoxes:
        """The same by the position of a clip, which `repeats` samples show."""
        return ClipBoxes(self, repeats)

    def __call__(
        self,
        clips: Sequence[torch.Tensor],
        positions: npt.ArrayLike,
        device: torch.device | str = "cpu",
        places: Sequence[Place] | None = None,
    ) -> torch.Tensor:
        """Clips uint8 (T, H, W, 3) at `positions` (b,) to float32 (b, 3, T, S, S) on `device`, S = `crop_pixels`.

        `places` says where the pixels of each lie in the frames of its video, and they hold the box of the position; without it they are
        whole frames.
        """
        if places is None:
            places = [Place(clip.shape[1], clip.shape[2], 0, 0) for clip in clips]
        boxes = self.boxes(positions, *zip(*((at.frame_height, at.frame_width) for at in places), strict=True))
        size = self.spec.crop_pixels
        video = torch.empty((len(clips), 3, clips[0].shape[0], size, size), device=device)
        moved = torch.empty(0)
        for index, clip in enumerate(clips):
            if index == 0 or clip is not clips[index - 1]:  # samples of one clip follow one another
                moved = clip.to(device, non_blocking=True)
            top, left = int(boxes.top[index]) - places[index].top, int(boxes.left[index]) - places[index].left
            bottom, right = top + int(boxes.height[index]), left + int(boxes.width[index])
            if top < 0 or left < 0 or bottom > clip.shape[1] or right > clip.shape[2]:
                raise ValueError(f"the box of position {np.asarray(positions)[index]} is not among the pixels given")
            crop = moved[:, top:bottom, left:right]
            resized = resize(crop, size, size, self.spec.interpolation)
            resized = resized.flip(-1) if boxes.is_flipped[index] else resized
            video[index] = rearrange(resized, "t c h w -> c t h w")
        return normalise(video, self.spec.mean, self.spec.std)


@dataclass(frozen=True)
class ClipBoxes:
    """Which part of its frames a clip needs; a `Regions` of surgrec/data/clips.py, which travels to the loading processes."""

    augment: ClipAugment
    repeats: int

    def bounding(self, position: int, height: int, width: int) -> Region:
        """The smallest rectangle that holds the boxes of all samples of the clip at `position`, in frames of `height` by `width`."""
        samples = np.arange(position * self.repeats, (position + 1) * self.repeats)
        return Region(*self.augment.bounding(samples, height, width))
