"""Videos that stay open between reads, within a limit of bytes.

In: paths and times. Out: the same `Frames` as from a video that is opened for the one read. It is its own file because it owns that
law: a reader is used again only if it can forget what it read (`restart`) and its file is still the one that was opened.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy.typing as npt

from surgrec.video.closing import Closing
from surgrec.video.decode import Frames, RegionOf, VideoReader, open_video
from surgrec.video.errors import VideoError

_Version = tuple[int, int, int, int]  # of a file: device, number, size, time of its last change


@dataclass
class _Open:
    reader: VideoReader
    version: _Version
    num_bytes: int


class OpenReaders(Closing):
    """Reads clips of any videos; keeps those used last open, as many as `limit_bytes` allow by their `held_bytes`.

    With a limit of 0 every video is closed after its read. A reader that raised is closed. Not for several threads at once.
    """

    def __init__(self, limit_bytes: int, backend: str = "pyav", short_side_pixels: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self._backend, self._short_side_pixels = backend, short_side_pixels
        self._open: OrderedDict[Path, _Open] = OrderedDict()  # used last at the end

    def __len__(self) -> int:
        return len(self._open)

    @property
    def held_bytes(self) -> int:
        """Of all open readers together."""
        return sum(kept.num_bytes for kept in self._open.values())

    def read(self, path: Path, times_seconds: npt.ArrayLike, region_of: RegionOf | None = None) -> Frames:
        """As `VideoReader.read` of a video opened for it. Raises `VideoError`, reason `missing` where there is no such file."""
        version, reader = self._current(path)
        if reader is None:
            reader = open_video(path, self._backend, self._short_side_pixels, num_threads=1)
        try:
            frames = reader.read(times_seconds, region_of)
            is_reusable = self.limit_bytes > 0 and reader.restart()
        except BaseException:
            reader.close()
            raise
        if not is_reusable:
            reader.close()
            return frames
        self._open[path] = _Open(reader, version, reader.held_bytes)
        self._evict()
        return frames

    def _current(self, path: Path) -> tuple[_Version, VideoReader | None]:
        """The version of the file, and its reader where one is open and the file has not changed; it is taken out."""
        kept = self._open.pop(path, None)
        version = None
        try:
            facts = path.stat()
            version = facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
        except OSError as error:
            raise VideoError("missing", error.strerror or "") from None
        finally:
            if kept is not None and kept.version != version:
                kept.reader.close()
                kept = None
        return version, None if kept is None else kept.reader

    def _evict(self) -> None:
        total = self.held_bytes
        while self._open and total > self.limit_bytes:
            _, oldest = self._open.popitem(last=False)
            total -= oldest.num_bytes
            oldest.reader.close()

    def close(self) -> None:
        """Close all; the next read opens anew."""
        while self._open:
            self._open.popitem()[1].reader.close()
