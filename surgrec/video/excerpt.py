"""A few seconds of a long video, as they are.

In: a path and a moment. Out: a short file with the same packets, not encoded anew. It is its own file because measuring what copies of a
corpus would be like must not take the time of copying its hours.
"""

from __future__ import annotations

from pathlib import Path

import av

from surgrec.video.container import failure, open_container
from surgrec.video.errors import VideoError


def write_excerpt(source: Path, target: Path, start_seconds: float, seconds: float) -> None:
    """Write the packets from the keyframe before `start_seconds` on, `seconds` of them or a little more, to `target`, a Matroska file.

    Raises `VideoError` where the source cannot be read or its stream cannot be carried over.
    """
    try:
        with open_container(source) as (container, stream), av.open(str(target), "w", format="matroska") as output:
            copy = output.add_stream_from_template(stream)
            assert stream.time_base is not None
            container.seek(int(start_seconds / stream.time_base), stream=stream)
            first = None
            for packet in container.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                first = packet.dts if first is None else first
                if (packet.dts - first) * stream.time_base > seconds:
                    return
                packet.stream = copy
                output.mux(packet)
    except av.error.FFmpegError as error:
        raise failure(error, "a part of it cannot be copied") from None
    except ValueError as error:  # of a codec that Matroska has no name for
        raise VideoError("unsupported_codec", str(error)) from None
