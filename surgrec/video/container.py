"""Opening a container with PyAV: one place that turns FFmpeg's errors into reasons, and that picks the stream.

In: a path. Out: an open container and its video stream, to be used in a `with` block (a container that is not closed leaks).
It is its own file because probing and decoding must agree on which stream a file means and on what its timestamps mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from surgrec.video.errors import VideoError

_LOOKAHEAD_PACKETS = 2000  # reordering spans 16 frames; an edit list may hide a whole group of pictures before the cut


@contextmanager
def open_container(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open `path` and its best video stream; close it whatever happens. Raises `VideoError`."""
    container = _open(Path(path))
    try:
        yield container, _video_stream(container)
    finally:
        container.close()


def _open(path: Path) -> InputContainer:
    try:
        if path.stat().st_size == 0:
            raise VideoError("empty")
        container = av.open(str(path), mode="r", metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise VideoError(_reason_of_unopenable(path), f"opening failed: {error.strerror}") from None
    except OSError as error:
        raise VideoError("missing", error.strerror or "") from None
    if container.format.name.endswith("_pipe") or container.format.name in ("image2", "tty"):
        container.close()
        raise VideoError("not_a_video", "it is a picture or a text")
    return container


def _reason_of_unopenable(path: Path) -> str:
    """A file that starts as a container but cannot be opened was cut short: its index is at the end (mp4) or missing."""
    with path.open("rb") as file:
        head = file.read(12)
    is_container = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or head[:4] == b"\x1aE\xdf\xa3"
    return "truncated" if is_container or (head[:4] == b"RIFF" and head[8:12] == b"AVI ") else "not_a_video"


def _video_stream(container: InputContainer) -> VideoStream:
    """FFmpeg's best video stream (default flag, then most frames and bits), never an attached cover picture."""
    moving = [stream for stream in container.streams.video if "attached_pic" not in str(stream.disposition)]
    if not moving:
        raise VideoError("no_video_stream")
    best = container.streams.best("video")
    stream = best if best in moving else max(moving, key=lambda s: s.width * s.height)
    if stream.codec_context is None:
        raise VideoError("unsupported_codec")
    return stream


def time_base(stream: VideoStream) -> Fraction:
    """Seconds of one tick of the stream's clock."""
    if not stream.time_base:
        raise VideoError("no_timestamps")
    return stream.time_base


def presentation_time(packet: Packet) -> int:
    """When a packet's frame is shown, in ticks. Raises `VideoError` for a packet without any time."""
    ticks = packet.pts if packet.pts is not None else packet.dts
    if ticks is None:
        raise VideoError("no_timestamps")
    return ticks


def is_shown(packet: Packet) -> bool:
    """False for the flush packet at the end and for what an edit list hides."""
    return packet.size > 0 and not packet.is_discard


def declared_duration(container: InputContainer, stream: VideoStream) -> int:
    """How long the file says it is, in ticks; without bound where it says nothing. Only to aim by, never to decide."""
    if stream.duration is not None:
        return stream.duration
    if container.duration is not None:
        return round(container.duration / 1_000_000 / time_base(stream))
    return 2**62


def has_true_times(container: InputContainer, stream: VideoStream) -> bool:
    """False where FFmpeg reports times in decoding order as presentation times: reordered H.264 or HEVC in AVI.

    There, sorted, they are right, but only counted from the beginning.
    """
    context = stream.codec_context
    return container.format.name != "avi" or context.name not in ("h264", "hevc") or not context.has_b_frames


def is_landing(container: InputContainer, packet: Packet) -> bool:
    """Whether decoding may start at `packet`: a keyframe whose time is known without the packets before it.

    In an MPEG program stream several frames may share one stamped packet; the times of the others are guessed from where
    reading began. Only those that the container stamps have a position in the file.
    """
    return packet.size > 0 and packet.is_keyframe and (container.format.name != "mpeg" or packet.pos is not None)


def time_zero(container: InputContainer, stream: VideoStream) -> int:
    """The presentation time of the first frame that is shown, in ticks, from the first packets; rewind afterwards.

    Counted from the first keyframe on: what comes before it in a cut stream cannot be decoded, nor can frames that are
    shown before it. Raises `VideoError` where there is none.
    """
    key: int | None = None
    first: int | None = None
    for number, packet in enumerate(container.demux(stream)):
        if number >= _LOOKAHEAD_PACKETS or packet.size == 0:
            break
        ticks = presentation_time(packet)
        if key is None and packet.is_keyframe:
            key = ticks
        if first is not None and packet.dts is not None and packet.dts > first:
            break  # whatever is decoded later is shown later
        if key is not None and ticks >= key and is_shown(packet):
            first = ticks if first is None else min(first, ticks)
    if first is None:
        raise VideoError("no_frames", "there is no keyframe to start from")
    return first
