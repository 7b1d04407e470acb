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

The JPEGs carry restart markers (ITU-T T.81, B.2.4.4), as many in every row of blocks. What lies between two of them can be decoded
alone, so that only the part of a picture that is wanted is decoded: its pieces are put together to a smaller JPEG. Packs without
markers are read too, whole pictures at a time.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

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
from surgrec.video.pixels import shrink

CODEC = "jpeg-pack"  # in the manifest's column
_MAGIC = b"SURGPACK"
_FOOTER = struct.Struct("<4IqdI4x8s")
_VERSION = 1
_BLOCK = 16  # pixels of a side of the least that can be decoded, with the colours at half the size
_MARKER = re.compile(rb"\xff[\xd0-\xd7]")
_MARKERS = [b"\xff" + bytes([0xD0 + number]) for number in range(8)]
_START_OF_FRAME, _RESTART_INTERVAL, _START_OF_SCAN, _END = 0xC0, 0xDD, 0xDA, b"\xff\xd9"
_BLEED = 2  # pixels: a coloured pixel depends on those next to it, as colours are stored at half the size
_WANTED_BLOCKS = 4  # between two markers: fewer cut finer and cost more bytes
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
    starts, height, width = [len(_MAGIC)], 0, 0
    with path.open("wb") as file:
        file.write(_MAGIC)
        for frame in frames:
            height, width = frame.shape[:2]
            blocks = blocks_between_markers(width)
            picture = Image.fromarray(frame)
            picture.save(file, format="JPEG", quality=quality, subsampling="4:2:0", restart_marker_blocks=blocks)
            starts.append(file.tell())
        if len(starts) != len(times_seconds) + 1:
            raise ValueError(f"{len(starts) - 1} frames with {len(times_seconds)} times")
        index = np.array(starts, "<i8").tobytes() + np.asarray(times_seconds, "<f8").tobytes()
        file.write(index)
        facts = (_VERSION, len(times_seconds), width, height, starts[-1], duration_seconds, zlib.crc32(index), _MAGIC)
        file.write(_FOOTER.pack(*facts))


def blocks_between_markers(width_pixels: int) -> int:
    """How many blocks of 16 pixels lie between two markers: at least four, and the same number in all pieces of a row."""
    in_row = -(-width_pixels // _BLOCK)
    return next(
        blocks for blocks in range(1, in_row + 1) if in_row % blocks == 0 and blocks >= min(_WANTED_BLOCKS, in_row)
    )


@dataclass(frozen=True)
class _Cut:
    """How to cut JPEGs that begin with the bytes `header`: `pieces_in_row` pieces of `piece_pixels`, in rows of 16."""

    header: bytes
    size_at: int  # where the header has height and width
    pieces_in_row: int
    piece_pixels: int

    @classmethod
    def of(cls, data: bytes) -> _Cut | None:
        """None for a JPEG that cannot be cut."""
        position, size_at, width, interval, sampling = 2, 0, 0, 0, 0
        while position + 4 <= len(data) and data[position] == 0xFF:
            kind, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
            if kind == _START_OF_FRAME and length >= 17:
                size_at, sampling = position + 5, data[position + 11]
                width = int.from_bytes(data[position + 7 : position + 9], "big")
            if kind == _RESTART_INTERVAL:
                interval = int.from_bytes(data[position + 4 : position + 6], "big")
            position += 2 + length
            if kind == _START_OF_SCAN:
                break
        blocks = -(-width // _BLOCK)
        if sampling != 0x22 or not interval or blocks % interval:
            return None
        return cls(data[:position], size_at, blocks // interval, interval * _BLOCK)

    def cut(self, data: bytes, height: int, width: int, region: Region) -> tuple[bytes, Region] | None:
        """A JPEG of the pieces that hold `region` of a picture `height` by `width`, and the region in it.

        None where the picture is not in as many pieces as it should be: it is damaged.
        """
        first_row = max(region.top - _BLEED, 0) // _BLOCK
        stop_row = -(-min(region.top + region.height + _BLEED, height) // _BLOCK)
        first = max(region.left - _BLEED, 0) // self.piece_pixels
        stop = -(-min(region.left + region.width + _BLEED, width) // self.piece_pixels)
        pieces = _MARKER.split(data[len(self.header) : -len(_END)])
        if len(pieces) != self.pieces_in_row * -(-height // _BLOCK) or not data.startswith(self.header):
            return None
        top, left = first_row * _BLOCK, first * self.piece_pixels
        size = min(stop_row * _BLOCK, height) - top, min(stop * self.piece_pixels, width) - left
        parts = [self.header[: self.size_at], struct.pack(">HH", *size), self.header[self.size_at + 4 :]]
        number = 0
        for row in range(first_row, stop_row):
            for piece in pieces[row * self.pieces_in_row + first : row * self.pieces_in_row + stop]:
                parts += (piece, _MARKERS[number % 8])
                number += 1
        parts[-1] = _END
        return b"".join(parts), Region(region.top - top, region.left - left, region.height, region.width)


class PackReader:
    """A `VideoReader` of a pack; see `surgrec.video.decode` for the promises. `height`, `width` in pixels."""

    def __init__(self, path: Path, short_side_pixels: int | None = None) -> None:
        self._short_side_pixels = short_side_pixels
        self._cut: _Cut | None = None
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
        if not 0 < width * height <= MAX_PIXELS:
            raise VideoError("corrupt", "the pack declares impossible pictures")
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

    def read(self, times_seconds: npt.ArrayLike, region_of: RegionOf | None = None) -> Frames:
        """The frames on display at `times_seconds`, (T,) ascending seconds since the first frame. Raises `VideoError`."""
        wanted = ascending(times_seconds) + tolerance_seconds(0.0)
        indices = np.maximum(np.searchsorted(self._seconds, wanted, side="right") - 1, 0)
        size = shrunk_size(self.height, self.width, self._short_side_pixels)
        is_whole = size != (self.height, self.width)  # a part is shrunk differently from the whole
        region = region_within(None if is_whole else region_of, self.height, self.width)
        pixels = np.empty((0, 0, 0, 3), np.uint8)
        for place, index in enumerate(indices.tolist()):
            if place > 0 and index == indices[place - 1]:
                pixels[place] = pixels[place - 1]
                continue
            part = self._decode(index, region)
            if place == 0:  # not before: what a damaged pack declares may not fit any memory
                pixels = np.empty((len(indices), *part.shape), np.uint8)
            pixels[place] = part
        if is_whole:
            return framed(shrink(pixels, size), self._seconds[indices], region_of)
        return Frames(pixels, self._seconds[indices], region, size)

    def _decode(self, index: int, region: Region) -> npt.NDArray[np.uint8]:
        """The `region` of a frame."""
        start, end = int(self._starts[index]), int(self._starts[index + 1])
        data = os.pread(self._file.fileno(), end - start, start)
        if self._cut is None or not data.startswith(self._cut.header):
            self._cut = _Cut.of(data)
        try:
            if simplejpeg.decode_jpeg_header(data)[:3] != (self.height, self.width, "YCbCr"):
                raise VideoError("corrupt", f"frame {index} is not of the pack's size")
            if self._cut is not None and region[2:] != (self.height, self.width):
                cut = self._cut.cut(data, self.height, self.width, region)
                if cut is None:
                    raise VideoError("corrupt", f"the frame at {self._seconds[index]:.2f} s is damaged")
                data, region = cut
            picture = simplejpeg.decode_jpeg(data)
        except ValueError:
            raise VideoError("corrupt", f"the frame at {self._seconds[index]:.2f} s is damaged") from None
        top, left, height, width = region
        return np.asarray(picture[top : top + height, left : left + width], np.uint8)

    def restart(self) -> bool:
        return True  # every frame is decoded alone

    @property
    def held_bytes(self) -> int:
        """The index, and little else."""
        return _HELD_BYTES + self._starts.nbytes + self._seconds.nbytes

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
