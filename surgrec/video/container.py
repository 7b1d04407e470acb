"""Opening a container with PyAV: one place that turns FFmpeg's errors into reasons, and that picks the stream.

In: a path. Out: an open container and its video stream, to be used in a `with` block (a container that is not closed leaks).
It is its own file because probing and decoding must agree on which stream a file means, on what its timestamps mean, and on
what of FFmpeg an untrusted file may reach.

FFmpeg knows some 350 formats and 500 decoders, many for one old game each, and formats that open further files or
addresses (playlists, `concat` scripts). Nothing but the lists below is reached: `CONTAINERS`, `DECODERS`, and local files
as the only protocol. A QuickTime file that refers to media in another file is not followed.
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

# What surgical recorders, endoscopy towers and public datasets write (FFmpeg's demuxer names):
CONTAINERS = {
    "mov": "mp4, m4v, mov, 3gp: nearly all recorders and datasets of today",
    "matroska": "mkv, webm: capture software, web video",
    "avi": "older towers and frame grabbers, simulation datasets",
    "mpeg": "mpg, vob: program streams of older towers and DVD recorders",
    "mpegts": "ts, mts, m2ts: AVCHD recorders and cameras in the operating theatre",
    "asf": "wmv: older hospital archives",
    "mxf": "broadcast recorders",
    "flv": "web video of the 2000s",
    "ogg": "ogv: open encyclopedias",
}
# Decoders by FFmpeg's names; one codec may have several.
DECODERS = (
    *("h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"),  # recorders, from new to old
    *("vp8", "libvpx", "vp9", "libvpx-vp9", "libdav1d", "libaom-av1", "av1", "theora", "flv", "h263"),  # web video
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "vc1"),  # DivX 3 and Windows Media
    *("prores", "dnxhd", "dvvideo"),  # cameras and editing
    *("rawvideo", "ffv1", "huffyuv", "ffvhuff", "utvideo"),  # frame grabbers without loss
)
MAX_PIXELS = 8192 * 4352  # of one picture: 8K. A file of some bytes may declare 30000 x 30000, 1.4 GB a picture

_RESTRICTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(CONTAINERS),
    "codec_whitelist": ",".join(DECODERS),
    "max_pixels": str(MAX_PIXELS),
    "enable_drefs": "0",
    "use_absolute_path": "0",
}
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
        # "file:" keeps a name with a colon in it from being read as an address.
        return av.open(f"file:{path}", mode="r", metadata_errors="replace", options=_RESTRICTIONS)
    except av.error.MemoryError as error:
        raise failure(error, "opening failed") from None
    except av.error.FFmpegError as error:
        reason = _reason_of_unopenable(path)
        if reason == "not_a_video":
            raise VideoError(
                reason, f"its container is none of those that are read ({', '.join(CONTAINERS)})"
            ) from None
        raise VideoError(reason, f"opening failed: {error.strerror}") from None
    except OSError as error:
        raise VideoError("missing", error.strerror or "") from None


def failure(error: av.error.FFmpegError, what_failed: str) -> VideoError:
    """The reason behind an error of FFmpeg: memory that the limits of this process refuse, else damage."""
    if isinstance(error, MemoryError):
        return VideoError("too_large", f"{what_failed}: it needs more memory than is allowed")
    return VideoError("corrupt", f"{what_failed}: {error.strerror}")


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
    _restrict(stream)
    return stream


def _restrict(stream: VideoStream) -> None:
    """Hold the stream's decoder to the lists and to the size of pictures; `_RESTRICTIONS` reach only those that probe."""
    context = stream.codec_context
    if context is None:
        raise VideoError("unsupported_codec")
    if context.codec.name not in DECODERS:
        name = context.codec.canonical_name
        raise VideoError("unsupported_codec", f"the codec {name} is not on the list of those that are read")
    if context.width * context.height > MAX_PIXELS:
        size = f"{context.width} x {context.height}"
        raise VideoError("too_large", f"its pictures are declared as {size} pixels, more than {MAX_PIXELS}")
    context.options = {"max_pixels": str(MAX_PIXELS)}


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
