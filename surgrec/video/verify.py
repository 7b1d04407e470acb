"""Whether a training copy is what it claims to be, by reading all of it back.

In: a finished copy and what it was meant to be. Out: nothing, or a `VideoError`. It is its own file because it must not share
code with the writer: what it trusts is the file.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from surgrec.video.container import open_container, time_base
from surgrec.video.errors import VideoError
from surgrec.video.pack import PackReader
from surgrec.video.transcode import Timeline

_BRANDS = {"major_brand", "minor_version", "compatible_brands"}  # what mp4 itself demands
_STREAM_FACTS = {"language", "handler_name", "vendor_id"}  # fixed by the format: und, VideoHandler, none


def verify_video(path: Path, wanted: Timeline, size: tuple[int, int], group_frames: int) -> None:
    """Every frame is there, at its time, decodes, starts a group where one is due; nothing but pictures is in the file.

    `size`: (height, width). Raises `VideoError` with the reason `bad_copy`.
    """
    try:
        with open_container(path) as (container, stream):
            _check_file(path, container, stream)
            _check_frames(container, stream, wanted, size, group_frames)
    except av.error.FFmpegError as error:
        raise VideoError("bad_copy", f"reading it back failed: {error.strerror}") from None


def verify_pack(path: Path, wanted: Timeline, size: tuple[int, int]) -> None:
    """Every frame is there, at its time, decodes and has `size` (height, width). Raises `VideoError`, reason `bad_copy`."""
    with PackReader(path) as pack:
        _demand(pack.num_frames == wanted.num_frames, f"it has {pack.num_frames} of {wanted.num_frames} frames")
        _demand((pack.height, pack.width) == size, f"its frames are {pack.width} x {pack.height}")
        times = np.arange(wanted.num_frames) / float(wanted.rate)
        for time in times:
            shown = pack.read([time]).times_seconds[0]
            _demand(abs(shown - time) < 1e-9, f"its frame of {time:.3f} s is at {shown:.3f} s")


def _demand(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise VideoError("bad_copy", otherwise)


def _check_file(path: Path, container: InputContainer, stream: VideoStream) -> None:
    _demand(len(container.streams) == 1, "it has more than one stream")
    _demand(stream.codec_context.name == "h264", f"its codec is {stream.codec_context.name}")
    notes = set(container.metadata) - _BRANDS | set(stream.metadata) - _STREAM_FACTS
    _demand(not notes, f"it carries notes: {', '.join(sorted(notes))}")
    _demand(not container.chapters(), "it has chapters")
    boxes = _boxes(path)
    _demand("moov" in boxes and boxes.index("moov") < boxes.index("mdat"), "its index is not in front")


def _boxes(path: Path) -> list[str]:
    """Names of the outermost boxes of an mp4 file (ISO/IEC 14496-12, section 4.2)."""
    names, position, num_bytes = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while position < num_bytes:
            file.seek(position)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            size = int.from_bytes(head[8:16], "big") if size == 1 else size
            names.append(head[4:8].decode("latin-1"))
            _demand(size >= 8, "its boxes are broken")
            position += size
    _demand(position == num_bytes, "it is cut short")
    return names


def _check_frames(
    container: InputContainer, stream: VideoStream, wanted: Timeline, size: tuple[int, int], group_frames: int
) -> None:
    step = 1 / (wanted.rate * time_base(stream))
    _demand(step.denominator == 1, "its clock does not divide its frames")
    _demand(stream.duration == wanted.num_frames * step, "it declares a wrong duration")
    num_packets = num_frames = 0
    shown: set[int] = set()  # of the group under way: numbers of its frames in the order of showing
    for packet in container.demux(stream):
        if packet.size:
            if num_packets % group_frames == 0:
                _demand(len(shown) == min(num_packets, group_frames), "two of its frames are shown at one time")
                shown.clear()
            shown.add(_shown_number(packet, num_packets, step, group_frames))
            num_packets += 1
        for frame in packet.decode():
            _demand(not frame.is_corrupt and frame.pts == num_frames * step, f"its frame {num_frames} is damaged")
            _demand((frame.height, frame.width) == size, f"its frames are {frame.width} x {frame.height}")
            num_frames += 1
    _demand(len(shown) == (num_packets - 1) % group_frames + 1, "two of its frames are shown at one time")
    _demand(num_packets == num_frames == wanted.num_frames, f"it has {num_frames} of {wanted.num_frames} frames")


def _shown_number(packet: Packet, number: int, step: Fraction, group_frames: int) -> int:
    """When the frame stored as `number` is shown, counted in frames: within its group, which begins with a keyframe."""
    shown = (packet.pts if packet.pts is not None else -1) / step
    first = number // group_frames * group_frames
    _demand(shown.denominator == 1 and first <= shown < first + group_frames, f"its frame {number} is out of time")
    is_due = number == first
    _demand(packet.is_keyframe == is_due, f"its frame {number} is {'no' if is_due else 'a'} keyframe")
    _demand(not is_due or shown == first, f"its keyframe {number} is not the first of its group")
    return int(shown)
