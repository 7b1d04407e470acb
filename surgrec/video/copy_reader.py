"""Reading training copies by time: an mp4 as `surgrec prepare` writes it, without FFmpeg's demuxer.

In: a path, then times. Out: `Frames`, the same as `PyavReader`'s. It is its own file because of what it leaves out. FFmpeg reads the
whole index of a file at open, and decodes a little to learn what its header says already; for an hour-long copy that costs as
much as the clip. In a copy every frame's place follows from a few entries of the index (ISO/IEC 14496-12, section 8),
and every group of pictures can be decoded alone. So a clip costs one look at those entries, one read of its packets, and a decoder
that knows nothing of the clip before.

Whether a file is of that kind is seen from its index, not from its name: one H.264 track of constant rate, no edit list, not
turned. All else is left to `PyavReader`, also when it turns out in the middle that a group is not closed.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from surgrec.video.closing import Closing
from surgrec.video.container import MAX_PIXELS, failure
from surgrec.video.decode import Frames, RegionOf, ascending, shrunk_size, tolerance_seconds
from surgrec.video.errors import VideoError
from surgrec.video.pixels import Canvas, Converter
from surgrec.video.pyav_reader import PyavReader

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_TABLES = (b"stts", b"stss", b"ctts", b"stsc", b"stsz", b"stco", b"co64")
_LEAVES = (b"tkhd", b"mdhd", b"hdlr", b"stsd", *_TABLES)
_STRANGE = (b"edts", b"mvex", b"stz2", b"sinf")  # what copies do not have and what changes the meaning of the rest
_UPRIGHT = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_SLICE, _IDR = 1, 5  # types of an H.264 unit that hold a picture (ITU-T H.264, table 7-1)
_MAX_ENTRY_BYTES = 1 << 16  # of a track's description; a copy's has 200
_HELD_BYTES = 120_000


class _NotACopyError(Exception):
    """The file is of another kind."""


@dataclass(frozen=True)
class _Table:
    """A table of the index: big-endian numbers that are read where they are needed."""

    descriptor: int
    position: int
    length: int
    columns: int = 1
    format: str = ">u4"

    def rows(self, first: int, stop: int) -> npt.NDArray[np.int64]:
        """(stop - first, columns), or (stop - first,) where there is one column."""
        if not 0 <= first <= stop <= self.length:
            raise _NotACopyError
        width = self.columns * int(self.format[-1])
        data = os.pread(self.descriptor, (stop - first) * width, self.position + first * width)
        if len(data) < (stop - first) * width:
            raise VideoError("truncated")
        numbers = np.frombuffer(data, self.format).astype(np.int64)
        return numbers if self.columns == 1 else numbers.reshape(-1, self.columns)


class _Index:
    """Where the frames of a copy are, in the file and in time. Raises `_NotACopyError` for any other file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._num_bytes = os.fstat(descriptor).st_size
        boxes = self._boxes()
        self._read_header(boxes)
        self._sizes = self._sample_sizes(boxes)
        self.num_frames = self._sizes.length
        self._chunks = self._table(boxes, b"co64", format=">u8") if b"co64" in boxes else self._table(boxes, b"stco")
        self._read_runs(self._table(boxes, b"stsc", columns=3))
        times = self._table(boxes, b"stts", columns=2)
        _demand(times.length == 1)
        (count, self.step_ticks), *_ = times.rows(0, 1).tolist()
        _demand(count == self.num_frames and self.step_ticks > 0)
        self.keyframes: Sequence[int] = range(self.num_frames)
        if b"stss" in boxes:
            groups = self._table(boxes, b"stss")
            starts = groups.rows(0, groups.length) - 1
            _demand(starts[0] == 0 and bool((np.diff(starts) > 0).all()) and bool(starts[-1] < self.num_frames))
            self.keyframes = starts.tolist()
        self._read_shifts(self._table(boxes, b"ctts", columns=2) if b"ctts" in boxes else None)

    # -- boxes

    def _boxes(self) -> dict[bytes, tuple[int, int]]:
        """Position and length of the content of every box that matters, each there once."""
        found: dict[bytes, tuple[int, int]] = {}
        pending = [(0, self._num_bytes)]
        while pending:
            position, end = pending.pop()
            while position < end:
                head = os.pread(self._descriptor, 16, position)
                _demand(len(head) >= 8)
                size, name, start = int.from_bytes(head[:4], "big"), head[4:8], 8
                if size == 1:
                    size, start = int.from_bytes(head[8:16], "big"), 16
                _demand(size >= start and position + size <= end and name not in _STRANGE)
                if name in _CONTAINERS:
                    _demand(name not in found)
                    pending.append((position + start, position + size))
                if name in _CONTAINERS or name in _LEAVES:
                    _demand(name not in found)
                    found[name] = position + start, size - start
                if name == b"moov":  # in front of the pictures; what comes after them is not looked at
                    pending[:] = pending[-1:]
                    break
                _demand(name != b"mdat")
                position += size
        _demand(all(name in found for name in (b"moov", b"tkhd", b"mdhd", b"hdlr", b"stsd", b"stts", b"stsz")))
        return found

    def _content(self, boxes: dict[bytes, tuple[int, int]], name: bytes) -> bytes:
        position, length = boxes[name]
        _demand(length <= _MAX_ENTRY_BYTES)
        return os.pread(self._descriptor, length, position)

    def _table(self, boxes: dict[bytes, tuple[int, int]], name: bytes, columns: int = 1, format: str = ">u4") -> _Table:
        _demand(name in boxes)
        position, length = boxes[name]
        head = os.pread(self._descriptor, 8, position)
        count = int.from_bytes(head[4:8], "big")
        _demand(count > 0 and 8 + count * columns * int(format[-1]) == length)
        return _Table(self._descriptor, position + 8, count, columns, format)

    def _sample_sizes(self, boxes: dict[bytes, tuple[int, int]]) -> _Table:
        position, length = boxes[b"stsz"]
        head = os.pread(self._descriptor, 12, position)
        same, count = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
        _demand(same == 0 and count > 0 and 12 + 4 * count == length)
        return _Table(self._descriptor, position + 12, count)

    # -- what the track is

    def _read_header(self, boxes: dict[bytes, tuple[int, int]]) -> None:
        _demand(self._content(boxes, b"hdlr")[8:12] == b"vide")
        track, media = self._content(boxes, b"tkhd"), self._content(boxes, b"mdhd")
        _demand(_UPRIGHT in track)
        at = 20 if media[0] == 1 else 12
        self.ticks_per_second = int.from_bytes(media[at : at + 4], "big")
        entry = self._content(boxes, b"stsd")
        _demand(self.ticks_per_second > 0 and entry[4:8] == b"\0\0\0\1" and entry[12:16] == b"avc1" and len(entry) > 94)
        self.width, self.height = struct.unpack(">HH", entry[40:44])
        _demand(0 < self.width * self.height <= MAX_PIXELS)
        inner = dict(_inner_boxes(entry, 94))
        self.decoder_header = inner.get(b"avcC", b"")
        _demand(len(self.decoder_header) > 6 and self.decoder_header[0] == 1 and self.decoder_header[4] & 3 == 3)
        self.colours = _colours(inner.get(b"colr", b""))

    def _read_runs(self, runs: _Table) -> None:
        """First frame and first chunk of every run of chunks that hold the same number of frames."""
        rows = runs.rows(0, runs.length)
        first_chunk, per_chunk = rows[:, 0] - 1, rows[:, 1]
        _demand(first_chunk[0] == 0 and bool((np.diff(first_chunk) > 0).all()) and bool((per_chunk > 0).all()))
        chunks = np.diff(np.append(first_chunk, self._chunks.length))
        frames = np.cumsum(chunks * per_chunk)
        _demand(bool((chunks > 0).all()) and frames[-1] == self.num_frames)
        self._runs = list(zip([0, *frames[:-1].tolist()], first_chunk.tolist(), per_chunk.tolist(), strict=True))
        self._run_starts = [first for first, _, _ in self._runs]

    def _read_shifts(self, table: _Table | None) -> None:
        """Where frames are shown in another order than they are stored."""
        self._shift_starts = self._shifts = np.zeros(0, np.int64)
        if table is not None:
            rows = table.rows(0, table.length)
            ends = np.cumsum(rows[:, 0])
            _demand(int(ends[-1]) == self.num_frames)
            self._shift_starts, self._shifts = (
                ends - rows[:, 0],
                rows[:, 1].astype(np.uint32).view(np.int32).astype(np.int64),
            )

    # -- questions

    @property
    def held_bytes(self) -> int:
        groups = 0 if isinstance(self.keyframes, range) else 40 * len(self.keyframes)
        return self._shift_starts.nbytes + self._shifts.nbytes + groups

    def group_of(self, frame: int) -> tuple[int, int]:
        """First and stop of the group of pictures that shows frame number `frame`."""
        group = bisect_right(self.keyframes, frame)
        return self.keyframes[group - 1], self.keyframes[group] if group < len(self.keyframes) else self.num_frames

    def shown_numbers(self, first: int, stop: int) -> list[int]:
        """Of the group stored as frames `first` to `stop`: the number in order of showing of each."""
        if not len(self._shifts):
            return list(range(first, stop))
        stored = np.arange(first, stop)
        shifts = self._shifts[np.searchsorted(self._shift_starts, stored, side="right") - 1] - self._shifts[0]
        numbers, rest = np.divmod(stored * self.step_ticks + shifts, self.step_ticks)
        _demand(not rest.any() and numbers[0] == first and bool((np.sort(numbers) == stored).all()))
        return numbers.tolist()  # type: ignore[no-any-return]

    def places(self, first: int, stop: int) -> list[tuple[int, int]]:
        """Position and length in the file of the frames stored as `first` to `stop`."""
        run = bisect_right(self._run_starts, first) - 1
        start, chunk, per_chunk = self._runs[run]
        offset, chunk = (first - start) % per_chunk, chunk + (first - start) // per_chunk
        sizes = self._sizes.rows(first - offset, stop).tolist()
        positions: list[int] = []
        while len(positions) < len(sizes):
            if run + 1 < len(self._runs) and chunk == self._runs[run + 1][1]:
                run += 1
                per_chunk = self._runs[run][2]
            at = int(self._chunks.rows(chunk, chunk + 1)[0])
            for size in sizes[len(positions) : len(positions) + per_chunk]:
                positions.append(at)
                at += size
            chunk += 1
        return list(zip(positions, sizes, strict=True))[offset:]


def _demand(is_so: bool) -> None:
    if not is_so:
        raise _NotACopyError


def _picture_kind(data: bytes) -> int:
    """The first byte of the first unit of a packet that holds a picture: how much others refer to it (2 bits), and its type (5)."""
    position = 0
    while position + 4 < len(data):
        if _SLICE <= data[position + 4] & 31 <= _IDR:
            return data[position + 4]
        position += 4 + int.from_bytes(data[position : position + 4], "big")
    raise VideoError("corrupt", "a packet holds no picture")


def _inner_boxes(data: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        _demand(size >= 8)
        yield data[position + 4 : position + 8], data[position + 8 : position + size]
        position += size


def _colours(box: bytes) -> tuple[int, int, int, int] | None:
    """Primaries, transfer, matrix and range (FFmpeg's numbers) where the track declares them."""
    if box[:4] != b"nclx" or len(box) < 11:
        return None
    return (*struct.unpack(">HHH", box[4:10]), 2 if box[10] & 0x80 else 1)


def open_copy(path: Path, short_side_pixels: int | None = None) -> CopyReader | None:
    """A reader of `path`; None where it is not an mp4 as `surgrec prepare` writes it, or cannot be read at all."""
    try:
        return CopyReader(path, short_side_pixels)
    except (_NotACopyError, OSError, VideoError):
        return None


class CopyReader(Closing):
    """A `VideoReader` of a training copy; see `surgrec.video.decode` for the promises."""

    def __init__(self, path: Path, short_side_pixels: int | None = None) -> None:
        self._path, self._short_side_pixels = Path(path), short_side_pixels
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._other: PyavReader | None = None
        self._converter = Converter()
        try:
            self._index = _Index(self._descriptor)
        except (struct.error, IndexError):
            self.close()
            raise _NotACopyError from None
        except BaseException:
            self.close()
            raise
        self._tick_seconds = 1 / self._index.ticks_per_second
        self._size = shrunk_size(self._index.height, self._index.width, short_side_pixels)

    def read(self, times_seconds: npt.ArrayLike, region_of: RegionOf | None = None) -> Frames:
        """The frames on display at `times_seconds`, (T,) ascending seconds since the first frame. Raises `VideoError`."""
        times = ascending(times_seconds)
        if self._other is None:
            try:
                return self._read(times, region_of)
            except _NotACopyError:
                self._other = PyavReader(self._path, self._short_side_pixels)
        return self._other.read(times, region_of)

    def _read(self, times: npt.NDArray[np.float64], region_of: RegionOf | None) -> Frames:
        index = self._index
        ticks = np.floor((times + tolerance_seconds(self._tick_seconds)) / self._tick_seconds).astype(np.int64)
        wanted = np.clip(ticks // index.step_ticks, 0, index.num_frames - 1).tolist()
        canvas, last = Canvas(len(wanted), region_of), -1
        decoded = self._decoded(sorted(set(wanted)))
        try:
            for number in wanted:
                if number == last:
                    canvas.repeat()
                    continue
                canvas.add(self._picture(next(decoded)), self._seconds(number))
                last = number
        except av.error.FFmpegError as error:
            raise failure(error, f"decoding failed on the way to {self._seconds(number):.2f} s") from None
        return canvas.frames

    def _picture(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        return self._converter.rgb(frame, *self._size)

    def _decoded(self, wanted: list[int]) -> Iterator[VideoFrame]:
        """The frames numbered `wanted`, ascending and each once, from a decoder that begins with their keyframe."""
        decoder, pending = self._decoder(), deque(wanted)
        for packet in (*self._packets(wanted), None):  # None empties the decoder
            for frame in decoder.decode(packet):
                if not pending or frame.pts != pending[0]:
                    continue
                if frame.is_corrupt:
                    raise VideoError("corrupt", f"the frame at {self._seconds(pending[0]):.2f} s is damaged")
                _demand((frame.height, frame.width) == (self._index.height, self._index.width))
                pending.popleft()
                yield frame
        raise VideoError("corrupt", f"the frame at {self._seconds(pending[0]):.2f} s is missing")

    def _decoder(self) -> VideoCodecContext:
        """A new one for every clip: nothing of another clip can be in it."""
        decoder = VideoCodecContext.create("h264", "r")
        decoder.extradata = self._index.decoder_header
        decoder.thread_count = 1
        decoder.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode"}  # what is damaged is not patched up
        if self._index.colours is not None:
            (decoder.color_primaries, decoder.color_trc, decoder.colorspace, decoder.color_range) = self._index.colours
        return decoder

    def _packets(self, wanted: list[int]) -> Iterator[Packet]:
        """What must be decoded to show `wanted`: of each group, what other frames refer to up to the last, and the wanted ones."""
        index, position = self._index, 0
        while position < len(wanted):
            first, stop = index.group_of(wanted[position])
            until = bisect_left(wanted, stop, position)
            numbers, of_group = index.shown_numbers(first, stop), set(wanted[position:until])
            last = max(stored for stored, number in enumerate(numbers) if number in of_group)
            for number, data in zip(numbers, self._stored(first, first + last + 1), strict=False):
                kind = _picture_kind(data)
                _demand(number != first or kind & 31 == _IDR)
                if kind >> 5 or number in of_group:  # nal_ref_idc: others refer to it
                    packet = Packet(data)
                    packet.pts = number
                    yield packet
            position = until

    def _stored(self, first: int, stop: int) -> Iterator[bytes]:
        """The packets stored as `first` to `stop`, with one read."""
        places = self._index.places(first, stop)
        begin, end = places[0][0], places[-1][0] + places[-1][1]
        _demand(0 <= end - begin <= 2 * sum(size for _, size in places))
        data = os.pread(self._descriptor, end - begin, begin)
        if len(data) < end - begin:
            raise VideoError("truncated")
        for at, size in places:
            yield data[at - begin : at - begin + size]

    def _seconds(self, number: int) -> float:
        return number * self._index.step_ticks * self._tick_seconds

    def restart(self) -> bool:
        return self._other is None or self._other.restart()

    @property
    def held_bytes(self) -> int:
        """Measured: see `docs/decoding.md`."""
        other = 0 if self._other is None else self._other.held_bytes
        return _HELD_BYTES + self._index.held_bytes + other

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._other is not None:
            self._other.close()
            self._other = None
