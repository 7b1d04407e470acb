"""Frames to RGB and to size with FFmpeg's scaler.

In: decoded frames or RGB arrays. Out: uint8 RGB of the wanted size. It is its own file because all backends must shrink in
the same way: area averaging, which does not alias, so that the choice of decoder does not change what is learned.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from surgrec.video.decode import Frames, RegionOf, region_within

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
        """`frame` as (height, width, 3), rows apart; matrix and range are those that the frame declares, BT.601 limited by default.

        Not a copy: it is to be copied on, or a part of it.
        """
        is_same_size = (frame.height, frame.width) == (height_pixels, width_pixels)
        converted = self._reformatter.reformat(
            frame,
            width=width_pixels,
            height=height_pixels,
            format="rgb24",
            interpolation=_CONVERTING if is_same_size else _SHRINKING,
            threads=1,
        )
        plane = converted.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height_pixels, plane.line_size)
        return rows[:, : 3 * width_pixels].reshape(height_pixels, width_pixels, 3)


class Canvas:
    """Takes frames one by one, of each the rectangle that is wanted."""

    def __init__(self, num_frames: int, region_of: RegionOf | None) -> None:
        self._num_frames, self._region_of = num_frames, region_of
        self._seconds: list[float] = []

    def add(self, frame: npt.NDArray[np.uint8], seconds: float) -> None:
        """`frame`: (H, W, 3), the same size for all."""
        if not self._seconds:
            self._size = frame.shape[0], frame.shape[1]
            self._region = region_within(self._region_of, *self._size)
            self._pixels = np.empty((self._num_frames, self._region.height, self._region.width, 3), np.uint8)
        top, left, height, width = self._region
        self._pixels[len(self._seconds)] = frame[top : top + height, left : left + width]
        self._seconds.append(seconds)

    def repeat(self) -> None:
        """The frame added last once more."""
        self._pixels[len(self._seconds)] = self._pixels[len(self._seconds) - 1]
        self._seconds.append(self._seconds[-1])

    @property
    def frames(self) -> Frames:
        return Frames(self._pixels, np.array(self._seconds, np.float64), self._region, self._size)


def shrink(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """RGB frames (T, H, W, 3) at `size` (height, width); the same array where that is its size."""
    if pixels.shape[1:3] == size:
        return pixels
    converter = Converter()
    return np.stack([converter.rgb(VideoFrame.from_ndarray(frame, format="rgb24"), *size) for frame in pixels])
