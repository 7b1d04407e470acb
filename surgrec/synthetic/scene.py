"""What all operating fields share: a lit landscape under a moving camera, blood, smoke, optics, and the room outside.

In: surfaces, a `Moment`, a `Canvas`. Out: pixels. It is its own file because the four domains differ in anatomy only; light,
camera and optics are the same physics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from surgrec.synthetic import tissue
from surgrec.synthetic.instruments import DRAW, Canvas, Finish, Point, Pose
from surgrec.synthetic.motion import Moment
from surgrec.synthetic.plan import VideoPlan, event_at
from surgrec.synthetic.tissue import Array, Surface

GAUZE = 384  # texels of the noise canvases for smoke and sensor noise


class Field(Protocol):
    """An operating field: one per domain."""

    finish: Finish

    def backdrop(self, canvas: Canvas, moment: Moment) -> None:
        """Paint the tissue over the whole canvas."""

    def tools(self, moment: Moment) -> list[tuple[str, Pose]]:
        """The instruments in the picture, back to front."""


@dataclass(frozen=True)
class Light:
    """A lamp beside the lens: an offset of its direction, how fast it falls off from the middle, how hard highlights are."""

    tilt: tuple[float, float]
    falloff: float
    ambient: float
    sparkle: float  # 0..1
    hardness: float  # the share of normals that shine, small is hard

    @classmethod
    def draw(
        cls, random: np.random.Generator, sparkle: float = 1.0, falloff: tuple[float, float] = (0.35, 0.8)
    ) -> Light:
        """A lamp for a case."""
        angle = random.uniform(0, 2 * np.pi)
        tilt = random.uniform(0.25, 0.45)
        return cls(
            tilt=(tilt * np.cos(angle), tilt * np.sin(angle)),
            falloff=float(random.uniform(*falloff)),
            ambient=float(random.uniform(0.2, 0.35)),
            sparkle=float(random.uniform(0.6, 1.0)) * sparkle,
            hardness=float(random.uniform(0.014, 0.03)),
        )


@dataclass(frozen=True)
class Camera:
    """Where a camera looks: landscape units, magnification, radians."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0
    roll: float = 0.0


@dataclass(frozen=True)
class Pull:
    """Tissue held at `at` (picture units) and displaced by `by`, fading over `radius`."""

    at: Point
    by: Point
    radius: float


class Landscape:
    """A `Surface` seen from above by a moving camera, breathing, pulled by instruments. One per case and picture size."""

    def __init__(
        self, surface: Surface, units: float, canvas: Canvas, light: Light, random: np.random.Generator
    ) -> None:
        self.surface, self.light = surface, light
        self.texels = surface.texels.shape[0]
        self.per_unit = self.texels / units
        tilt_x, tilt_y = light.tilt
        lx, ly = np.float32(tilt_x) - canvas.x * np.float32(0.35), np.float32(tilt_y) - canvas.y * np.float32(0.35)
        length = 1 / np.sqrt(lx * lx + ly * ly + 1)
        self._lx, self._ly, self._lz = lx * length / 127, ly * length / 127, length / 255
        self._l0 = -(lx + ly) * length * np.float32(128 / 127)
        square = (canvas.x - np.float32(0.4 * tilt_x)) ** 2 + (canvas.y - np.float32(0.4 * tilt_y)) ** 2
        self.reach = (1 / (1 + np.float32(light.falloff) * square)).astype(np.float32)
        a, b, c, d, p, q = random.uniform(0.6, 2.2, size=6)
        self._breath_x = (np.sin(canvas.x * a + canvas.y * b + p) * np.float32(self.per_unit)).astype(np.float32)
        self._breath_y = (np.cos(canvas.y * c - canvas.x * d + q) * np.float32(self.per_unit)).astype(np.float32)
        self._breath_hz, self._pulse_hz = random.uniform(0.18, 0.3), random.uniform(0.9, 1.3)
        self._breath_size, self._pulse_size = random.uniform(0.015, 0.04), random.uniform(0.003, 0.008)

    def paint(
        self,
        canvas: Canvas,
        camera: Camera,
        seconds: float,
        pulls: tuple[Pull, ...] = (),
        blood: tuple[Point, float] | None = None,
    ) -> None:
        """Paint the landscape over the canvas; `blood` is where it wells (picture units) and how much, 0..1."""
        columns, rows = self._texel_of_pixel(canvas, camera, seconds, pulls)
        columns_in = columns.astype(np.int64) & (self.texels - 1)
        index = rows.astype(np.int64) * self.texels + columns_in  # whole rows wrap in `take`
        texels = self.surface.texels.take(index, mode="wrap").view(np.uint8).reshape(*index.shape, 8)
        paint, relief = texels[..., :4], texels[..., 4:]
        facing = relief[..., 0] * self._lx + relief[..., 1] * self._ly + relief[..., 2] * self._lz + self._l0
        reach = self.reach * np.float32(camera.zoom**0.7)
        diffuse = np.maximum(facing, 0) * np.float32(1 - self.light.ambient) + np.float32(self.light.ambient)
        shade = diffuse * relief[..., 3] * (reach * np.float32(1 / 200))
        gloss: Array | npt.NDArray[np.uint8] = paint[..., 3]
        for channel in range(3):
            np.multiply(paint[..., channel], shade, out=canvas.pixels[channel])
        if blood is not None and blood[1] > 0:
            alpha = bleed(canvas, blood[0], blood[1], relief[..., 0], shade * np.float32(0.9))
            gloss = gloss + (200 - gloss.astype(np.float32)) * alpha
        shine = np.clip((facing - np.float32(1 - self.light.hardness)) * np.float32(1 / self.light.hardness), 0, 1)
        canvas.pixels += shine * shine * gloss * (reach * np.float32(self.light.sparkle))

    def _texel_of_pixel(
        self, canvas: Canvas, camera: Camera, seconds: float, pulls: tuple[Pull, ...]
    ) -> tuple[Array, Array]:
        """Texture coordinates (columns, rows) of every pixel, before wrapping."""
        scale = self.per_unit / camera.zoom
        c, s = np.float32(np.cos(camera.roll) * scale), np.float32(np.sin(camera.roll) * scale)
        middle = self.texels / 2 + 64 * self.texels  # positive, so that truncation is floor
        breath = self._breath_size * np.sin(2 * np.pi * self._breath_hz * seconds)
        pulse = self._pulse_size * np.sin(2 * np.pi * self._pulse_hz * seconds)
        columns = canvas.x * c - canvas.y * s + np.float32(middle + camera.x * self.per_unit)
        rows = canvas.x * s + canvas.y * c + np.float32(middle + camera.y * self.per_unit)
        columns += self._breath_x * np.float32(breath + pulse)
        rows += self._breath_y * np.float32(breath - pulse)
        for pull in pulls:
            square = (canvas.x - np.float32(pull.at[0])) ** 2 + (canvas.y - np.float32(pull.at[1])) ** 2
            weight = 1 / (1 + square * np.float32(1 / pull.radius**2)) ** 2
            columns -= weight * np.float32(pull.by[0] * scale)
            rows -= weight * np.float32(pull.by[1] * scale)
        return columns, rows


def bleed(
    canvas: Canvas, centre: Point, level: float, grain: npt.NDArray[np.uint8], shade: Array | np.float32
) -> Array:
    """Paint blood welling from a point (picture units): a dark red, ragged pool that runs down; returns its opacity.

    `level` 0..1 is how much, `grain` (H, W) bytes around 128 make its edge ragged, `shade` lights it.
    """
    dx, dy = canvas.x - np.float32(centre[0]), canvas.y - np.float32(centre[1])
    down = np.maximum(dy, 0)
    square = dx * dx * (1 + 2.5 * down) + (dy - np.float32(0.35 * level) * down) ** 2
    ragged = np.float32((0.05 + 0.42 * level) ** 2) * (grain * np.float32(0.6 / 128) + np.float32(0.4))
    alpha = np.clip((ragged - square) * 14, 0, 1) * np.float32(0.88)
    canvas.pixels += (tissue.colour(150, 12, 14) * shade - canvas.pixels) * alpha
    return alpha


@dataclass(frozen=True)
class Optics:
    """A case's camera: gains of the three channels, contrast, noise, haze."""

    gains: Array  # (3, 1, 1)
    gamma_lift: float  # added light, 0..255
    noise: float

    @classmethod
    def draw(cls, random: np.random.Generator) -> Optics:
        """White balance within 15 %, exposure within 30 %."""
        balance = 1 + random.uniform(-0.13, 0.13, size=3) * np.array([0.6, 0.6, 1.0])
        exposure = random.uniform(0.85, 1.25)
        gains = (balance * exposure).astype(np.float32)[:, None, None]
        return cls(gains, float(random.uniform(-4, 8)), float(random.uniform(1.0, 3.5)))


class Theatre:
    """Renders the frames of one case, any of its videos: field, instruments, events, optics."""

    def __init__(self, plan: VideoPlan, canvas: Canvas, field: Field) -> None:
        self.canvas, self.field = canvas, field
        random = plan.case_random("optics")
        self.optics = Optics.draw(random)
        gauze = tissue.fractal(random, (GAUZE, GAUZE), 1.6, 2, 24)
        self._gauze = np.clip(0.5 + 0.3 * gauze, 0, 1)
        self._noise = random.standard_normal((GAUZE, GAUZE), dtype=np.float32) * np.float32(self.optics.noise)
        self._vignette = vignette(canvas, plan.source.vignette)
        self._room: _Room | None = None  # few videos show it

    def frame(self, plan: VideoPlan, moment: Moment, number: int) -> npt.NDArray[np.uint8]:
        """Picture `number` of the video `plan`, (H, W, 3) uint8."""
        canvas = self.canvas
        event = event_at(plan, moment.seconds)
        if event == "black":
            canvas.pixels[:] = 3
        elif event == "out_of_body":
            self._room = self._room or _Room(plan, canvas)
            self._room.paint(canvas, moment)
        else:
            self.field.backdrop(canvas, moment)
            for kind, pose in self.field.tools(moment):
                DRAW[kind](canvas, pose, self.field.finish)
            if moment.smoke > 0:
                self._smoke(moment)
        return self._develop(number)

    def _cut(self, texture: Array, x: float, y: float) -> Array:
        """A window of a texture as large as the picture, at a wrapped offset."""
        rows, columns = self.canvas.height, self.canvas.width
        top, left = int(y) % (GAUZE - rows), int(x) % (GAUZE - columns)
        return texture[top : top + rows, left : left + columns]

    def _smoke(self, moment: Moment) -> None:
        t = moment.seconds
        sweep = abs((t * 0.23) % 2 - 1), abs((t * 0.31 + 0.4) % 2 - 1)  # to and fro: windows must not jump
        rows, columns = GAUZE - self.canvas.height - 1, GAUZE - self.canvas.width - 1
        one = self._cut(self._gauze, sweep[0] * columns, sweep[1] * rows)
        two = self._cut(self._gauze, (1 - sweep[1]) * columns, sweep[0] * rows)
        alpha = (one + two) * np.float32(0.42 * moment.smoke)
        self.canvas.pixels += (tissue.colour(196, 198, 202) - self.canvas.pixels) * alpha

    def _develop(self, number: int) -> npt.NDArray[np.uint8]:
        """Optics and sensor: noise, gains, vignette, 8 bits."""
        pixels = self.canvas.pixels
        pixels *= self.optics.gains
        pixels += self._cut(self._noise, number * 197, number * 113) + np.float32(self.optics.gamma_lift)
        np.subtract(pixels, 60 * np.clip((pixels - 200) / 100, 0, 1) ** 2, out=pixels)  # a soft shoulder
        pixels *= self._vignette
        np.clip(pixels, 0, 255, out=pixels)
        return np.ascontiguousarray(pixels.astype(np.uint8).transpose(1, 2, 0))


def vignette(canvas: Canvas, kind: str) -> Array:
    """The mask of the endoscope's picture: none, circle, octagon or rounded corners."""
    x, y = np.abs(canvas.x), np.abs(canvas.y)
    if kind == "none":
        return np.ones((canvas.height, canvas.width), np.float32)
    if kind == "circle":
        distance = 0.97 - np.sqrt(x * x + y * y)
    elif kind == "octagon":
        side = min(canvas.width / canvas.height * 0.97, 1.12)
        distance = np.minimum(np.minimum(side - x, 0.97 - y), (side + 0.97 - 0.38 - x - y) * np.float32(0.7071))
    elif kind == "rounded":
        corner = np.maximum(x - canvas.width / canvas.height + 0.4, 0) ** 2 + np.maximum(y - 0.6, 0) ** 2
        distance = 0.4 - np.sqrt(corner)
    else:
        raise ValueError(f"unknown vignette {kind!r}")
    return np.clip(distance * np.float32(canvas.half / 1.5), 0, 1).astype(np.float32)


class _Room:
    """The operating room, as a camera sees it that was pulled out of the patient: drapes, lamps, out of focus."""

    def __init__(self, plan: VideoPlan, canvas: Canvas) -> None:
        random = plan.case_random("room")
        size = 256
        grid = np.linspace(-2, 2, size, endpoint=False, dtype=np.float32)
        x, y = grid[None, :], grid[:, None]
        hue = random.uniform(0, 1)
        drape = tissue.colour(40 + 30 * hue, 110 + 30 * hue, 150 - 40 * hue)
        folds = tissue.fractal(random, (size, size), 1.5, 1, 8)
        rgb = drape * (0.75 + 0.2 * folds)
        for _ in range(4):
            cx, cy, w, h = random.uniform(-1.6, 1.6), random.uniform(-1.6, 1.6), *random.uniform(0.2, 0.6, size=2)
            paint = tissue.colour(*random.choice([[225, 225, 230], [30, 32, 38], [205, 160, 140], [150, 155, 160]]))
            inside = (np.abs(x - cx) < w) & (np.abs(y - cy) < h)
            rgb = tissue.mix(rgb, paint, inside.astype(np.float32))
        for _ in range(3):
            cx, cy, r = *random.uniform(-1.5, 1.5, size=2), random.uniform(0.12, 0.3)
            glow = np.clip(1.6 - np.sqrt((x - cx) ** 2 + (y - cy) ** 2) / r, 0, 1)
            rgb = tissue.mix(rgb, tissue.colour(255, 253, 245) * 1.1, glow)
        soft = np.stack([tissue.blur(channel, 4.0) for channel in rgb])
        zero = np.zeros((size, size), np.float32)
        surface = tissue.surface(soft, zero, zero, zero + 0.85, (1, 1))
        light = Light((0.0, 0.0), 0.05, 0.6, 0.0, 0.03)
        self._landscape = Landscape(surface, 4.0, canvas, light, random)
        self._phase = random.uniform(0, 2 * np.pi, size=3)

    def paint(self, canvas: Canvas, moment: Moment) -> None:
        t = moment.seconds
        sway = np.sin(2 * np.pi * np.array([0.33, 0.41, 0.27]) * t + self._phase)
        self._landscape.paint(canvas, Camera(0.9 * sway[0], 0.7 * sway[1], 0.9, 0.5 * sway[2]), t)


def reach(entry: Point, site: Point, presence: float) -> Point:
    """The tip of an instrument on its way from outside the picture to `site`."""
    return entry + (site - entry) * (0.3 + 0.7 * presence)


def strokes(entry: Point, site: Point, bearing: float) -> tuple[Point, Point]:
    """Unit vectors along and across an instrument, turned by `bearing`."""
    along = (site - entry) / np.hypot(*(site - entry))
    c, s = np.cos(bearing), np.sin(bearing)
    along = np.array([along[0] * c - along[1] * s, along[0] * s + along[1] * c])
    return along, np.array([-along[1], along[0]])
