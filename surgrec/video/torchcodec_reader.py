"""Reading frames by time with torchcodec: an optional backend behind the same interface.

In: a path, then times. Out: `Frames`. It is its own file because torchcodec is an optional extra that brings torch and needs
FFmpeg's shared libraries. Its exact mode is used, which scans the file at open; the approximate one computes frames from a
constant rate and is wrong for every variable-rate file.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.video.container import open_container, time_base
from surgrec.video.decode import Frames, ascending, shrunk_size, tolerance_seconds
from surgrec.video.errors import VideoError
from surgrec.video.misreads import refuse_misread
from surgrec.video.pixels import shrink

_CODECS = ("h264", "hevc", "vp9", "av1")


class TorchcodecReader:
    """A `VideoReader`; see `surgrec.video.decode` for the promises."""

    def __init__(self, path: Path, short_side_pixels: int | None = None, num_threads: int = 1) -> None:
        decoder_class = _import_decoder()
        with open_container(path) as (container, stream):  # PyAV's reasons for a bad file, and its choice of the stream
            refuse_misread(container, stream, "torchcodec", _CODECS)
            stream_index = stream.index
            self._tolerance_seconds = tolerance_seconds(float(time_base(stream)))
        try:
            self._decoder = decoder_class(
                str(path), stream_index=stream_index, dimension_order="NHWC", num_ffmpeg_threads=num_threads
            )
            self._start_seconds = float(self._decoder.metadata.begin_stream_seconds_from_content)
            self._last_seconds = float(self._decoder.get_frame_at(len(self._decoder) - 1).pts_seconds)
        except (RuntimeError, ValueError):
            raise VideoError("unsupported_codec", "torchcodec cannot open it; the decoder pyav may") from None
        self._short_side_pixels = short_side_pixels

    def read(self, times_seconds: npt.ArrayLike) -> Frames:
        """The frames on display at `times_seconds`, (T,) ascending seconds since the first frame. Raises `VideoError`."""
        wanted = np.maximum(ascending(times_seconds), 0) + self._start_seconds + self._tolerance_seconds
        num_before_last = int(np.searchsorted(wanted, self._last_seconds))
        try:
            batches = []
            if num_before_last:
                batches.append(self._decoder.get_frames_played_at(wanted[:num_before_last].tolist()))
            if num_before_last < len(wanted):  # a last frame of unknown duration is on display at no time
                batches.append(self._decoder.get_frames_at([len(self._decoder) - 1] * (len(wanted) - num_before_last)))
        except (RuntimeError, IndexError):
            raise VideoError("corrupt", "torchcodec could not decode the frames") from None
        pixels = np.concatenate([batch.data.numpy() for batch in batches])
        seconds = np.concatenate([batch.pts_seconds.numpy() for batch in batches]) - self._start_seconds
        size = shrunk_size(pixels.shape[1], pixels.shape[2], self._short_side_pixels)
        return Frames(shrink(pixels, size), seconds)

    def close(self) -> None:
        self._decoder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _import_decoder() -> Any:
    try:
        from torchcodec.decoders import VideoDecoder
    except ModuleNotFoundError:
        raise UserError(
            "the video decoder torchcodec is not installed; run `pip install 'surgrec[torchcodec]'` or choose pyav"
        ) from None
    except (ImportError, RuntimeError, OSError):
        raise UserError(
            "torchcodec does not find FFmpeg's shared libraries; install FFmpeg (4 to 8) with them or choose the decoder pyav"
        ) from None
    return VideoDecoder
