"""Reading frames by time with decord: an optional backend behind the same interface.

In: a path, then times. Out: `Frames`. It is its own file because decord is an optional extra with limits of its own: it
carries an FFmpeg of 2021, lists all packets at open, and may abort the process on a corrupt file. It finds frames by counting
from a keyframe and is wrong wherever the first frame out of the decoder is not that keyframe; `misreads` refuses those files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.video.closing import Closing
from surgrec.video.container import open_container, time_base
from surgrec.video.decode import Frames, RegionOf, ascending, framed, on_ticks, shrunk_size, tolerance_seconds
from surgrec.video.errors import VideoError
from surgrec.video.misreads import refuse_misread
from surgrec.video.pixels import shrink

_CODECS = ("h264", "vp9")
_BYTES_AT_LEAST, _PICTURES_HELD = 1_000_000, 700


class DecordReader(Closing):
    """A `VideoReader`; see `surgrec.video.decode` for the promises."""

    def __init__(self, path: Path, short_side_pixels: int | None = None, num_threads: int = 1) -> None:
        reader_class, error_class = _import_reader()
        with open_container(path) as (container, stream):
            refuse_misread(container, stream, "decord", _CODECS)
            tick_seconds = float(time_base(stream))
            self._picture_bytes = 3 * stream.codec_context.width * stream.codec_context.height
        try:
            self._reader = reader_class(str(path), num_threads=num_threads)
            self._num_frames = len(self._reader)
            starts = self._reader.get_frame_timestamp(np.arange(self._num_frames))[:, 0].astype(np.float64)
        except error_class:
            raise VideoError("corrupt", "decord could not open it") from None
        # Timestamps come in single precision, half a millisecond off after two hours.
        rounding = float(np.spacing(np.float32(starts[-1])))
        is_finer = rounding < tick_seconds / 2
        self._seconds = on_ticks(starts, starts[0], tick_seconds) if is_finer else starts - starts[0]
        self._tolerance_seconds = tolerance_seconds(tick_seconds) + (0.0 if is_finer else rounding)
        self._error_class = error_class
        self._short_side_pixels = short_side_pixels

    def read(self, times_seconds: npt.ArrayLike, region_of: RegionOf | None = None) -> Frames:
        """The frames on display at `times_seconds`, (T,) ascending seconds since the first frame. Raises `VideoError`."""
        wanted = ascending(times_seconds) + self._tolerance_seconds
        indices = np.maximum(np.searchsorted(self._seconds, wanted, side="right") - 1, 0)
        try:
            pixels = self._reader.get_batch(indices).asnumpy()
        except self._error_class:
            raise VideoError("corrupt", "decord could not decode the frames") from None
        size = shrunk_size(pixels.shape[1], pixels.shape[2], self._short_side_pixels)
        return framed(shrink(pixels, size), self._seconds[indices], region_of)

    def restart(self) -> bool:
        return False  # it would do, but an open reader holds hundreds of decoded pictures: up to 0.8 GB were measured

    @property
    def held_bytes(self) -> int:
        """Measured: see `docs/decoding.md`."""
        return _BYTES_AT_LEAST + min(_PICTURES_HELD, self._num_frames) * self._picture_bytes

    def close(self) -> None:
        self._reader = None


def _import_reader() -> tuple[Any, type[Exception]]:
    try:
        from decord import DECORDError, VideoReader
    except ImportError:
        raise UserError(
            "the video decoder decord is not installed; run `pip install 'surgrec[decord]'` or choose pyav"
        ) from None
    return VideoReader, DECORDError
