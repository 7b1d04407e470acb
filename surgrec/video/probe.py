"""What a video file is, without decoding more than its first frame.

In: a path. Out: a `VideoInfo`, or a `VideoError` that says what is wrong. It is its own file because indexing a corpus must
be fast: the file is opened once, and one pass over the packets counts the frames that are shown, finds their times, finds a
file that was cut short and decodes the first frame on the way, without turning it into RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from surgrec.video.container import (
    MAX_PIXELS,
    failure,
    has_true_times,
    is_shown,
    open_container,
    presentation_time,
    time_base,
)
from surgrec.video.decode import PACK_SUFFIX
from surgrec.video.errors import VideoError
from surgrec.video.pack import CODEC, PackReader

# without a new picture: longer, and longer than so many usual intervals, is a gap
_GAP_SECONDS, _GAP_INTERVALS = 60.0, 100
_LONGEST_PICTURE_SECONDS = 600.0  # a video that shows its pictures for longer, on the average, is none


@dataclass(frozen=True)
class VideoInfo:
    """`num_frames` that are shown; `duration_seconds` until the last one's end; mean `fps`; upright `width` and `height`.

    `rotation_degrees`: counter-clockwise turn that makes stored frames upright (0, 90, 180, 270), already applied to the
    size. `start_seconds`: time of the first frame on the container's own clock. `is_variable_rate`: intervals differ.
    """

    num_frames: int
    duration_seconds: float
    fps: float
    width: int
    height: int
    codec: str
    rotation_degrees: int
    start_seconds: float
    is_variable_rate: bool


@dataclass(frozen=True)
class _Packets:
    """What one pass over the packets finds: sorted times of the shown frames and the last one's duration, in ticks."""

    ticks: npt.NDArray[np.int64]
    last_duration: int


def probe(path: Path) -> VideoInfo:
    """Read all packets of `path`, decode its first frame. Raises `VideoError`."""
    path = Path(path)
    if path.suffix == PACK_SUFFIX:
        return _pack_info(path)
    try:
        with open_container(path) as (container, stream):
            _refuse_truncated(path, container, stream)
            first = _FirstFrame(container, stream)
            packets = _read_packets(container, stream, first)
            codec = stream.codec_context.codec.canonical_name
            tick = time_base(stream)
            declared_fps = float(stream.average_rate or stream.guessed_rate or 0)
    except av.error.FFmpegError as error:
        raise failure(error, "reading its packets failed") from None
    frame = first.frame()
    rotation_degrees = round(frame.rotation / 90) % 4 * 90
    stored = frame.height, frame.width
    height, width = stored if rotation_degrees % 180 == 0 else stored[::-1]
    return _info(packets, tick, declared_fps, codec, height, width, rotation_degrees)


def _pack_info(path: Path) -> VideoInfo:
    with PackReader(path) as pack:
        if not 0 < pack.width * pack.height <= MAX_PIXELS:
            raise VideoError("too_large", f"its pictures are said to have {pack.width} x {pack.height} pixels")
        _refuse_untrue_times(np.diff(np.append(pack.times_seconds, pack.duration_seconds)), pack.duration_seconds)
        fps = pack.num_frames / pack.duration_seconds
        size = pack.width, pack.height
        return VideoInfo(pack.num_frames, pack.duration_seconds, fps, *size, CODEC, 0, 0.0, is_variable_rate=False)


def _read_packets(container: InputContainer, stream: VideoStream, first: _FirstFrame) -> _Packets:
    ticks: list[int] = []
    key: int | None = None
    last_ticks, last_duration, is_damaged = -(2**62), 0, False
    for packet in container.demux(stream):
        if packet.size == 0:
            first.feed(packet)
            continue
        shown_at = presentation_time(packet)
        if key is None and packet.is_keyframe:
            key = shown_at
        is_damaged = packet.is_corrupt
        if key is None:
            continue
        first.feed(packet)
        if shown_at < key or not is_shown(packet):
            continue
        ticks.append(shown_at)
        if shown_at > last_ticks:
            last_ticks, last_duration = shown_at, packet.duration or 0
    if is_damaged:
        raise VideoError("truncated", "its last packet is incomplete")
    if not ticks:
        raise VideoError("no_frames", "it declares a video stream without a keyframe")
    return _Packets(np.sort(np.array(ticks, np.int64)), last_duration)


class _FirstFrame:
    """Decodes packets, from the first keyframe on, until a frame comes out that is shown at that keyframe's time or later.

    A decoder of reordered video holds the keyframe back until it has decoded several others. So it is first asked for what it
    has after the keyframe alone, which nearly always is the frame; where not, it begins anew and is given all that follows.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._context = stream.codec_context
        self._context.thread_count = 1  # more threads only begin more frames that nobody wants
        self._has_true_times = has_true_times(container, stream)
        self._key: int | None = None
        self._fed: list[int] = []  # times of the packets in the decoder, smallest first
        self._found: VideoFrame | VideoError | None = None

    def feed(self, packet: Packet) -> None:
        """The next packet, the empty one at the end too. What is wrong with it is told by `frame`: a file that was cut short
        is to be called that."""
        if self._found is not None or (self._key is None and packet.size == 0):
            return
        try:
            if self._key is None:
                self._key = presentation_time(packet)
                self._found = self._decode(packet) or self._decode(None)
                if self._found is None:
                    self._context.flush_buffers()
                    self._fed.clear()
            self._found = self._found or self._decode(packet)
        except av.error.FFmpegError as error:
            self._found = failure(error, "decoding its first frame failed")

    def _decode(self, packet: Packet | None) -> VideoFrame | VideoError | None:
        """The frame wanted, where it comes out after `packet`; None drains the decoder."""
        assert self._key is not None
        if packet is not None and is_shown(packet):
            heappush(self._fed, presentation_time(packet))
        for frame in self._context.decode(packet):
            assert isinstance(frame, VideoFrame)
            smallest = heappop(self._fed) if self._fed else None
            ticks = frame.pts if self._has_true_times and frame.pts is not None else smallest
            if ticks is None or ticks < self._key:
                continue
            return VideoError("corrupt", "its first frame is damaged") if frame.is_corrupt else frame
        return None

    def frame(self) -> VideoFrame:
        """The frame, still to be turned upright."""
        if isinstance(self._found, VideoFrame):
            return self._found
        raise self._found or VideoError("no_frames")


def _info(
    packets: _Packets, tick: Fraction, declared_fps: float, codec: str, height: int, width: int, rotation: int
) -> VideoInfo:
    """`tick` in seconds, kept exact so that 25 fps is 25.0."""
    first, last = int(packets.ticks[0]), int(packets.ticks[-1])
    intervals = np.diff(packets.ticks)
    fps = float(len(intervals) / ((last - first) * tick)) if last > first else declared_fps
    last_duration = packets.last_duration * tick if packets.last_duration else Fraction(1 / fps if fps > 0 else 0)
    # Rounding to ticks moves an interval by one tick each way; more is a variable rate.
    is_variable = len(intervals) > 0 and int(np.ptp(intervals)) > max(2, 0.01 * float(np.median(intervals)))
    duration = float((last - first) * tick + last_duration)
    _refuse_untrue_times(np.append(intervals * float(tick), float(last_duration)), duration)
    return VideoInfo(
        len(packets.ticks), duration, fps, width, height, codec, rotation, float(first * tick), is_variable
    )


def _refuse_untrue_times(shown_seconds: npt.NDArray[np.float64], duration_seconds: float) -> None:
    """Raise `VideoError` where timestamps jump: one glitch can make days of a minute, which would then be most of a mixture.

    `shown_seconds`, (N,): how long each picture is shown. Pauses of a recorder are let pass as long as they are less than its footage.
    """
    usual = float(np.partition(shown_seconds, (len(shown_seconds) - 1) // 2)[(len(shown_seconds) - 1) // 2])
    is_gap = shown_seconds > max(_GAP_SECONDS, _GAP_INTERVALS * usual)
    gaps_seconds = float(shown_seconds[is_gap].sum())
    is_slow = duration_seconds > _LONGEST_PICTURE_SECONDS * len(shown_seconds)
    if is_slow or gaps_seconds > duration_seconds / 2 or not np.isfinite(duration_seconds):
        pictures = f"{len(shown_seconds)} pictures in {duration_seconds / 3600:.2f} hours"
        raise VideoError(
            "corrupt", f"its timestamps cannot be true: {pictures}, {gaps_seconds / 3600:.2f} of them without a new one"
        )


def _refuse_truncated(path: Path, container: InputContainer, stream: VideoStream) -> None:
    """Raise `VideoError` where the file declares more bytes than it has. Transport streams declare nothing."""
    num_bytes, declared = path.stat().st_size, _declared_bytes(path, container, stream)
    if declared > num_bytes:
        raise VideoError("truncated", f"only {num_bytes} of {declared} bytes are there")


def _declared_bytes(path: Path, container: InputContainer, stream: VideoStream) -> int:
    """The least size that the container's own tables give the file; 0 where they say nothing."""
    with path.open("rb") as file:
        head = file.read(4096)
    match container.format.name:
        case "matroska,webm":
            return _matroska_bytes(head)
        case "avi":
            return 8 + int.from_bytes(head[4:8], "little") if head[:4] == b"RIFF" else 0
        case _:
            return max((entry.pos + entry.size for entry in stream.index_entries), default=0)


def _matroska_bytes(head: bytes) -> int:
    """End of the Segment element, by EBML's variable-length sizes (RFC 8794, section 4); 0 where the size is unknown, or beyond `head`:
    an EBML header may be of any length."""
    position = 4
    header_size, length = _ebml_size(head, position)
    position += length + header_size
    if head[position : position + 4] != b"\x18S\x80g" or len(head) < position + 12:  # its size takes 8 bytes at most
        return 0
    segment_size, length = _ebml_size(head, position + 4)
    is_unknown = segment_size == (1 << 7 * length) - 1
    return 0 if is_unknown else position + 4 + length + segment_size


def _ebml_size(head: bytes, position: int) -> tuple[int, int]:
    """(value, length in bytes) of a variable-length size."""
    length = 9 - head[position].bit_length()
    value = int.from_bytes(head[position : position + length], "big")
    return value & ((1 << 7 * length) - 1), length
