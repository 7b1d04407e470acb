"""Small videos whose frames carry their own number in their pixels.

In: a path, a format, frame times. Out: a file of 128 x 96 frames that show their index as 12 black or white squares, which
survive any codec. It is its own file because the tests of decoding, of probing and of the corpus all build on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, SQUARE = 128, 96, 32
_SMALL_GOP = {"g": "12", "bf": "2", "x264-params": "scenecut=0:b-adapt=0"}


def picture_of(index: int) -> npt.NDArray[np.uint8]:
    """(96, 128, 3): bit b of `index` in the b-th square, row by row."""
    bits = (index >> np.arange(12) & 1).reshape(3, 4)
    grey = np.where(np.kron(bits, np.ones((SQUARE, SQUARE), int)) > 0, 235, 20)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def indices_in(pixels: npt.NDArray[np.uint8]) -> list[int]:
    """The number that each frame of (T, H, W, 3) shows."""
    num, height, width, _ = pixels.shape
    squares = pixels[:, height // 6 :: height // 3, width // 8 :: width // 4, 1][:, :3, :4]
    return ((squares > 128).reshape(num, 12) @ (1 << np.arange(12))).tolist()


@dataclass(frozen=True)
class Coded:
    """A video to write: frame i shows `shown[i]` from `times[i]` seconds on."""

    name: str
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=lambda: dict(_SMALL_GOP))
    times: Sequence[Fraction] = tuple(Fraction(i, 25) for i in range(300))
    shown: Sequence[int] | None = None
    container_options: dict[str, str] = field(default_factory=dict)
    rotation: int | None = None  # counter-clockwise degrees that a player must turn the stored pictures by
    ticks_per_second: int | None = None  # of the encoder; None: one tick per frame at 25 fps


def write(folder: Path, video: Coded) -> Path:
    """Encode `video` into `folder`."""
    path = folder / video.name
    shown = video.shown if video.shown is not None else range(len(video.times))
    with av.open(str(path), "w", options=video.container_options) as container:
        stream = container.add_stream(video.codec, rate=25, options=video.options)
        quarter_turns = (video.rotation or 0) // 90
        stream.width, stream.height = (HEIGHT, WIDTH) if quarter_turns % 2 else (WIDTH, HEIGHT)
        stream.pix_fmt = "yuv420p"
        tick = Fraction(1, video.ticks_per_second or 25)
        stream.codec_context.time_base = tick
        if video.rotation is not None:
            stream.set_display_rotation(video.rotation)
        for index, time in zip(shown, video.times, strict=True):
            stored = np.ascontiguousarray(np.rot90(picture_of(index), -quarter_turns))
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, change: Callable[[av.Packet], bool], **options: str) -> Path:
    """Copy the packets of `source` without encoding; `change` may edit one and says whether to keep it."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.size and change(packet):
                packet.stream = stream
                new.mux(packet)
    return target


def variable_times(num_frames: int) -> list[Fraction]:
    """Intervals between 10 and 190 ms in milliseconds, the same on every call."""
    milliseconds = np.random.default_rng(7).integers(10, 191, num_frames - 1).cumsum()
    return [Fraction(0), *(Fraction(int(value), 1000) for value in milliseconds)]


SECONDS = tuple(Fraction(i) for i in range(12))
CODED = {
    "h264 with B frames": Coded("cfr.mp4"),
    "h264, one keyframe": Coded("one_keyframe.mp4", options={"g": "600", "bf": "3", "x264-params": "scenecut=0"}),
    "h264, open groups": Coded(
        "open.mp4", options={"g": "12", "x264-params": "open-gop=1:scenecut=0:b-adapt=0:bframes=3"}
    ),
    "h264, no keyframe but intra refresh": Coded("refresh.mp4", options={"x264-params": "intra-refresh=1:keyint=25"}),
    "h264 in fragments": Coded("fragments.mp4", container_options={"movflags": "frag_keyframe+empty_moov"}),
    "h264 variable rate": Coded("variable.mp4", times=variable_times(300), ticks_per_second=1000),
    "h264 variable rate, mkv": Coded("variable.mkv", times=variable_times(300), ticks_per_second=1000),
    "h264 at 29.97": Coded("ntsc.mkv", times=[Fraction(1001 * i, 30000) for i in range(300)], ticks_per_second=30000),
    "h264 that starts at 5 s": Coded("offset.mp4", times=[5 + Fraction(i, 25) for i in range(300)]),
    "h264, upside down": Coded("upside_down.mp4", rotation=180),
    "h264, on its side": Coded("on_its_side.mp4", rotation=90),
    "h264, mkv": Coded("cfr.mkv"),
    "h264, avi": Coded("h264.avi"),
    "h264, ts": Coded("cfr.ts"),
    "mpeg4, avi": Coded("mpeg4.avi", codec="mpeg4", options={"g": "12", "bf": "2"}),
    "mpeg2, mpg": Coded("mpeg2.mpg", codec="mpeg2video", options={"g": "12", "bf": "2"}),
    "wmv": Coded("cfr.wmv", codec="wmv2", options={"g": "12"}),
    "hevc": Coded("hevc.mp4", codec="libx265", options={"x265-params": "keyint=12:bframes=3:log-level=none:pools=1"}),
    "mpeg4, mp4": Coded("mpeg4.mp4", codec="mpeg4", options={"g": "12", "bf": "2"}),
    "vp9, webm": Coded("vp9.webm", codec="libvpx-vp9", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}),
}
