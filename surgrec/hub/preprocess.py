"""What a released encoder expects to see, in time and in pixels.

In: uint8 frames of any size. Out: the encoder's video. It is its own file because it is the second thing that
`surgrec.load_model` hands out, and what `preprocessing.json` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.data.preprocess import Preprocess, PreprocessSpec

COLOUR = "RGB"
COLOUR_RANGE = "full"  # 0 to 255; decoding expands what a video declares as limited


@dataclass(frozen=True)
class ClipPreprocess:
    """A clip is `num_frames` frames, `frame_interval_seconds` apart, treated as `pixels` says; the result lies on `device`."""

    num_frames: int
    frame_interval_seconds: float
    pixels: PreprocessSpec
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.num_frames < 1 or not self.frame_interval_seconds > 0:
            raise UserError(f"a clip of {self.num_frames} frames every {self.frame_interval_seconds} seconds is empty")

    @property
    def window_seconds(self) -> float:
        """The time that a clip stands for: each frame for one interval."""
        return self.num_frames * self.frame_interval_seconds

    def __call__(self, frames: Tensor | npt.NDArray[np.uint8]) -> Tensor:
        """uint8 (T, H, W, 3) RGB, NumPy or torch, to float32 (1, 3, T, S, S). Raises `ValueError` for anything else.

        Frame by frame: what becomes of one does not depend on the others.
        """
        if isinstance(frames, np.ndarray):
            frames = np.ascontiguousarray(frames)  # torch cannot read a flipped view, such as BGR turned into RGB
        return Preprocess(self.pixels)(frames, self.device)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the device is no part of them."""
        clip = {"num_frames": self.num_frames, "frame_interval_seconds": self.frame_interval_seconds}
        return {**clip, "colour": COLOUR, "colour_range": COLOUR_RANGE, **self.pixels.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], device: str = "cpu") -> ClipPreprocess:
        """The inverse of `to_dict`. Raises `UserError` for a key too many or too few, or colours other than RGB of full range."""
        rest = dict(values)
        try:
            num_frames, interval = int(rest.pop("num_frames")), float(rest.pop("frame_interval_seconds"))
            # of full range were also those that did not say it
            colour, colour_range = rest.pop("colour"), rest.pop("colour_range", COLOUR_RANGE)
        except KeyError as error:
            raise UserError(f"preprocessing lacks the key {error}") from None
        if colour != COLOUR:
            raise UserError(f"preprocessing asks for colours in the order {colour!r}; this version knows {COLOUR} only")
        if colour_range != COLOUR_RANGE:
            raise UserError(
                f"preprocessing asks for the range {colour_range!r}; this version knows {COLOUR_RANGE!r} only"
            )
        return cls(num_frames, interval, PreprocessSpec.from_dict(rest), device)
