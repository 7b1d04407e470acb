"""Packs: the frames of a video as JPEGs in one file, with an index; read without a video decoder.

In: RGB frames and their times, or a pack's path. Out: a file `*.frames`, or a `VideoReader`. It is its own file because it
defines a format:

    8 bytes             SURGPACK
    ...                 the JPEG files, one after another
    16 (N + 1) bytes    rows: where a frame begins (int64) and when it is shown (float64, seconds, ascending from 0); the last row says
                        where and when the last frame ends
    16 ceil(N / 256)    for every 256 rows: when the first is shown (float64), and the CRC-32 (uint32) of these rows and the one
                        after them; 4 bytes of nothing
    48 bytes            version, N, width, height (uint32), position of the rows (int64), when the last frame ends
                        (float64, seconds), CRC-32 of what is said of the rows (uint32), 4 bytes of nothing, SURGPACK

So opening reads a sixteenth of a byte for every frame, and a clip the rows around it: three hours open like three minutes.
All numbers are little-endian. The end of the file is written last, so a pack that was cut short is not a pack.

The JPEGs carry restart markers, so that only the part of a picture that is wanted is decoded (`surgrec.video.jpeg_cut`). Packs without
markers are read too, whole pictures at a time.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from surgrec.video.closing import Closing
from surgrec.video.container import MAX_PIXELS
from surgrec.video.decode import (
    Frames,
    Region,
    RegionOf,
    ascending,
    framed,
    region_within,
    shrunk_size,
    tolerance_seconds,
)
from surgrec.video.errors import VideoError
from surgrec.video.jpeg_cut import Cut, blocks_between_markers
from surgrec.video.pixels import shrink

CODEC = "jpeg-pack"  # in the manifest's column
_MAGIC = b"SURGPACK"
_FOOTER = struct.Struct("<4IqdI4x8s")
VERSION = 2
_ROW, _SUMMARY = (
    np.dtype([("start", "<i8"), ("seconds", "<f8")]),
    np.dtype([("seconds", "<f8"), ("crc", "<u4"), ("", "<u4")]),
)
_ROWS = 256  # that are checked together
_HELD_BYTES = 20_000


def write_pack(
    path: Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    times_seconds: npt.NDArray[np.float64],
    duration_seconds: float,
    quality: int,
) -> None:
    """Write `frames`, each uint8 (H, W, 3) of one size, shown at `times_seconds` (N,) and the last one until
    `duration_seconds`, as JPEGs of `quality`, 1 to 95."""
    size = 0, 0

    def jpegs() -> Iterator[bytes]:
        nonlocal size
        for frame in frames:
            size = frame.shape[1], frame.shape[0]
            data, blocks = io.BytesIO(), blocks_between_markers(size[0])
            picture = Image.fromarray(frame)
            picture.save(data, format="JPEG", quality=quality, subsampling="4:2:0", restart_marker_blocks=blocks)
            yield data.getvalue()

    write_jpegs(path, jpegs(), lambda: size, times_seconds, duration_seconds)


def write_jpegs(
    path: Path,
    jpegs: Iterable[bytes],
    size: Callable[[], tuple[int, int]],
    times_seconds: npt.NDArray[np.float64],
    duration_seconds: float,
) -> None:
    """Write a pack of JPEG files of one `size` (width, height), which is asked for after the last of them."""
    starts = [len(_MAGIC)]
    with path.open("wb") as file:
        file.write(_MAGIC)
        for jpeg in jpegs:
            file.write(jpeg)
            starts.append(file.tell())
        if len(starts) != len(times_seconds) + 1:
            raise ValueError(f"{len(starts) - 1} frames with {len(times_seconds)} times")
        rows = np.empty(len(starts), _ROW)
        rows["start"], rows["seconds"] = starts, [*times_seconds, duration_seconds]
        summary = np.zeros(-(-len(times_seconds) // _ROWS), _SUMMARY)
        summary["seconds"] = rows["seconds"][:-1:_ROWS]
        summary["crc"] = [zlib.crc32(rows[at : at + _ROWS + 1].tobytes()) for at in range(0, len(times_seconds), _ROWS)]
        file.write(rows.tobytes() + summary.tobytes())
        crc = zlib.crc32(summary.tobytes())
        file.write(_FOOTER.pack(VERSION, len(times_seconds), *size(), starts[-1], duration_seconds, crc, _MAGIC))


def _is_clock(seconds: npt.NDArray[np.float64]) -> bool:
    """Whether these may be times of a video, one after another."""
    return bool(np.isfinite(seconds).all() and seconds[0] >= 0 and (np.diff(seconds) >= 0).all())


class PackReader(Closing):
    """A `VideoReader` of a pack; see `surgrec.video.decode` for the promises. `height`, `width` in pixels."""

    def __init__(self, path: Path, short_side_pixels: int | None = None) -> None:
        self._short_side_pixels = short_side_pixels
        self._cut: Cut | None = None
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
        if version != VERSION:
            raise VideoError(
                "unsupported_codec",
                f"it is a pack of version {version}, not {VERSION}; make it with this version of surgrec prepare",
            )
        if num_frames == 0:
            raise VideoError("no_frames")
        if width * height == 0:
            raise VideoError("corrupt", "the pack declares empty pictures")
        if width * height > MAX_PIXELS:
            raise VideoError("too_large", f"the pack declares pictures of {width}x{height} pixels")
        num_blocks = -(-num_frames // _ROWS)
        if position + _ROW.itemsize * (num_frames + 1) + _SUMMARY.itemsize * num_blocks + _FOOTER.size != num_bytes:
            raise VideoError("corrupt", "the index does not fit the pack")
        self._rows_at, self._kept = position, (-1, np.empty(0, _ROW))
        summary = self._bytes(position + _ROW.itemsize * (num_frames + 1), _SUMMARY.itemsize * num_blocks)
        if zlib.crc32(summary) != checksum:
            raise VideoError("corrupt", "the index is damaged")
        self._summary = np.frombuffer(summary, _SUMMARY)
        if not duration_seconds > 0 or not _is_clock(np.append(self._summary["seconds"], duration_seconds)):
            raise VideoError("corrupt", "the times of its pictures cannot be true")
        self.num_frames, self.width, self.height = num_frames, width, height
        self.duration_seconds = duration_seconds

    def _bytes(self, position: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, position)

    def _block(self, number: int) -> npt.NDArray[np.void]:
        """The rows of block `number` and the one after them."""
        if self._kept[0] != number:
            first = number * _ROWS
            length = min(_ROWS, self.num_frames - first) + 1
            rows = self._bytes(self._rows_at + first * _ROW.itemsize, length * _ROW.itemsize)
            if zlib.crc32(rows) != self._summary["crc"][number]:
                raise VideoError("corrupt", "the index is damaged")
            found = np.frombuffer(rows, _ROW)
            starts = found["start"]
            if starts[0] < 0 or starts[-1] > self._rows_at or (np.diff(starts) < 0).any():
                raise VideoError("corrupt", "its index points outside of the pack")
            if not _is_clock(found["seconds"]):
                raise VideoError("corrupt", "the times of its pictures cannot be true")
            self._kept = number, found
        return self._kept[1]

    @property
    def times_seconds(self) -> npt.NDArray[np.float64]:
        """(N,) when each frame is first shown; reads the whole index. Raises `VideoError` where it is damaged."""
        return np.concatenate([self._block(number)["seconds"][:-1] for number in range(len(self._summary))])

    def rows_at(self, times_seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(T, 3): where the frame on display at each of `times_seconds`, (T,) ascending, begins and ends in the file, and when it is shown.

        Raises `VideoError` where the index is damaged.
        """
        found = []
        for wanted in ascending(times_seconds) + tolerance_seconds(0.0):
            rows = self._block(max(int(np.searchsorted(self._summary["seconds"], wanted, side="right")) - 1, 0))
            row = min(max(int(np.searchsorted(rows["seconds"], wanted, side="right")) - 1, 0), len(rows) - 2)
            found.append((rows["start"][row], rows["start"][row + 1], rows["seconds"][row]))
        return np.array(found, np.float64)  # exact for files below 9 petabytes

    def read(self, times_seconds: npt.ArrayLike, region_of: RegionOf | None = None) -> Frames:
        """The frames on display at `times_seconds`, (T,) ascending seconds since the first frame. Raises `VideoError`."""
        rows = self.rows_at(times_seconds)
        size = shrunk_size(self.height, self.width, self._short_side_pixels)
        is_whole = size != (self.height, self.width)  # a part is shrunk differently from the whole
        region = region_within(None if is_whole else region_of, self.height, self.width)
        pixels = np.empty((0, 0, 0, 3), np.uint8)
        for place, (start, end, seconds) in enumerate(rows.tolist()):
            if place > 0 and start == rows[place - 1, 0]:
                pixels[place] = pixels[place - 1]
                continue
            part = self._decode(int(start), int(end), seconds, region)
            if place == 0:  # not before: what a damaged pack declares may not fit any memory
                pixels = np.empty((len(rows), *part.shape), np.uint8)
            pixels[place] = part
        if is_whole:
            return framed(shrink(pixels, size), rows[:, 2], region_of)
        return Frames(pixels, rows[:, 2], region, size)

    def _decode(self, start: int, end: int, seconds: float, region: Region) -> npt.NDArray[np.uint8]:
        """The `region` of the frame that lies from `start` to `end` in the file."""
        data = self._bytes(start, end - start)
        if self._cut is None or not data.startswith(self._cut.header):
            self._cut = Cut.of(data)
        try:
            if simplejpeg.decode_jpeg_header(data)[:3] != (self.height, self.width, "YCbCr"):
                raise VideoError("corrupt", f"the frame at {seconds:.2f} s is not of the pack's size")
            if self._cut is not None and region[2:] != (self.height, self.width):
                cut = self._cut.cut(data, self.height, self.width, region)
                if cut is None:
                    raise VideoError("corrupt", f"the frame at {seconds:.2f} s is damaged")
                data, region = cut
            picture = simplejpeg.decode_jpeg(data)
        except ValueError:
            raise VideoError("corrupt", f"the frame at {seconds:.2f} s is damaged") from None
        top, left, height, width = region
        return np.asarray(picture[top : top + height, left : left + width], np.uint8)

    def restart(self) -> bool:
        return True  # every frame is decoded alone

    @property
    def held_bytes(self) -> int:
        """A block of the index, and what is said of all."""
        return _HELD_BYTES + int(self._summary.nbytes)

    def close(self) -> None:
        self._file.close()
