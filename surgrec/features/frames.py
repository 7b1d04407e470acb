"""Frames of a whole video at given moments, each decoded once, in bounded memory, around whatever is damaged.

In: a path and ascending times. Out: a stream of frames, `None` where one cannot be read. It is its own file because a decoder
that met a damaged stretch is in no state to go on: here it is replaced, and what lies behind the damage is still read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.features.windows import Floats
from surgrec.video.decode import VideoReader, open_video
from surgrec.video.errors import VideoError, error_or

Frame = npt.NDArray[np.uint8]

FRAMES_PER_READ = 16  # 100 MB of full-HD frames


class FrameStream:
    """Reads one video in the order of time; use it in a `with` block.

    Raises `VideoError` where the file cannot be opened, also when that was possible before: a file that is gone, with its disk or its
    network, is not a damaged one, and says nothing of what it showed.
    """

    def __init__(self, path: Path, decoder: str = "pyav", num_threads: int = 1) -> None:
        is_file = error_or(Path(path).is_file)  # the system may refuse even that
        if isinstance(is_file, VideoError):
            raise is_file
        if not is_file:
            raise VideoError("missing", "the file is not where it should be")
        self._path, self._decoder, self._num_threads = Path(path), decoder, num_threads
        self._reader: VideoReader | None = self._open()

    def blocks(self, times_seconds: Floats) -> Iterator[list[Frame | None]]:
        """The frames (H, W, 3) on display at ascending `times_seconds` (n,), at most `FRAMES_PER_READ` at a time."""
        for first in range(0, len(times_seconds), FRAMES_PER_READ):
            yield self._read(times_seconds[first : first + FRAMES_PER_READ])

    def _read(self, times: Floats) -> list[Frame | None]:
        """All at once; where that fails, one by one."""
        if self._reader is not None:
            frames = error_or(partial(_frames_at, self._reader, times))
            if not isinstance(frames, VideoError):
                return [*frames]
        self.close()
        return [self._read_one(time) for time in times.tolist()]

    def _read_one(self, time: float) -> Frame | None:
        """With the reader as it stands, which may fail over damage on the way, then with a fresh one that seeks past it."""
        for _ in range(2):
            self._reader = self._reader or self._open()
            frames = error_or(partial(_frames_at, self._reader, np.array([time])))
            if not isinstance(frames, VideoError):
                return frames[0]
            self.close()
        return None

    def _open(self) -> VideoReader:
        reader = error_or(partial(open_video, self._path, self._decoder, num_threads=self._num_threads))
        if isinstance(reader, VideoError):
            raise reader
        return reader

    def close(self) -> None:
        """Let go of the file."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def __enter__(self) -> FrameStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _frames_at(reader: VideoReader, times: Floats) -> list[Frame]:
    return list(reader.read(times).pixels)
