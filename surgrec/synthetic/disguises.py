"""A recording made to look like another: re-encoded, scaled, cropped, trimmed, mirrored, brightened, and so on.

In: a video file and the name of a disguise. Out: the file of a copy. It is its own file because the benchmark plants copies of rendered
surgery and the tests plant copies of real clips for `surgrec audit contamination` to find, and both must mean the same by each disguise.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from surgrec.core.atomic import atomic_path
from surgrec.video.decode import open_video
from surgrec.video.probe import probe

Frames = npt.NDArray[np.uint8]
Times = npt.NDArray[np.float64]

# -- disguises: frames (T, H, W, 3), their times, a generator -> the same of the copy


def reencoded(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Nothing but a bad encoding: see `_crf_of`."""
    return frames, times


def rescaled(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """0.4 to 1.5 times as large."""
    factor = random.choice([0.4, 0.5, 0.7, 1.5])
    height, width = (2 * round(side * factor / 2) for side in frames.shape[1:3])
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in frames]), times


def cropped(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """A window of 0.75 to 0.92 of each side, anywhere."""
    height, width = (round(side * random.uniform(0.75, 0.92)) for side in frames.shape[1:3])
    top, left = (
        int(random.integers(0, side - part + 1)) for side, part in zip(frames.shape[1:3], (height, width), strict=True)
    )
    return frames[:, top : top + height, left : left + width], times


def trimmed(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Without 10 to 30 % at the beginning and 10 to 25 % at the end."""
    start, end = random.uniform(0.1, 0.3) * times[-1], (1 - random.uniform(0.1, 0.25)) * times[-1]
    return _between(frames, times, start, end)


def mirrored(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Left and right exchanged."""
    return frames[:, :, ::-1], times


def brightness_shifted(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Gamma 0.8 to 1.25, gain 0.7 to 1.4, offset up to 25 of 255."""
    gamma, gain, offset = random.uniform(0.8, 1.25), random.uniform(0.7, 1.4), random.uniform(-25, 25)
    table = np.clip((np.arange(256) / 255) ** gamma * 255 * gain + offset, 0, 255).astype(np.uint8)
    return table[frames], times


def frame_rate_changed(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """6 to 30 frames a second, each the one on display."""
    rate = random.choice([6.0, 8.0, 10.0, 15.0, 24.0, 30.0])
    wanted = np.arange(int(times[-1] * rate)) / rate
    return frames[np.searchsorted(times, wanted + 1e-6, side="right") - 1], wanted


def letterboxed(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Black bars of 10 to 30 % above and below, left and right, or both."""
    across, down = (round(random.uniform(0.1, 0.3) * side) for side in frames.shape[1:3])
    bars = [(across, 0), (0, down), (across, down)][random.integers(3)]
    return np.pad(frames, ((0, 0), (bars[0], bars[0]), (bars[1], bars[1]), (0, 0))), times


def overlaid(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """A logo and a running clock, on a third of the copies in a bar of their own."""
    height, width = frames.shape[1:3]
    has_bar = random.integers(3) == 0
    return np.stack(
        [_with_overlay(frame, width, height, second, has_bar) for frame, second in zip(frames, times, strict=True)]
    ), times


def excerpt(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """Five seconds from anywhere; of a shorter video, all of it."""
    start = random.uniform(0, max(0.0, times[-1] - 5))
    return _between(frames, times, start, start + 5)


def mirrored_cropped_trimmed(frames: Frames, times: Times, random: np.random.Generator) -> tuple[Frames, Times]:
    """All three."""
    for change in (trimmed, cropped, mirrored):
        frames, times = change(frames, times, random)
    return frames, times


DISGUISES: dict[str, Callable[[Frames, Times, np.random.Generator], tuple[Frames, Times]]] = {
    function.__name__: function
    for function in (
        reencoded, rescaled, cropped, trimmed, mirrored, brightness_shifted, frame_rate_changed, letterboxed, overlaid, excerpt,
        mirrored_cropped_trimmed,
    )
}  # fmt: skip


def _crf_of(name: str, random: np.random.Generator) -> int:
    """x264's quality: 33 to 38 where encoding is the disguise, else 28."""
    return int(random.integers(33, 39)) if name == "reencoded" else 28


def _between(frames: Frames, times: Times, start: float, end: float) -> tuple[Frames, Times]:
    chosen = (times >= start) & (times <= end)
    return frames[chosen], times[chosen] - times[chosen][0]


def _with_overlay(frame: Frames, width: int, height: int, second: float, has_bar: bool) -> Frames:
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width - width // 4, 2, width - 2, height // 6), fill=(230, 230, 240))
    draw.text((width - width // 4 + 3, 4), "HOSP", fill=(0, 0, 160))
    if has_bar:
        draw.rectangle((0, height - 16, width, height), fill=(0, 0, 0))
    draw.text((4, height - 14), f"10:12:{int(second):02d}", fill=(255, 255, 0))
    return np.asarray(image)


# -- files


def read_frames(source: Path, short_side_pixels: int | None = None) -> tuple[Frames, Times]:
    """All frames of a video and their times, in memory; shrunk to `short_side_pixels` where that is given. Raises `VideoError`."""
    info = probe(source)
    with open_video(source, short_side_pixels=short_side_pixels) as reader:
        read = reader.read(np.arange(info.num_frames) / info.fps)
    first = np.unique(read.times_seconds, return_index=True)[1]
    return read.pixels[first], read.times_seconds[first]


def write_copy(frames: Frames, times: Times, copy: Path, disguise: str, seed: int) -> None:
    """Disguise a recording and write `copy`, whole or not at all; `seed` chooses strengths and places."""
    random = np.random.default_rng(seed)
    changed, shown = DISGUISES[disguise](frames, times, random)
    with atomic_path(copy) as temporary:
        encode(temporary, changed, shown, _crf_of(disguise, random))


def encode(path: Path, frames: Frames, times: Times, crf: int = 28) -> None:
    """H.264, each frame at its own time."""
    height, width = (side - side % 2 for side in frames.shape[1:3])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90000)
        stream.codec_context.thread_count = 1
        for pixels, second in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            frame.pts, frame.time_base = round(second * 90000), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
