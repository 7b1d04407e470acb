"""Frames at moments in time: one interface, several backends.

In: a path and times in seconds. Out: `Frames`, upright RGB. It is its own file because callers name a backend and see
nothing of it; the backends live in `pyav_reader`, `torchcodec_reader` and `decord_reader`, packs of JPEGs in `pack`.

What every backend promises:

* Time zero is the presentation time of the first frame. The frame of time t is the one on display at t: the last one whose
  time is at most t (with a tolerance for rounded timestamps, `tolerance_seconds`); after the end, the last frame. So
  a 1 fps copy, a variable-rate copy and the original of a video give the same moments.
* Rotation metadata is applied. Colours are converted with the matrix and range that the stream declares (BT.601 limited
  where it declares none, as FFmpeg does). Non-square pixels are not stretched, interlaced frames not split.
* A frame that is damaged raises `VideoError` and is never returned.
* Where a rectangle of the frames is asked for, its pixels are bitwise those of the whole frames.
* What `read` returns does not depend on what was read before from the same open reader, once `restart` was called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError

BACKENDS = ("pyav", "torchcodec", "decord")
CUDA_BACKEND = "torchcodec_cuda"  # NVDEC; frames differ from the others' by its own rounding of colours
PACK_SUFFIX = ".frames"


class Region(NamedTuple):
    """A rectangle of frames, in pixels of the frames as they are returned: upright and shrunk."""

    top: int
    left: int
    height: int
    width: int


RegionOf = Callable[[int, int], Region]
"""What is wanted of frames of a height and a width."""


@dataclass(frozen=True)
class Frames:
    """Frames of a video, or one rectangle of all of them.

    `pixels`: uint8 (T, H, W, 3), RGB, upright. `times_seconds`: float64 (T,), when the returned frames are first shown.
    `region`: the rectangle that `pixels` are of frames of `frame_size` (height, width); a reader always says both.
    """

    pixels: npt.NDArray[np.uint8]
    times_seconds: npt.NDArray[np.float64]
    region: Region | None = None
    frame_size: tuple[int, int] | None = None


class VideoReader(Protocol):
    """An open video. Use it in a `with` block: one that is not closed leaks the decoder's memory."""

    def read(self, times_seconds: npt.ArrayLike, region_of: RegionOf | None = None) -> Frames:
        """The frames on display at `times_seconds`, (T,) ascending; of each only what `region_of` wants. Raises `VideoError`."""
        ...

    def restart(self) -> bool:
        """Forget what was read. False where the next read might still depend on it: then open the video anew instead."""
        ...

    @property
    def held_bytes(self) -> int:
        """About how much memory the open reader holds."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_video(
    path: Path, backend: str = "pyav", short_side_pixels: int | None = None, num_threads: int = 1
) -> VideoReader:
    """Open a video for reading by time; a pack of JPEGs (`surgrec.video.pack`) whatever the backend.

    `short_side_pixels` shrinks frames (never enlarges) so that the shorter side has that many pixels, keeping the aspect.
    Raises `VideoError` for a file that cannot be read, `UserError` for a backend that does not exist or is not installed.
    """
    if Path(path).suffix == PACK_SUFFIX:
        from surgrec.video.pack import PackReader

        return PackReader(path, short_side_pixels)
    match backend:
        case "pyav":
            from surgrec.video.copy_reader import open_copy
            from surgrec.video.pyav_reader import PyavReader

            return open_copy(path, short_side_pixels) or PyavReader(path, short_side_pixels, num_threads)
        case "torchcodec" | "torchcodec_cuda":
            from surgrec.video.torchcodec_reader import TorchcodecReader

            device = "cuda" if backend == CUDA_BACKEND else "cpu"
            return TorchcodecReader(path, short_side_pixels, num_threads, device)
        case "decord":
            from surgrec.video.decord_reader import DecordReader

            return DecordReader(path, short_side_pixels, num_threads)
    raise UserError(f"unknown video decoder {backend!r}; choose one of {', '.join((*BACKENDS, CUDA_BACKEND))}")


def ascending(times_seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`times_seconds` as a float64 (T,) array. Raises `ValueError` unless they are finite, ascending and at least one."""
    times = np.asarray(times_seconds, dtype=np.float64)
    if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError("times must be a non-empty one-dimensional array of ascending finite seconds")
    return times


def tolerance_seconds(tick_seconds: float) -> float:
    """How much later than asked a frame may start: half a tick of a fine clock, because containers round times to ticks.

    Matroska's tick is 1 ms, so that a 30 fps frame due at 66.667 ms carries 67 ms. AVI's tick is a whole frame: the half of
    it must not count, hence the bound.
    """
    return min(tick_seconds / 2, 0.0005) + 1e-6


def on_ticks(seconds: npt.NDArray[np.float64], zero_seconds: float, tick_seconds: float) -> npt.NDArray[np.float64]:
    """`seconds` after `zero_seconds`, both of a library's rounding, as whole numbers of ticks: then all backends say the same."""
    return (np.rint(seconds / tick_seconds) - np.rint(zero_seconds / tick_seconds)) * tick_seconds


def region_within(region_of: RegionOf | None, height: int, width: int) -> Region:
    """The rectangle wanted of frames of that size. Raises `ValueError` for one that does not lie in them."""
    if region_of is None:
        return Region(0, 0, height, width)
    region = Region(*(int(value) for value in region_of(height, width)))
    if min(region) < 0 or not (0 < region.height <= height - region.top and 0 < region.width <= width - region.left):
        raise ValueError(f"{region} does not lie in frames of {height} x {width} pixels")
    return region


def framed(pixels: npt.NDArray[np.uint8], times_seconds: npt.NDArray[np.float64], region_of: RegionOf | None) -> Frames:
    """`Frames` from whole frames (T, H, W, 3), for decoders that know no rectangles."""
    height, width = pixels.shape[1:3]
    region = region_within(region_of, height, width)
    bottom, right = region.top + region.height, region.left + region.width
    cut = np.ascontiguousarray(pixels[:, region.top : bottom, region.left : right])
    return Frames(cut, times_seconds, region, (height, width))


def shrunk_size(height_pixels: int, width_pixels: int, short_side_pixels: int | None) -> tuple[int, int]:
    """(height, width) after shrinking the short side to `short_side_pixels`; the long side is rounded to an even number."""
    short = min(height_pixels, width_pixels)
    if short_side_pixels is None or short <= short_side_pixels:
        return height_pixels, width_pixels
    long = 2 * round(max(height_pixels, width_pixels) * short_side_pixels / short / 2)
    long = max(long, short_side_pixels)
    return (short_side_pixels, long) if height_pixels <= width_pixels else (long, short_side_pixels)
