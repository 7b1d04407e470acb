"""Frames to RGB and to size with FFmpeg's scaler.

In: decoded frames or RGB arrays. Out: uint8 RGB of the wanted size. It is its own file because all backends must shrink in
the same way: area averaging, which does not alias, so that the choice of decoder does not change what is learned.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

# Without the two flags the scaler is a third faster on large frames, one or two of 255 levels too dark, and takes half of the
# colour's columns. At equal size FFmpeg has a converter of its own, ten times faster and within three levels: training
# copies are read with it.
_SHRINKING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_CONVERTING = Interpolation.AREA


class Converter:
    """Converts frame after frame; holds the scaler's tables."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def rgb(self, frame: VideoFrame, height_pixels: int, width_pixels: int) -> npt.NDArray[np.uint8]:
        """`frame` as (height, width, 3); matrix and range are those that the frame declares, BT.601 limited by default."""
        is_same_size = (frame.height, frame.width) == (height_pixels, width_pixels)
        converted = self._reformatter.reformat(
            frame,
            width=width_pixels,
            height=height_pixels,
            format="rgb24",
            interpolation=_CONVERTING if is_same_size else _SHRINKING,
            threads=1,
        )
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)


def shrink(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """RGB frames (T, H, W, 3) at `size` (height, width); the same array where that is its size."""
    if pixels.shape[1:3] == size:
        return pixels
    converter = Converter()
    return np.stack([converter.rgb(VideoFrame.from_ndarray(frame, format="rgb24"), *size) for frame in pixels])
