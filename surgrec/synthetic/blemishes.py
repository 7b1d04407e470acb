"""What recordings suffer from, planted into good ones, so that what filters find can be compared with what is there.

In: frames (T, H, W, 3), uint8. Out: frames. It is its own file because tests and benchmarks plant the same things; all are pure functions
of their arguments.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Frames = npt.NDArray[np.uint8]
Corner = tuple[int, int]  # (0 or 1, 0 or 1): left or right, top or bottom

_WORDS = ("DOE JANE", "1961-04-17", "ID 4711-0815", "REC 00:12", "CHOLE LAP", "ROOM 3 OR", "DR MILLER", "M 63 Y")


def frozen(frames: Frames, start: int, stop: int) -> Frames:
    """Frame `start` stands until `stop`."""
    result = frames.copy()
    result[start:stop] = frames[start]
    return result


def replaced(frames: Frames, start: int, stop: int, picture: Frames) -> Frames:
    """A still `picture` (H, W, 3) from `start` to `stop`."""
    result = frames.copy()
    result[start:stop] = picture
    return result


def colour_bars(height: int, width: int) -> Frames:
    """EBU bars, 75 %."""
    colours = [[r, g, b] for g in (191, 0) for r in (191, 0) for b in (191, 0)]
    return np.broadcast_to(np.array(colours, np.uint8)[np.arange(width) * 8 // width], (height, width, 3)).copy()


def blue_screen(height: int, width: int) -> Frames:
    """A recorder without a signal."""
    picture = Image.new("RGB", (width, height), (12, 20, 200))
    _write(picture, (width // 3, height // 2), "NO SIGNAL", height // 14)
    return np.asarray(picture)


def menu(height: int, width: int) -> Frames:
    """A list of settings of a recorder."""
    picture = Image.new("RGB", (width, height), (52, 58, 66))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, width, height // 10), fill=(20, 90, 150))
    for line in range(6):
        top = height * (3 + 2 * line) // 16
        draw.rectangle((width // 12, top, width // 12 + height // 24, top + height // 24), fill=(230, 230, 230))
        _write(picture, (width // 5, top), _WORDS[line], height // 16)
    return np.asarray(picture)


def blurred(frames: Frames, start: int, stop: int, sigma: float) -> Frames:
    """Out of focus: a Gaussian of `sigma` pixels over the whole picture, black corners too, which stay where they are."""
    result = frames.copy()
    reach = int(3 * sigma + 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for index in range(start, stop):
        is_shown = frames[index].max(axis=-1, keepdims=True) > 10
        soft = frames[index].astype(np.float32)
        for axis in (0, 1):
            padded = np.pad(soft, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
            soft = sum(
                weight * np.take(padded, np.arange(k, k + soft.shape[axis]), axis=axis)
                for k, weight in enumerate(kernel)
            )
        result[index] = np.where(is_shown, soft, frames[index])
    return result


def captioned(
    frames: Frames, start: int, stop: int, corner: Corner, num_lines: int, height_share: float, first_word: int = 0
) -> Frames:
    """Lines of light text with a dark edge, as recorders burn them in; `height_share`: of a line, of the picture's height."""
    height, width = frames.shape[1:3]
    size = max(6, round(height_share * height))
    layer = Image.new("RGBA", (width, height))
    for line in range(num_lines):
        word = _WORDS[(first_word + line) % len(_WORDS)]
        length = _font(size).getlength(word)
        x = round(0.04 * width) if corner[0] == 0 else round(0.96 * width - length)
        y = (
            round(0.05 * height + 1.3 * size * line)
            if corner[1] == 0
            else round(0.95 * height - 1.3 * size * (num_lines - line))
        )
        _write(layer, (x, y), word, size, stroke=1)
    return _laid_over(frames, start, stop, np.asarray(layer))


def logo(frames: Frames, start: int, stop: int, corner: Corner, side_share: float, opacity: float) -> Frames:
    """A maker's mark: a ring around a triangle; `side_share`: of the picture's height."""
    height, width = frames.shape[1:3]
    side = round(side_share * height)
    x = round(0.05 * width) if corner[0] == 0 else round(0.95 * width) - side
    y = round(0.06 * height) if corner[1] == 0 else round(0.94 * height) - side
    layer = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(layer)
    thick = max(2, side // 8)
    draw.ellipse((x, y, x + side, y + side), outline=(240, 240, 250, round(255 * opacity)), width=thick)
    points = [
        (x + side // 2, y + side // 4),
        (x + side // 4, y + 2 * side // 3),
        (x + 3 * side // 4, y + 2 * side // 3),
    ]
    draw.polygon(points, fill=(30, 120, 230, round(255 * opacity)))
    return _laid_over(frames, start, stop, np.asarray(layer))


def inset(frames: Frames, start: int, stop: int, other: Frames, corner: Corner, share: float, border: int) -> Frames:
    """Another video in a corner, a little off the edges; `share`: of the sides; `border`: pixels of light frame, 0 for none."""
    height, width = frames.shape[1:3]
    small_height, small_width = round(share * height), round(share * width)
    x = round(0.03 * width) if corner[0] == 0 else round(0.97 * width) - small_width
    y = round(0.03 * height) if corner[1] == 0 else round(0.97 * height) - small_height
    result = frames.copy()
    for index in range(start, stop):
        small = Image.fromarray(other[index % len(other)]).resize((small_width, small_height), Image.Resampling.BOX)
        result[index, max(0, y - border) : y + small_height + border, max(0, x - border) : x + small_width + border] = (
            210
        )
        result[index, y : y + small_height, x : x + small_width] = np.asarray(small)
    return result


def letterboxed(frames: Frames, bar_rows: int, bar_columns: int, noise: float = 0.0) -> Frames:
    """Black bars of so many pixels at top and bottom, left and right; `noise`: its standard deviation, as of analogue capture."""
    bars = [(0, 0), (bar_rows, bar_rows), (bar_columns, bar_columns), (0, 0)]
    result = np.pad(frames, bars)
    if noise:
        random = np.random.default_rng(0)
        grain = random.normal(8.0, noise, size=result.shape)
        is_bar = np.pad(np.zeros(frames.shape[:3], np.bool_), bars[:3], constant_values=True)[..., None]
        result = np.where(is_bar, np.clip(grain, 0, 255), result).astype(np.uint8)
    return result


def _laid_over(frames: Frames, start: int, stop: int, layer: npt.NDArray[np.uint8]) -> Frames:
    opacity = layer[..., 3:].astype(np.float32) / 255
    result = frames.copy()
    result[start:stop] = frames[start:stop] * (1 - opacity) + layer[..., :3] * opacity
    return result


def _write(picture: Image.Image, at: tuple[int, int], text: str, size: int, stroke: int = 0) -> None:
    ImageDraw.Draw(picture).text(
        at, text, fill=(245, 245, 245, 255), font=_font(size), stroke_width=stroke, stroke_fill=(10, 10, 10, 255)
    )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
