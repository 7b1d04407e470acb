"""Reading frames by time with torchcodec: an optional backend behind the same interface.

In: a path, then times. Out: `Frames`. It is its own file because torchcodec is an optional extra that brings torch and needs
FFmpeg's shared libraries. With `device="cuda"` the GPU's own decoder (NVDEC) is used, where torchcodec was built for it, and the frames
come back to the host; it rounds colours in its own way. Its exact mode is used, which scans the file at open; the approximate one
computes frames from a constant rate and is wrong for every variable-rate file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.video.closing import Closing
from surgrec.video.container import open_container, time_base
from surgrec.video.decode import (
    CUDA_BACKEND,
    Frames,
    RegionOf,
    ascending,
    framed,
    on_ticks,
    shrunk_size,
    tolerance_seconds,
)
from surgrec.video.errors import VideoError
from surgrec.video.misreads import refuse_misread
from surgrec.video.pixels import shrink

_CODECS = ("h264", "hevc", "vp9", "av1")
_BYTES_AT_LEAST, _BYTES_PER_FRAME, _PICTURES_HELD = 1_000_000, 150, 6


class TorchcodecReader(Closing):
    """A `VideoReader`; see `surgrec.video.decode` for the promises."""

    def __init__(
        self, path: Path, short_side_pixels: int | None = None, num_threads: int = 1, device: str = "cpu"
    ) -> None:
        decoder_class = _import_decoder()
        if device == "cuda":
            _demand_nvdec()
        with open_container(path) as (container, stream):  # PyAV's reasons for a bad file, and its choice of the stream
            refuse_misread(container, stream, "torchcodec", _CODECS)
            stream_index = stream.index
            self._picture_bytes = 3 * stream.codec_context.width * stream.codec_context.height
            self._tick_seconds = float(time_base(stream))
            self._tolerance_seconds = tolerance_seconds(self._tick_seconds)
        try:
            self._decoder = decoder_class(
                str(path),
                stream_index=stream_index,
                dimension_order="NHWC",
                num_ffmpeg_threads=num_threads,
                device=device,
            )
            self._num_frames = len(self._decoder)
            self._start_seconds = float(self._decoder.metadata.begin_stream_seconds_from_content)
            self._last_seconds = float(self._decoder.get_frame_at(len(self._decoder) - 1).pts_seconds)
        except (RuntimeError, ValueError) as error:
            if "Unsupported device" in str(error):
                raise UserError(
                    f"this torchcodec was built without CUDA, which the video decoder {CUDA_BACKEND} needs; install a CUDA "
                    "build of it (https://github.com/meta-pytorch/torchcodec) or choose torchcodec or pyav"
                ) from None
            raise VideoError("unsupported_codec", "torchcodec cannot open it; the decoder pyav may") from None
        self._short_side_pixels = short_side_pixels

    def read(self, times_seconds: npt.ArrayLike, region_of: RegionOf | None = None) -> Frames:
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
        pixels = np.concatenate([batch.data.cpu().numpy() for batch in batches])
        on_clock = np.concatenate([batch.pts_seconds.cpu().numpy() for batch in batches])
        seconds = on_ticks(on_clock, self._start_seconds, self._tick_seconds)
        size = shrunk_size(pixels.shape[1], pixels.shape[2], self._short_side_pixels)
        return framed(shrink(pixels, size), seconds, region_of)

    def restart(self) -> bool:
        return True  # frames are found by the index that was made at open, from the keyframe before

    @property
    def held_bytes(self) -> int:
        """Measured: see `docs/decoding.md`."""
        return _BYTES_AT_LEAST + _BYTES_PER_FRAME * self._num_frames + _PICTURES_HELD * self._picture_bytes

    def close(self) -> None:
        self._decoder = None


def _demand_nvdec() -> None:
    """Raise `UserError` unless there is an NVIDIA GPU and torchcodec was built for it."""
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            f"the video decoder {CUDA_BACKEND} needs an NVIDIA GPU and a CUDA build of torch; choose torchcodec or pyav"
        )


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
