"""Which files the optional backends are known to read wrongly.

In: an open container. Out: nothing, or a `VideoError` that names the backend that reads it rightly. It is its own file because
both optional backends find a frame by its number and fail alike: where numbers and times do not go together (AVI, program
and transport streams), and where decoding from a keyframe does not begin with that keyframe (open groups of pictures,
gradual refresh).
"""

from __future__ import annotations

from collections.abc import Collection

from av.container import InputContainer
from av.video.stream import VideoStream

from surgrec.video.errors import VideoError

_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_IDR = 5  # type of an H.264 unit that starts a closed group (ITU-T H.264, table 7-1)


def refuse_misread(container: InputContainer, stream: VideoStream, backend: str, codecs: Collection[str]) -> None:
    """Raise `VideoError` unless `backend` reads the stream rightly; `codecs`: those it can. Reads all packets of H.264."""
    codec = stream.codec_context.codec.canonical_name
    if codec not in codecs or container.format.name not in _CONTAINERS:
        raise VideoError("unsupported_codec", f"{backend} misreads {codec} in {container.format.name}; choose pyav")
    if codec == "h264" and not _has_closed_groups(container, stream):
        raise VideoError("unsupported_codec", f"{backend} misreads H.264 with open groups of pictures; choose pyav")


def _has_closed_groups(container: InputContainer, stream: VideoStream) -> bool:
    """Whether every keyframe of an H.264 stream is an IDR picture."""
    header = stream.codec_context.extradata or b""
    if header[:1] != b"\x01":  # units not in length-prefixed form (ISO/IEC 14496-15), which mp4 and Matroska use
        return False
    num_length_bytes = (header[4] & 3) + 1
    keyframes = (packet for packet in container.demux(stream) if packet.size and packet.is_keyframe)
    return all(_IDR in _unit_types(bytes(packet), num_length_bytes) for packet in keyframes)


def _unit_types(data: bytes, num_length_bytes: int) -> set[int]:
    types, position = set(), 0
    while position + num_length_bytes < len(data):
        types.add(data[position + num_length_bytes] & 0x1F)
        position += num_length_bytes + int.from_bytes(data[position : position + num_length_bytes], "big")
    return types
