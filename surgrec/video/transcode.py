"""A training copy of a video: constant rate, small upright pictures, cheap to decode from anywhere.

In: a path and a `CopySpec`. Out: an mp4 file, or frames for a pack (`surgrec.video.pack`). It is its own file because both
formats of copies must show the same picture at the same moment: choosing frames by presentation time, cutting the content
box, turning and shrinking happen here, once.

The copy's frame k is the frame of the source on display k / rate seconds after its first. Nothing is cut from the timeline,
so that labels and `usable` intervals of the source hold for the copy.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from surgrec.core.errors import UserError
from surgrec.video.container import failure
from surgrec.video.decode import shrunk_size
from surgrec.video.errors import VideoError
from surgrec.video.pack import write_pack
from surgrec.video.probe import VideoInfo
from surgrec.video.pyav_reader import PyavReader

FORMATS = ("video", "frames")
_SEI_UNITS = 6  # supplemental information: x264 writes its version and settings there (ITU-T H.264, table 7-1)
_FULL = errno.ENOSPC, errno.EDQUOT


@dataclass(frozen=True)
class CopySpec:
    """What copies are like.

    `fps`: frames a second, 0 for the source's mean rate; never more than the source has. `short_side_pixels`: never enlarged.
    `group_frames`: from keyframe to keyframe. `skippable_frames`: so many between two frames that others refer to; a reader passes over
    those that it does not want. `crf`: x264's constant quality, lower is better and larger. `jpeg_quality` of Pillow, for the format
    "frames", which reads none of the three.
    """

    format: str = "video"
    fps: float = 0.0
    short_side_pixels: int = 288
    group_frames: int = 32
    skippable_frames: int = 3
    crf: int = 23
    jpeg_quality: int = 85

    def parameters(self) -> dict[str, Any]:
        """The fields that its format reads."""
        others = {"video": ("jpeg_quality",), "frames": ("group_frames", "skippable_frames", "crf")}[self.format]
        return {name: value for name, value in asdict(self).items() if name not in others}

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UserError(f"the format {self.format!r} is unknown; use one of {', '.join(FORMATS)}")
        for name, low, high in (
            ("fps", 0, 1000),
            ("short_side_pixels", 16, 4096),
            ("group_frames", 1, 1000),
            ("skippable_frames", 0, 15),
            ("crf", 0, 51),
            ("jpeg_quality", 1, 95),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"{name} is {getattr(self, name)}; give a number from {low} to {high}")
        if 0 < self.fps < 1 / 1001:
            raise UserError(f"fps is {self.fps}; give 0 for the rate of the source, or at least 0.001 frames a second")
        if self.short_side_pixels % 2:
            raise UserError(f"short_side_pixels is {self.short_side_pixels}; H.264 needs even sizes")


@dataclass(frozen=True)
class PixelBox:
    """What to keep of the upright picture, in pixels of the source: columns `left` to `right`, rows `top` to `bottom`. A manifest's
    `content_box`."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Timeline:
    """When the frames of a copy are shown: frame k of `num_frames` at k / `rate` seconds."""

    rate: Fraction
    num_frames: int
    slack_seconds: float  # how much later than that a frame of the source may start

    @property
    def duration_seconds(self) -> float:
        return float(self.num_frames / self.rate)


def timeline(info: VideoInfo, fps: float) -> Timeline:
    """The timeline of a copy with `fps` frames a second (0: the source's rate); its end is within half a frame of the source's."""
    source_rate = _exact_rate(info)
    is_source_rate = not 0 < fps < source_rate
    rate = source_rate if is_source_rate else Fraction(fps).limit_denominator(1001)
    num_frames = max(1, round(info.duration_seconds * rate))
    # At the source's own constant rate every frame is wanted once. Rounded timestamps and a rate known only as a mean move
    # frames by less than a quarter of their interval.
    slack = float(1 / (4 * rate)) if is_source_rate and not info.is_variable_rate else 0.0
    return Timeline(rate, num_frames, slack)


def _exact_rate(info: VideoInfo) -> Fraction:
    """The rate that a mean of rounded times stands for: a whole number, one of NTSC's, else the mean itself."""
    if info.fps <= 0:
        return Fraction(1)  # a single picture that says nothing
    whole, broadcast = Fraction(round(info.fps)), Fraction(round(info.fps * 1.001) * 1000, 1001)
    for rate in (whole, broadcast):
        if rate > 0 and abs(info.num_frames / rate - info.duration_seconds) < 0.2 / rate:
            return rate
    return Fraction(info.fps).limit_denominator(1001)


def copy_size(info: VideoInfo, spec: CopySpec, box: PixelBox | None) -> tuple[int, int]:
    """(height, width) of the pictures of a copy."""
    if box is None:
        return even_size(info.height, info.width, spec.short_side_pixels)
    return even_size(box.bottom - box.top, box.right - box.left, spec.short_side_pixels)


def even_size(height: int, width: int, short_side_pixels: int) -> tuple[int, int]:
    """(height, width) of the copy of a picture, or of its content box: shrunk, both even, at least 2."""
    height, width = shrunk_size(height, width, short_side_pixels)
    return max(2, height // 2 * 2), max(2, width // 2 * 2)


def copied_frames(
    source: Path, info: VideoInfo, spec: CopySpec, box: PixelBox | None, pixel_format: str
) -> Iterator[VideoFrame]:
    """The frames of a copy in order, upright, cut, shrunk, in `pixel_format`; a repeated frame is the same object."""
    times = timeline(info, spec.fps)
    seconds = np.arange(times.num_frames) / float(times.rate) + times.slack_seconds
    picture = _Picture(info, spec, box, pixel_format)
    with PyavReader(source) as reader:
        last_time, last = -1.0, None
        for time, frame in reader.decoded(seconds):
            if last is None or time != last_time:
                last_time, last = time, picture.of(frame)
            yield last


class _Picture:
    """Turns, cuts and shrinks frames with a chain of FFmpeg's filters, built anew where the stream changes its pictures."""

    def __init__(self, info: VideoInfo, spec: CopySpec, box: PixelBox | None, pixel_format: str) -> None:
        self._box = box or PixelBox(0, 0, info.width, info.height)
        if not (
            0 <= self._box.left < self._box.right <= info.width and 0 <= self._box.top < self._box.bottom <= info.height
        ):
            raise VideoError("out_of_range", f"its content box does not lie in its {info.width} x {info.height} pixels")
        self._upright = info.height, info.width
        self._size = copy_size(info, spec, self._box)
        self._pixel_format = pixel_format
        self._graph: Graph | None = None
        self._made_for: tuple[object, ...] = ()

    def of(self, frame: VideoFrame) -> VideoFrame:
        kind = (
            *(frame.width, frame.height, frame.format.name, round(frame.rotation / 90) % 4),
            *(frame.colorspace, frame.color_range),
        )
        frame.pts = None  # times were used to choose the frame; the chain must not look at them
        try:
            if self._graph is None or kind != self._made_for:
                self._graph, self._made_for = self._chain(frame), kind
            self._graph.vpush(frame)
            return self._graph.vpull()
        except av.error.FFmpegError as error:
            raise failure(error, "its pictures cannot be converted") from None
        except RuntimeError:  # PyAV's word for a filter that cannot be allocated
            raise MemoryError from None

    def _chain(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        source = graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000:pixel_aspect=1/1"
            f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        quarter_turns = round(frame.rotation / 90) % 4
        turns = ([], [("transpose", "cclock")], [("hflip", ""), ("vflip", "")], [("transpose", "clock")])[quarter_turns]
        height, width = self._size
        scale = f"{width}:{height}:flags=area+accurate_rnd+full_chroma_int:out_range=tv"
        chain = [
            *turns,
            *self._crop((frame.height, frame.width) if quarter_turns % 2 == 0 else (frame.width, frame.height)),
            ("scale", scale if self._pixel_format != "rgb24" else scale.rpartition(":")[0]),
            ("format", self._pixel_format),
        ]
        filters = [graph.add(name, arguments) if arguments else graph.add(name) for name, arguments in chain]
        graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
        return graph

    def _crop(self, upright: tuple[int, int]) -> list[tuple[str, str]]:
        """The content box in pictures of `upright` (height, width), which differs from the first in few recordings."""
        rows, columns = upright[0] / self._upright[0], upright[1] / self._upright[1]
        left, top = round(self._box.left * columns), round(self._box.top * rows)
        width, height = round(self._box.right * columns) - left, round(self._box.bottom * rows) - top
        if (height, width) == upright:
            return []
        return [("crop", f"{max(1, width)}:{max(1, height)}:{left}:{top}")]


# -- mp4


def write_video(source: Path, target: Path, info: VideoInfo, spec: CopySpec, box: PixelBox | None) -> None:
    """Write the copy of `source` to `target` as mp4. Raises `VideoError`; `UserError` where the disk is full."""
    with _Mp4(target, timeline(info, spec.fps).rate, spec) as copy:
        for frame in copied_frames(source, info, spec, box, "yuv420p"):
            copy.add(frame)


class _Mp4:
    """An mp4 file under way: H.264 whose every group of pictures can be decoded alone, and nothing but pictures."""

    def __init__(self, path: Path, rate: Fraction, spec: CopySpec) -> None:
        self._path, self._rate, self._spec = path, rate, spec
        self._files = ExitStack()
        self._stream: VideoStream | None = None
        self._num_frames = 0
        try:
            self._file = self._files.enter_context(
                av.open(
                    f"file:{path}",
                    "w",
                    format="mp4",
                    # bitexact leaves out the writer's name and the time of writing
                    container_options={
                        "movflags": "+faststart+negative_cts_offsets",
                        "fflags": "+bitexact",
                        "use_editlist": "0",
                    },
                )
            )
        except (av.error.FFmpegError, OSError) as error:
            raise writing_failed(error) from None

    def add(self, frame: VideoFrame) -> None:
        if self._stream is None:
            self._start(frame)
        stream = cast(VideoStream, self._stream)
        frame.pts, frame.time_base = self._num_frames, 1 / self._rate
        frame.pict_type = 0  # the source's kinds of pictures mean nothing here
        self._num_frames += 1
        self._write(self._encoded(stream, frame))

    def _encoded(self, stream: VideoStream, frame: VideoFrame | None) -> list[av.Packet]:
        """Packets of `frame`; None ends the stream. x264 is given sizes and formats that it knows, so what it refuses lacks memory."""
        try:
            return stream.encode(frame)
        except av.error.FFmpegError as error:
            raise VideoError("too_large", f"the encoder cannot take its pictures: {error.strerror}") from None

    def _start(self, frame: VideoFrame) -> None:
        spec = self._spec
        stream = self._file.add_stream(
            "libx264",
            rate=self._rate,
            options={
                "preset": "veryfast",
                "tune": "fastdecode",
                "crf": str(spec.crf),
                "x264-params": f"keyint={spec.group_frames}:min-keyint={spec.group_frames}:scenecut=0:open-gop=0"
                f":bframes={spec.skippable_frames}:b-adapt=0:b-pyramid=none",
            },
        )
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self._rate
        context.thread_count = 1  # videos run beside each other instead; and more threads give other bytes
        context.colorspace, context.color_range = int(frame.colorspace), int(frame.color_range)
        context.color_primaries, context.color_trc = int(frame.color_primaries), int(frame.color_trc)
        self._stream = stream
        self._without_sei = BitStreamFilterContext(f"filter_units=remove_types={_SEI_UNITS}", stream)

    def _write(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            for stripped in self._without_sei.filter(packet):
                stripped.stream = self._stream
                try:
                    self._file.mux(stripped)
                except (av.error.FFmpegError, OSError) as error:
                    raise writing_failed(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._stream is not None:
            self._write(self._encoded(self._stream, None))
        try:
            self._files.close()
        except (av.error.FFmpegError, OSError) as error:
            if kind is None:
                raise writing_failed(error) from None


def write_frames(source: Path, target: Path, info: VideoInfo, spec: CopySpec, box: PixelBox | None) -> None:
    """Write the copy of `source` to `target` as a pack of JPEGs. Raises as `write_video`."""
    times = timeline(info, spec.fps)
    frames = copied_frames(source, info, spec, box, "rgb24")
    try:
        write_pack(
            target,
            (np.asarray(frame.to_ndarray(), np.uint8) for frame in frames),
            np.arange(times.num_frames) / float(times.rate),
            times.duration_seconds,
            spec.jpeg_quality,
        )
    except OSError as error:
        raise writing_failed(error) from None


def writing_failed(error: OSError | av.error.FFmpegError) -> VideoError | UserError:
    """A full disk ends the command; a copy larger than its limit costs that video."""
    if error.errno in _FULL:
        return UserError("the disk is full; free some space, then run the same command again to continue")
    if error.errno == errno.EFBIG:
        return VideoError("too_large", "its copy would be larger than is allowed")
    return UserError(f"writing the copy failed: {error.strerror}; mend that, then run the same command again")
