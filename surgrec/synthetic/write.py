"""Frames to a real video file: H.264 through PyAV, presentation times as planned.

In: a `VideoPlan` and a path. Out: the file, whole or not at all, the same bytes for the same plan. It is its own file because
it is the only place of this folder that knows codecs and containers.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from surgrec.core.atomic import atomic_path
from surgrec.synthetic.abdomen import Abdomen
from surgrec.synthetic.colon import Colon
from surgrec.synthetic.eye import Eye
from surgrec.synthetic.instruments import Canvas
from surgrec.synthetic.motion import Motion
from surgrec.synthetic.plan import VideoPlan
from surgrec.synthetic.robotic import Robot
from surgrec.synthetic.scene import Field, Theatre

# bitexact: Matroska would otherwise write a random identifier into every file
_CONTAINER_OPTIONS = {
    "mp4": {"movflags": "+faststart", "video_track_timescale": "90000", "fflags": "+bitexact"},
    "mov": {"video_track_timescale": "90000", "fflags": "+bitexact"},
    "mkv": {"fflags": "+bitexact"},
}
_FORMATS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}


def make_theatre(plan: VideoPlan) -> Theatre:
    """All that the videos of a case share: anatomy, instruments, light, camera."""
    canvas = Canvas(plan.source.width, plan.source.height)
    return Theatre(plan, canvas, _make_field(plan, canvas))


def _make_field(plan: VideoPlan, canvas: Canvas) -> Field:
    match plan.source.domain:
        case "endoscopy":
            return Colon(plan, canvas)
        case "laparoscopy":
            return Abdomen(plan, canvas)
        case "cataract":
            return Eye(plan, canvas)
        case "robotic":
            return Robot(plan, canvas)
    raise ValueError(f"no field for domain {plan.source.domain!r}")


def render(plan: VideoPlan, theatre: Theatre) -> Iterator[npt.NDArray[np.uint8]]:
    """The frames of a video in order, each (H, W, 3) uint8; `theatre` is that of its case."""
    motion = Motion(plan)
    for number, seconds in enumerate(plan.times_seconds):
        yield theatre.frame(plan, motion.at(float(seconds)), number)


def write_video(plan: VideoPlan, theatre: Theatre, path: Path) -> None:
    """Render and encode a video to `path`, atomically."""
    source = plan.source
    with (
        atomic_path(path) as temporary,
        av.open(
            str(temporary), "w", format=_FORMATS[source.container], options=_CONTAINER_OPTIONS[source.container]
        ) as out,
    ):
        stream = out.add_stream("libx264", rate=Fraction(source.fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = source.width, source.height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, plan.ticks_per_second)
        stream.codec_context.gop_size = source.gop_frames
        stream.codec_context.thread_count = 1  # several threads would cut frames differently
        stream.codec_context.max_b_frames = source.b_frames
        stream.options = {"preset": "superfast", "crf": str(source.crf), "bf": str(source.b_frames), "threads": "1"}
        for pixels, ticks in zip(render(plan, theatre), plan.ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = int(ticks), stream.time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
