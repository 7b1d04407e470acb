"""Wet, coloured, uneven matter: periodic noise, vessels, and the packed surfaces that scenes sample.

In: a NumPy generator and sizes. Out: float32 noise and `Surface`s (8-bit colour, gloss, normal and exposure of every texel,
in one word, so that one gather fetches them all). It is its own file because every domain is made of it.
All noise is periodic: a camera may wander off one edge and come back at the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]  # float32 wherever a frame is drawn
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Surface:
    """Eight bytes a texel: red, green, blue, gloss, normal x, normal y, normal z, exposure."""

    texels: npt.NDArray[np.uint64]  # (rows, columns)


class Sheet:
    """A square of tissue under construction: lay one kind over another, then `bake`. Lengths count picture half heights."""

    def __init__(self, random: np.random.Generator, texels: int, units: float) -> None:
        self.random, self.texels, self.units = random, texels, units
        grid = np.linspace(-units / 2, units / 2, texels, endpoint=False, dtype=np.float32)
        self.x, self.y = grid[None, :], grid[:, None]
        self.warp = self.noise(2.2, 1, 9)  # bends outlines
        self.rough = self.noise(1.8, 2, 60)  # mottles colour
        self.fine = self.noise(1.0, 10, 120)
        self.ripple = self.noise(1.1, 5, 24)  # breaks up highlights
        self.web = vessels(self.noise(1.8, 2, 24) + 0.15 * self.rough, 0.05)
        flat = np.zeros((texels, texels), np.float32)
        self.rgb: Array = np.zeros((3, texels, texels), np.float32)
        self.height: Array = flat
        self.gloss: Array = flat
        self.exposure: Array = flat

    def noise(self, exponent: float, low: float, high: float) -> Array:
        """Noise between `low` and `high` cycles a sheet."""
        return fractal(self.random, (self.texels, self.texels), exponent, low, high)

    def around(self, rgb: tuple[float, float, float], spread: float) -> Array:
        """A colour of this case: each channel within `spread` of the given one."""
        return colour(*(np.array(rgb) + self.random.uniform(-spread, spread, 3)))

    def lay(self, where: Array, rgb: Array, height: Array | float, gloss: float, exposure: Array | float) -> None:
        """Cover what is there, where `where` is 1."""
        self.rgb = mix(self.rgb, rgb, where)
        self.height = self.height + (height - self.height) * where
        self.gloss = self.gloss + (gloss - self.gloss) * where
        self.exposure = self.exposure + (exposure - self.exposure) * where

    def stain(self, where: Array, rgb: Array) -> None:
        """Change the colour only."""
        self.rgb = mix(self.rgb, rgb, where)

    def bake(self, smooth_texels: float = 2.0) -> Surface:
        """The finished surface, its relief smoothed."""
        texel = self.units / self.texels
        height = blur(self.height, smooth_texels) + 0.0007 * self.fine
        gloss = np.clip(self.gloss + 0.1 * self.rough * self.gloss, 0, 1)
        return surface(self.rgb, gloss, height, self.exposure, (texel, texel))


def fractal(
    random: np.random.Generator,
    shape: tuple[int, int],
    exponent: float,
    low: float = 1.0,
    high: float = 1e9,
    extent: tuple[float, float] = (1.0, 1.0),
) -> Array:
    """Periodic noise with zero mean and unit deviation, amplitude falling as frequency**-exponent between `low` and `high`.

    Frequencies count cycles per unit of length, the texture being `extent` units large. Spectral synthesis (Saupe 1988, in
    "The Science of Fractal Images", section 2.4.3).
    """
    rows, columns = shape
    fy = np.fft.fftfreq(rows, extent[0] / rows).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(columns, extent[1] / columns).astype(np.float32)[None, :]
    # beyond, the amplitude is below 0.03 %; irfft2 fills with 0
    fx = fx[:, : int(min(1.7 * high * extent[1], columns)) + 2]
    square = fy * fy + fx * fx
    cut = square * (1 / high**2)
    amplitude = np.exp(np.log(np.maximum(square, 1e-12)) * (-exponent / 2) - cut * cut) * (square >= low * low)
    amplitude[0, 0] = 0
    parts = random.standard_normal((*amplitude.shape, 2), dtype=np.float32) * amplitude[..., None]
    noise = np.fft.irfft2(parts.view(np.complex64)[..., 0], s=shape).astype(np.float32)
    return noise / max(float(noise.std()), 1e-12)


def vessels(noise: Array, width: float) -> Array:
    """Thin lines in [0, 1] along the zero contours of smooth noise; where the noise is flat they swell, like real ones."""
    return 1 / (1 + (noise / np.float32(width)) ** 2) ** 2


def smoothstep(x: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array, weight: Array) -> Array:
    """`a` where `weight` is 0, `b` where it is 1; colours are (3, 1, 1) or (3, rows, columns), weights (rows, columns)."""
    return a + (b - a) * weight


def colour(red: float, green: float, blue: float) -> Array:
    """A colour in 0..255 as an array that broadcasts over pixels, shape (3, 1, 1)."""
    return np.array([red, green, blue], dtype=np.float32)[:, None, None]


def blur(field: Array, texels: float) -> Array:
    """Periodic Gaussian blur with a deviation of `texels`."""
    fy = np.fft.fftfreq(field.shape[0]).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(field.shape[1]).astype(np.float32)[None, :]
    kernel = np.exp(-2 * (np.pi * texels) ** 2 * (fy * fy + fx * fx))
    return np.fft.irfft2(np.fft.rfft2(field) * kernel, s=field.shape).astype(np.float32)


def slopes(height: Array, texel: tuple[float, float]) -> tuple[Array, Array]:
    """Central differences of a periodic height field along columns (x) and rows (y); `texel` is (row, column) size."""
    along_x = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) / np.float32(2 * texel[1])
    along_y = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) / np.float32(2 * texel[0])
    return along_x, along_y


def pack(channels: list[Array], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Planes in 0..255 to bytes that lie together, (rows, columns, channels); view them as one word per texel."""
    packed = np.empty((*shape, len(channels)), np.uint8)
    for index, channel in enumerate(channels):
        packed[..., index] = np.clip(channel, 0, 255)
    return packed


def surface(rgb: Array, gloss: Array, height: Array, exposure: Array, texel: tuple[float, float]) -> Surface:
    """Bake colour (3, rows, columns) in 0..255, gloss and exposure in 0..1 and a height field into a `Surface`."""
    sx, sy = slopes(height, texel)
    length = 1 / np.sqrt(1 + sx * sx + sy * sy)
    shape = (rgb.shape[1], rgb.shape[2])
    normal = [128 - 127 * sx * length, 128 - 127 * sy * length, 255 * length]
    channels = [rgb[0], rgb[1], rgb[2], 255 * gloss, *normal, 255 * exposure]
    return Surface(pack(channels, shape).view(np.uint64)[..., 0])
