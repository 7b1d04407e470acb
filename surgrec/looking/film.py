"""The features of a video as a video: frame, feature map, and the map over the frame, side by side.

In: frames and colours of the moments. Out: an mp4 of H.264. It is its own file because it is the only part that encodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from surgrec.core.atomic import atomic_path
from surgrec.core.errors import UserError

MIN_FPS, MAX_FPS = 4.0, 25.0
_STRIP_PIXELS = 28
_SECONDS_SHOWN = 2.0  # at least, however few moments there are
_BLEND = 0.55
_MARK = "surgrec look"  # in the film's own comment
_PAPER, _INK, _BAR = (21, 24, 28), (228, 231, 235), (111, 163, 216)

Pixels = npt.NDArray[np.uint8]


def film_fps(num_moments: int, duration_seconds: float) -> float:
    """As fast as the video itself where that can be watched, else faster."""
    return float(np.clip(num_moments / max(duration_seconds, 1e-3), MIN_FPS, MAX_FPS))


def write_film(
    path: Path, frames: Pixels, colours: Pixels, seconds: npt.NDArray[np.float64], duration_seconds: float
) -> float:
    """Write `frames` (n, P, P, 3), their `colours` (n, h, w, 3) beside them, and both together; returns the frames a second."""
    side = frames.shape[1]
    rate = Fraction(film_fps(len(frames), duration_seconds)).limit_denominator(100)
    with atomic_path(path) as temporary, av.open(str(temporary), "w", options={"movflags": "+faststart"}) as out:
        out.metadata["comment"] = _MARK
        stream = out.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 3 * side // 2 * 2, (side + _STRIP_PIXELS) // 2 * 2, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "threads": "1"}
        pictures = (_picture(*each, duration_seconds) for each in zip(frames, colours, seconds, strict=True))
        for picture in _lasting(pictures, int(np.ceil(_SECONDS_SHOWN * rate))):
            frame = av.VideoFrame.from_ndarray(picture[: stream.height, : stream.width], format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return float(rate)


def refuse_loss(path: Path) -> None:
    """Raise `UserError` where something else than such a film lies at `path`: a page beside an operation would take that one's place."""
    if not path.exists():
        return
    try:
        with av.open(f"file:{path}") as file:
            is_film = file.metadata.get("comment") == _MARK
    except (av.error.FFmpegError, OSError):
        is_film = False
    if not is_film:
        raise UserError(
            f"the film would be written to {path}, and what is there is no film of surgrec; choose another --out"
        )


def _lasting(pictures: Iterator[Pixels], least: int) -> Iterator[Pixels]:
    """The pictures, the last one again until there are `least`: a single one is no film that players show."""
    count = 0
    for picture in pictures:
        yield picture
        count += 1
    for _ in range(count, least):
        yield picture


def blended(frame: Pixels, enlarged: Pixels) -> Pixels:
    """A feature map over the frame's own light and dark."""
    grey = frame.mean(-1, keepdims=True)
    both: Pixels = ((1 - _BLEND) * grey + _BLEND * enlarged).round().astype(np.uint8)
    return both


def enlarged(colour: Pixels, side: int, is_smooth: bool = False) -> Pixels:
    """A map (h, w, 3) as a picture (side, side, 3)."""
    how = Image.Resampling.BICUBIC if is_smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(colour).resize((side, side), how))


def _picture(frame: Pixels, colour: Pixels, seconds: float, duration_seconds: float) -> Pixels:
    side = len(frame)
    row = np.concatenate(
        (frame, enlarged(colour, side), blended(frame, enlarged(colour, side, is_smooth=True))), axis=1
    )
    strip = Image.new("RGB", (3 * side, _STRIP_PIXELS), _PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((8, 5), clock(seconds), fill=_INK, font=ImageFont.load_default(15))
    part = min(1.0, seconds / duration_seconds) if duration_seconds > 0 else 1.0
    draw.rectangle((90, 13, 90 + round(part * (3 * side - 100)), 16), fill=_BAR)
    return np.concatenate((row, np.asarray(strip)), axis=0)


def clock(seconds: float) -> str:
    """'0:07.4', '12:30.0', '1:02:03.0'."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest // 10:02d}.{rest % 10}"
