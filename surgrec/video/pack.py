"""Packs: the frames of a video as JPEGs in one file, with an index; read without a video decoder.

In: RGB frames and their times, or a pack's path. Out: a file `*.frames`, or a `VideoReader`. It is its own file because it
defines a format:

    8 bytes             SURGPACK
    ...                 the JPEG files, one after another
    8 (N + 1) bytes     int64: where each begins; the last number is where the last one ends
    8 N bytes           float64: when each is shown, seconds, ascending from 0
    48 bytes            version, N, width, height (uint32), position of the index (int64), when the last frame ends
                        (float64, seconds), CRC-32 of the index (uint32), 4 bytes of nothing, SURGPACK

All numbers are little-endian. The end of the file is written last, so a pack that was cut short is not a pack.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from surgrec.video.decode import Frames, ascending, shrunk_size, tolerance_seconds
from surgrec.video.errors import VideoError
from surgrec.video.pixels import shrink

CODEC = "jpeg-pack"  # in the manifest's column
_MAGIC = b"SURGPACK"
_FOOTER = struct.Struct("<4IqdI4x8s")
_VERSION = 1


def write_pack(
    path: Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    times_seconds: npt.NDArray[np.float64],
    duration_seconds: float,
    quality: int,
) -> None:
    """Write `frames`, each uint8 (H, W, 3) of one size, shown at `times_seconds` (N,) and the last one until
    `duration_seconds`, as JPEGs of `quality`, 1 to 95."""
    starts, height, width = [len(_MAGIC)], 0, 0
    with path.open("wb") as file:
        file.write(_MAGIC)
        for frame in frames:
            height, width = frame.shape[:2]
            Image.fromarray(frame).save(file, format="JPEG", quality=quality)
            starts.append(file.tell())
        if len(starts) != len(times_seconds) + 1:
            raise ValueError(f"{len(starts) - 1} frames with {len(times_seconds)} times")
        index = np.array(starts, "<i8").tobytes() + np.asarray(times_seconds, "<f8").tobytes()
        file.write(index)
        facts = (_VERSION, len(times_seconds), width, height, starts[-1], duration_seconds, zlib.crc32(index), _MAGIC)
        file.write(_FOOTER.pack(*facts))


class PackReader:
    """A `VideoReader` of a pack; see `surgrec.video.decode` for the promises. `height`, `width` in pixels."""

    def __init__(self, path: Path, short_side_pixels: int | None = None) -> None:
        self._short_side_pixels = short_side_pixels
        try:
            self._file = Path(path).open("rb")  # noqa: SIM115  open as long as the reader is
        except OSError as error:
            raise VideoError("missing", error.strerror or "") from None
        try:
            self._read_index()
        except BaseException:
            self.close()
            raise

    def _read_index(self) -> None:
        num_bytes = self._file.seek(0, io.SEEK_END)
        if num_bytes == 0:
            raise VideoError("empty")
        if num_bytes < len(_MAGIC) + _FOOTER.size:
            raise VideoError("truncated", "the end of the pack is missing")
        self._file.seek(num_bytes - _FOOTER.size)
        facts = _FOOTER.unpack(self._file.read(_FOOTER.size))
        version, num_frames, width, height, position, duration_seconds, checksum, magic = facts
        if magic != _MAGIC:
            raise VideoError("truncated", "the end of the pack is missing")
        if version != _VERSION:
            raise VideoError("unsupported_codec", f"it is a pack of version {version}; update surgrec")
        if num_frames == 0:
            raise VideoError("no_frames")
        if position + 8 * (2 * num_frames + 1) + _FOOTER.size != num_bytes:
            raise VideoError("corrupt", "the index does not fit the pack")
        self._file.seek(position)
        index = self._file.read(8 * (2 * num_frames + 1))
        if zlib.crc32(index) != checksum:
            raise VideoError("corrupt", "the index is damaged")
        self._starts = np.frombuffer(index, "<i8", num_frames + 1)
        self._seconds = np.frombuffer(index, "<f8", num_frames, 8 * (num_frames + 1))
        if (np.diff(self._starts) < 0).any() or self._starts[0] < 0 or self._starts[-1] > position:
            raise VideoError("corrupt", "its index points outside of the pack")
        shown = np.append(self._seconds, duration_seconds)
        if not (np.isfinite(shown).all() and shown[0] >= 0 and (np.diff(shown) >= 0).all() and duration_seconds > 0):
            raise VideoError("corrupt", "the times of its pictures cannot be true")
        self.num_frames, self.width, self.height = num_frames, width, height
        self.duration_seconds = duration_seconds

    @property
    def times_seconds(self) -> npt.NDArray[np.float64]:
        """(N,) when each frame is shown."""
        return self._seconds

    def read(self, times_seconds: npt.ArrayLike) -> Frames:
        """The frames on display at `times_seconds`, (T,) ascending seconds since the first frame. Raises `VideoError`."""
        wanted = ascending(times_seconds) + tolerance_seconds(0.0)
        indices = np.maximum(np.searchsorted(self._seconds, wanted, side="right") - 1, 0)
        pixels: list[npt.NDArray[np.uint8]] = []
        for place, index in enumerate(indices):
            is_repeat = place > 0 and index == indices[place - 1]
            pixels.append(pixels[-1] if is_repeat else self._decode(int(index)))
        size = shrunk_size(self.height, self.width, self._short_side_pixels)
        return Frames(shrink(np.stack(pixels), size), self._seconds[indices])

    def _decode(self, index: int) -> npt.NDArray[np.uint8]:
        start, end = int(self._starts[index]), int(self._starts[index + 1])
        self._file.seek(start)
        try:
            with Image.open(io.BytesIO(self._file.read(end - start)), formats=("JPEG",)) as picture:
                if picture.size != (self.width, self.height) or picture.mode != "RGB":
                    raise VideoError("corrupt", f"frame {index} is not of the pack's size")
                return np.asarray(picture)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise VideoError("corrupt", f"the frame at {self._seconds[index]:.2f} s is damaged") from None

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
