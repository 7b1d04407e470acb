"""Reading frames by time with PyAV, the default backend: every format that FFmpeg knows, exact by presentation time.

In: a path, then times. Out: `Frames`. It is its own file because the whole care of seeking lives here:

* A seek lands on a keyframe; what is shown before that keyframe is dropped, and if the keyframe itself is shown after the
  wanted time the seek is repeated further back, at last by opening the file anew. Correct first, fast second.
* Reordered H.264 in AVI carries no usable times in its middle: it is always decoded from the beginning, slow but right.
* Going forward, a seek is made only where a keyframe lies between here and there; else decoding goes on.
* Packets are read a little ahead of the decoder. Their times tell which frame is on display at a wanted time without
  decoding the one after it, and which H.264 frames nobody wants and nobody refers to: those are not decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from surgrec.video.closing import Closing
from surgrec.video.container import (
    declared_duration,
    failure,
    has_true_times,
    is_landing,
    is_shown,
    open_container,
    presentation_time,
    time_base,
    time_zero,
)
from surgrec.video.decode import Frames, RegionOf, ascending, shrunk_size, tolerance_seconds
from surgrec.video.errors import VideoError
from surgrec.video.lookahead import Lookahead
from surgrec.video.pixels import Canvas, Converter

_SHORT_GAP_SECONDS = 0.2  # decoding on costs less than asking
_BLIND_SEEK_SECONDS = 10.0  # without an index of keyframes, a gap longer than this is worth a seek
_SEEK_BACKOFF_SECONDS = (0.0, 1.0, 10.0)  # how much further back each try aims
_BYTES_AT_LEAST, _BYTES_PER_PACKET, _PICTURES_HELD = 1_000_000, 50, 9
_CODECS_WITH_REFERENCE_FLAG = ("h264",)  # the bitstream says of each frame whether any other refers to it (nal_ref_idc)


class _Timed(NamedTuple):
    ticks: int
    frame: VideoFrame


@dataclass
class _Run:
    """Decoding from one keyframe on."""

    packets: Lookahead
    frames: Iterator[_Timed]
    is_first: bool  # that keyframe is the first of the file
    current: _Timed | None = None  # the frame shown last that is not after the time asked for
    following: _Timed | None = None  # the frame after it, where it had to be decoded


class PyavReader(Closing):
    """A `VideoReader`; see `surgrec.video.decode` for the promises."""

    def __init__(self, path: Path, short_side_pixels: int | None = None, num_threads: int = 1) -> None:
        self._path = Path(path)
        self._short_side_pixels = short_side_pixels
        self._num_threads = num_threads
        self._converter = Converter()
        self._files = ExitStack()
        self._wanted: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._run: _Run | None = None
        self.rotation_degrees = 0  # counter-clockwise turn applied; known once a frame was read
        try:
            self._open()
            self._zero = time_zero(self._container, self._stream)
        except av.error.FFmpegError as error:
            self.close()
            raise failure(error, "reading failed") from None
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._files.close()
        self._container: InputContainer
        self._stream: VideoStream
        self._container, self._stream = self._files.enter_context(open_container(self._path))
        self._stream.codec_context.thread_count = self._num_threads
        if self._num_threads > 1:
            self._stream.codec_context.thread_type = "AUTO"
        self._tick_seconds = float(time_base(self._stream))
        self._has_true_times = has_true_times(self._container, self._stream)
        context = self._stream.codec_context
        self._declared = context.height, context.width  # pictures of another size are brought to this one
        self._can_skip = self._has_true_times and self._stream.codec_context.name in _CODECS_WITH_REFERENCE_FLAG

    def close(self) -> None:
        self._files.close()

    @property
    def start_seconds(self) -> float:
        """Presentation time of the first frame on the container's own clock."""
        return self._zero * self._tick_seconds

    def read(self, times_seconds: npt.ArrayLike, region_of: RegionOf | None = None) -> Frames:
        """The frames on display at `times_seconds`, (T,) ascending seconds since the first frame. Raises `VideoError`."""
        times = ascending(times_seconds)
        canvas, last = Canvas(len(times), region_of), None
        for timed in self._frames_at(times):
            if timed.ticks == last:
                canvas.repeat()
            else:
                canvas.add(self._upright_rgb(timed.frame), self._seconds(timed.ticks))
            last = timed.ticks
        return canvas.frames

    def restart(self) -> bool:
        """Seek before the next read. Only where all keyframes are known beforehand does a seek not depend on what was read."""
        self._run = None
        return self._has_true_times and 0 < self._stream.frames <= len(self._stream.index_entries)

    @property
    def held_bytes(self) -> int:
        """Measured: see `docs/decoding.md`."""
        height, width = self._declared
        return _BYTES_AT_LEAST + _BYTES_PER_PACKET * self._stream.frames + _PICTURES_HELD * height * width * 3 // 2

    def decoded(self, times_seconds: npt.ArrayLike) -> Iterator[tuple[float, VideoFrame]]:
        """The frames of `read`, one by one as the decoder gave them (neither upright nor RGB), each with its own time.

        A frame on display at several of the times is given as often. Raises `VideoError`.
        """
        for timed in self._frames_at(times_seconds):
            yield self._seconds(timed.ticks), timed.frame

    def _frames_at(self, times_seconds: npt.ArrayLike) -> Iterator[_Timed]:
        times = ascending(times_seconds)
        ticks = np.floor((times + tolerance_seconds(self._tick_seconds)) / self._tick_seconds).astype(np.int64)
        self._wanted = np.maximum(ticks, 0) + self._zero
        for wanted in self._wanted.tolist():
            try:
                timed = self._frame_at(wanted)
            except av.error.FFmpegError as error:
                self._run = None
                raise failure(error, f"decoding failed on the way to {self._seconds(wanted):.2f} s") from None
            except VideoError:
                self._run = None
                raise
            yield timed

    def _seconds(self, ticks: int) -> float:
        return (ticks - self._zero) * self._tick_seconds

    # -- position in the file

    def _start_run(self, is_first: bool) -> _Run:
        """Decode from where the container stands."""
        container = self._container
        if is_first:
            packets = Lookahead(container.demux(self._stream), lambda packet: packet.size > 0 and packet.is_keyframe)
        else:
            packets = Lookahead(container.demux(self._stream), lambda packet: is_landing(container, packet))
        return _Run(packets, self._decode(packets), is_first)

    def _rewind(self) -> _Run:
        """Start at the beginning in the one way that works with every container: open the file anew."""
        self._open()
        return self._start_run(is_first=True)

    def _seek(self, ticks: int) -> _Run:
        """Start at a keyframe that is shown at `ticks` or before, the latest that the container finds."""
        aim = min(ticks, self._zero + declared_duration(self._container, self._stream))
        for backoff in _SEEK_BACKOFF_SECONDS if self._has_true_times else ():
            try:
                self._container.seek(aim - round(backoff / self._tick_seconds), stream=self._stream)
                run = self._start_run(is_first=False)
            except (av.error.FFmpegError, VideoError):  # nothing to land on from there to the end
                continue
            if run.packets.key_ticks <= ticks:
                return run
        return self._rewind()

    def _must_seek(self, run: _Run, ticks: int) -> bool:
        position = run.packets.key_ticks if run.current is None else run.current.ticks
        gap_seconds = (ticks - position) * self._tick_seconds
        if gap_seconds < 0:
            return position > self._zero
        if gap_seconds < _SHORT_GAP_SECONDS or not self._has_true_times or run.packets.is_last(position):
            return False
        index = self._stream.index_entries
        if not 0 < self._stream.frames <= len(index):  # no complete index, as in Matroska or transport streams
            return gap_seconds > _BLIND_SEEK_SECONDS
        entry = index.search_timestamp(ticks, backward=True)
        return entry >= 0 and index[entry].timestamp > position

    # -- decoding

    def _frame_at(self, ticks: int) -> _Timed:
        run = self._run
        if run is None or self._must_seek(run, ticks):
            run = self._run = self._seek(ticks)
        timed = self._advance(run, ticks)
        while (timed is None or timed.ticks > ticks) and not run.is_first:
            # The decoder gives nothing until later than its keyframe, as with gradual refresh: start further back.
            run = self._run = self._seek(run.packets.key_ticks - 1)
            timed = self._advance(run, ticks)
        if timed is None:
            raise VideoError("no_frames")
        run.packets.forget_before(timed.ticks)
        return timed

    def _advance(self, run: _Run, ticks: int) -> _Timed | None:
        """Decode until the frame on display at `ticks`; where that is before the first frame of the run, the first."""
        target = run.packets.shown_at(ticks)
        while run.current is None or (target is not None and run.current.ticks < target):
            if run.following is None:
                run.following = next(run.frames, None)
            if run.following is None or (run.current is not None and run.following.ticks > ticks):
                break  # the frame that the packets promised did not come out of the decoder: the one before it stays
            run.current, run.following = run.following, None
        return run.current

    def _decode(self, packets: Lookahead) -> Iterator[_Timed]:
        """Frames from the keyframe on, in the order they are shown."""
        fed: list[int] = []  # times of the packets in the decoder, smallest first
        while True:
            packet = packets.pop()
            if is_shown(packet):
                heappush(fed, presentation_time(packet))
            if self._can_skip:
                self._stream.codec_context.skip_frame = "DEFAULT" if self._is_wanted(packet, packets) else "NONREF"
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)
                smallest = heappop(fed) if fed else None
                ticks = frame.pts if self._has_true_times and frame.pts is not None else smallest
                if ticks is None or ticks < packets.key_ticks:
                    continue
                if frame.is_corrupt:
                    raise VideoError("corrupt", f"the frame at {self._seconds(ticks):.2f} s is damaged")
                yield _Timed(ticks, frame)
            if packet.size == 0:
                return

    def _is_wanted(self, packet: Packet, packets: Lookahead) -> bool:
        """Whether the frame of `packet` is on display at a wanted time, or may be at a later one."""
        if packet.size == 0:
            return True
        shown = presentation_time(packet)
        if shown >= self._wanted[-1]:
            return True
        until = packets.next_after(shown)
        return until is None or bool(np.searchsorted(self._wanted, shown) < np.searchsorted(self._wanted, until))

    # -- pixels

    def _upright_rgb(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        quarter_turns = round(frame.rotation / 90) % 4
        self.rotation_degrees = 90 * quarter_turns
        height, width = self._declared
        if 0 in self._declared:  # the container does not say; a decoder must
            height, width = frame.height, frame.width
        upright = (width, height) if quarter_turns % 2 else (height, width)
        size = shrunk_size(*upright, self._short_side_pixels)
        height, width = size if quarter_turns % 2 == 0 else size[::-1]
        rgb = self._converter.rgb(frame, height, width)
        return np.rot90(rgb, quarter_turns) if quarter_turns else rgb
