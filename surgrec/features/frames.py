"""Frames of a whole video at given moments, each decoded once, in bounded memory, around whatever is damaged.

In: a path and ascending times. Out: a stream of frames, `None` where one cannot be read. It is its own file because a decoder
that met a damaged stretch is in no state to go on: here it is replaced, and what lies behind the damage is still read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.features.windows import Floats
from surgrec.video.decode import VideoReader, open_video
from surgrec.video.errors import VideoError

Frame = npt.NDArray[np.uint8]

FRAMES_PER_READ = 16  # 100 MB of full-HD frames


class FrameStream:
    """Reads one video in the order of time; use it in a `with` block. Raises `VideoError` where the file cannot be opened."""

    def __init__(self, path: Path, decoder: str = "pyav", num_threads: int = 1) -> None:
        if not Path(path).is_file():
            raise VideoError("missing", "the file is not where it should be")
        self._path, self._decoder, self._num_threads = Path(path), decoder, num_threads
        self._reader: VideoReader | None = self._open()

    def blocks(self, times_seconds: Floats) -> Iterator[list[Frame | None]]:
        """The frames (H, W, 3) on display at ascending `times_seconds` (n,), at most `FRAMES_PER_READ` at a time."""
        for first in range(0, len(times_seconds), FRAMES_PER_READ):
            yield self._read(times_seconds[first : first + FRAMES_PER_READ])

    def _read(self, times: Floats) -> list[Frame | None]:
        """All at once; where that fails, one by one."""
        with suppress(VideoError):
            if self._reader is not None:
                return list(self._reader.read(times).pixels)
        self.close()
        return [self._read_one(time) for time in times.tolist()]

    def _read_one(self, time: float) -> Frame | None:
        """With the reader as it stands, which may fail over damage on the way, then with a fresh one that seeks past it."""
        for _ in range(2):
            try:
                self._reader = self._reader or self._open()
                pixels: Frame = self._reader.read([time]).pixels[0]
                return pixels
            except VideoError:
                self.close()
        return None

    def _open(self) -> VideoReader:
        return open_video(self._path, self._decoder, num_threads=self._num_threads)

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
