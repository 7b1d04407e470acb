"""Surgical instruments drawn over a picture: rods, rings and what is made of them.

In: a canvas (3, H, W) float32 in 0..255, a kind, a `Pose`. Out: the canvas, drawn upon. It is its own file because all
domains share it. Coordinates count half picture heights, x to the right, y down, zero in the middle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.synthetic.tissue import Array, colour

Point = npt.NDArray[np.float64]  # (2,)


@dataclass(frozen=True)
class Pose:
    """Where an instrument is: it comes from `entry` (outside the picture) and works at `tip`."""

    entry: Point
    tip: Point
    opening: float = 0.5  # of the jaws, 0..1
    bend: float = 0.0  # radians, of the wrist

    @property
    def axis(self) -> Point:
        """Unit vector from entry to tip."""
        along = self.tip - self.entry
        return along / max(float(np.hypot(*along)), 1e-6)


@dataclass(frozen=True)
class Finish:
    """Materials and thickness of a case's instruments."""

    shaft: Array
    metal: Array
    accent: Array
    thickness: float = 1.0
    light: float = 1.0

    @classmethod
    def draw(cls, random: np.random.Generator, dark_shaft: bool) -> Finish:
        """A finish for a case."""
        grey = random.uniform(28, 70) if dark_shaft else random.uniform(130, 185)
        cast = random.uniform(-12, 12)
        metal = random.uniform(165, 215)
        accents = ((60, 90, 170), (170, 60, 50), (60, 140, 90), (190, 150, 60), (90, 90, 95))
        accent = accents[int(random.integers(len(accents)))]
        return cls(
            shaft=colour(grey, grey, grey + cast * 0.4),
            metal=colour(metal + cast * 0.5, metal, metal - cast * 0.5),
            accent=colour(*accent),
            thickness=float(random.uniform(0.85, 1.2)),
            light=float(random.uniform(0.85, 1.1)),
        )


class Canvas:
    """A picture and the coordinates of its pixels; drawing touches only the pixels near a shape."""

    def __init__(self, width: int, height: int) -> None:
        self.half = height / 2
        self.width, self.height = width, height
        self.x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self.half)[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5 - height / 2) / self.half)[:, None]
        self.pixels: Array = np.zeros((3, height, width), np.float32)

    def window(self, start: Point, end: Point, margin: float) -> tuple[slice, slice] | None:
        """Rows and columns around a line, None where it is outside the picture."""
        (ax, ay), (bx, by) = start.tolist(), end.tolist()
        left = max(int((min(ax, bx) - margin) * self.half + self.width / 2), 0)
        right = min(int((max(ax, bx) + margin) * self.half + self.width / 2) + 2, self.width)
        top = max(int((min(ay, by) - margin) * self.half + self.height / 2), 0)
        bottom = min(int((max(ay, by) + margin) * self.half + self.height / 2) + 2, self.height)
        if left >= right or top >= bottom:
            return None
        return slice(top, bottom), slice(left, right)

    def blend(self, window: tuple[slice, slice], paint: Array, alpha: Array) -> None:
        """Lay `paint` (3, h, w) over the window with opacity `alpha` (h, w)."""
        part = self.pixels[:, window[0], window[1]]
        part += (paint - part) * alpha

    def rod(
        self,
        start: Point,
        end: Point,
        width: tuple[float, float],
        paint: Array,
        gloss: float = 0.8,
        opacity: float = 1.0,
    ) -> None:
        """A round rod with half widths at its ends, lit from the camera."""
        window = self.window(start, end, max(width) + 0.03)
        if window is None:
            return
        along, across, length = self._frame_of(start, end, window)
        reached = np.minimum(np.maximum(along, 0), length)
        over = along - reached
        radius = reached * ((width[1] - width[0]) / length) + width[0]
        distance = np.sqrt(across * across + over * over)
        alpha = np.minimum(np.maximum((radius - distance) * self.half + 0.5, 0), opacity)
        side = across / radius
        bright = np.maximum(1 - side * side, 0) * 0.75 + 0.3
        highlight = np.maximum(1 - np.abs(side - 0.25) * 5, 0) * (gloss * 90)
        self.blend(window, paint * bright + highlight, alpha)

    def shadow(self, start: Point, end: Point, width: float, depth: float) -> None:
        """The soft shadow of a rod on what lies beneath."""
        window = self.window(start, end, width * 2)
        if window is None:
            return
        along, across, length = self._frame_of(start, end, window)
        over = along - np.minimum(np.maximum(along, 0), length)
        near = np.maximum(1 - (across * across + over * over) * (0.25 / (width * width)), 0)
        self.pixels[:, window[0], window[1]] *= 1 - depth * near * near

    def _frame_of(self, start: Point, end: Point, window: tuple[slice, slice]) -> tuple[Array, Array, float]:
        """Coordinates of the window's pixels along and across a line, and its length."""
        (ax, ay), (bx, by) = start.tolist(), end.tolist()
        length = max(((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5, 1e-4)
        ux, uy = (bx - ax) / length, (by - ay) / length
        px, py = self.x[:, window[1]] - ax, self.y[window[0]] - ay
        return px * ux + py * uy, py * ux - px * uy, length

    def ring(
        self,
        centre: Point,
        axes: tuple[float, float],
        turn: float,
        width: float,
        paint: Array,
        span: tuple[float, float] = (-np.pi, np.pi),
        gloss: float = 0.6,
    ) -> None:
        """An elliptic wire with half axes and a turn; `span` cuts an arc out of it."""
        window = self.window(centre, centre, max(axes) + width + 0.02)
        if window is None:
            return
        px, py = self.x[:, window[1]] - np.float32(centre[0]), self.y[window[0]] - np.float32(centre[1])
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        ex, ey = (px * c + py * s) / np.float32(axes[0]), (py * c - px * s) / np.float32(axes[1])
        radius = np.sqrt(ex * ex + ey * ey)
        distance = (radius - 1) * np.float32((axes[0] * axes[1]) ** 0.5)
        alpha = np.clip((width - np.abs(distance)) * np.float32(self.half) + 0.5, 0, 1)
        if span[1] - span[0] < 2 * np.pi - 1e-6:
            angle = np.arctan2(ey, ex)
            alpha = alpha * ((angle >= span[0]) & (angle <= span[1]))
        up = 1 - np.clip(np.abs(distance) / np.float32(width), 0, 1) ** 2
        self.blend(window, paint * (0.4 + 0.7 * up) + np.float32(gloss * 60) * up * up, alpha)

    def disc(self, centre: Point, radius: float, paint: Array, opacity: float = 1.0, soft: float = 0.0) -> None:
        """A filled disc, its edge `soft` wide."""
        window = self.window(centre, centre, radius + soft + 0.02)
        if window is None:
            return
        px, py = self.x[:, window[1]] - np.float32(centre[0]), self.y[window[0]] - np.float32(centre[1])
        slope = np.float32(min(self.half, 1 / max(soft, 1e-6)))
        alpha = np.clip((radius - np.sqrt(px * px + py * py)) * slope + 0.5, 0, 1)
        self.blend(window, paint, alpha * np.float32(opacity))


def _turn(vector: Point, angle: float) -> Point:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([vector[0] * c - vector[1] * s, vector[0] * s + vector[1] * c])


def _shaft(canvas: Canvas, pose: Pose, finish: Finish, radius: float, back: float, paint: Array) -> Point:
    """The long part, ending `back` before the tip, with its shadow; returns where it ends."""
    radius *= finish.thickness
    end = pose.tip - pose.axis * back
    offset = np.array([0.05, 0.09])
    canvas.shadow(pose.entry + offset, end + offset, radius * 1.5, 0.5)
    canvas.rod(pose.entry, end, (radius * 1.45, radius), paint * np.float32(finish.light))
    return end


def _jaws(canvas: Canvas, pose: Pose, finish: Finish, base: Point, axis: Point, length: float, width: float) -> None:
    """Two tapering jaws that open symmetrically."""
    angle = 0.06 + 0.5 * pose.opening
    for sign in (-1, 1):
        end = base + _turn(axis, sign * angle) * length
        canvas.rod(base, end, (width, width * 0.55), finish.metal, 0.9)


def grasper(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.09, 0.36, finish.shaft)
    neck = base + pose.axis * 0.12
    canvas.rod(base, neck, (0.085, 0.062), finish.metal, 1.0)
    _jaws(canvas, pose, finish, neck, pose.axis, 0.26, 0.044)


def hook(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.085, 0.34, finish.shaft)
    sleeve = base + pose.axis * 0.14
    canvas.rod(base, sleeve, (0.066, 0.056), colour(205, 200, 188), 0.4)
    elbow = sleeve + pose.axis * 0.18
    canvas.rod(sleeve, elbow, (0.027, 0.027), finish.metal, 1.0)
    canvas.rod(elbow, elbow + _turn(pose.axis, 1.45) * 0.14, (0.027, 0.02), finish.metal, 1.0)


def clip_applier(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.095, 0.34, finish.metal * np.float32(0.8))
    neck = base + pose.axis * 0.12
    canvas.rod(base, neck, (0.1, 0.075), finish.accent, 0.6)
    side = _turn(pose.axis, np.pi / 2)
    for sign in (-1, 1):
        root = neck + side * sign * 0.045
        canvas.rod(
            root, root + pose.axis * 0.22 - side * sign * 0.02 * (1 - pose.opening), (0.034, 0.026), finish.metal
        )


def biopsy_forceps(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.06, 0.16, finish.accent)
    canvas.rod(base, base + pose.axis * 0.05, (0.055, 0.05), finish.metal, 1.0)
    hinge = base + pose.axis * 0.05
    for sign in (-1, 1):
        direction = _turn(pose.axis, sign * (0.15 + 0.6 * pose.opening))
        knee = hinge + direction * 0.1
        canvas.rod(hinge, knee, (0.036, 0.042), finish.metal, 1.0)
        canvas.rod(knee, knee + direction * 0.05 - _turn(direction, sign * 1.57) * 0.04, (0.042, 0.024), finish.metal)


def snare(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.055, 0.3, colour(215, 220, 228))
    reach = 0.16 + 0.16 * pose.opening
    centre = base + pose.axis * (0.05 + reach)
    turn = float(np.arctan2(pose.axis[1], pose.axis[0]))
    canvas.rod(base, base + pose.axis * 0.06, (0.022, 0.018), finish.metal)
    canvas.ring(centre, (reach, 0.06 + 0.13 * pose.opening), turn, 0.016, colour(225, 215, 190))


def blade(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.085, 0.46, finish.accent * np.float32(1.15))
    neck = base + pose.axis * 0.16
    canvas.rod(base, neck, (0.05, 0.03), finish.metal)
    canvas.rod(neck, neck + pose.axis * 0.1, (0.03, 0.075), finish.metal * np.float32(1.1), 0.3)
    canvas.rod(neck + pose.axis * 0.1, pose.tip, (0.075, 0.003), finish.metal * np.float32(1.15), 0.3)


def capsule_forceps(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.05, 0.42, finish.metal * np.float32(0.9))
    elbow = base + pose.axis * 0.1
    angle = 0.03 + 0.09 * pose.opening
    for sign in (-1, 1):
        knee = elbow + _turn(pose.axis, sign * angle) * 0.26
        canvas.rod(base, knee, (0.036, 0.024), finish.metal, 1.0)
        end = pose.tip + _turn(pose.axis, sign * 1.57) * 0.024 * (1 + 2.5 * pose.opening)
        canvas.rod(knee, end, (0.024, 0.014), finish.metal)


def phaco_tip(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.11, 0.5, finish.metal)
    sleeve = base + pose.axis * 0.3
    canvas.rod(base, sleeve, (0.095, 0.06), finish.accent * np.float32(1.2) + 25, 0.9, 0.85)
    canvas.rod(sleeve, pose.tip, (0.035, 0.03), finish.metal * np.float32(1.1), 1.0)
    canvas.disc(pose.tip, 0.018, colour(30, 25, 25))


def chopper(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    base = _shaft(canvas, pose, finish, 0.032, 0.3, finish.metal)
    canvas.rod(base, pose.tip, (0.026, 0.014), finish.metal, 1.0)
    canvas.rod(pose.tip, pose.tip + _turn(pose.axis, 1.2) * 0.06, (0.014, 0.01), finish.metal, 1.0)


def _wrist(canvas: Canvas, pose: Pose, finish: Finish, back: float) -> tuple[Point, Point]:
    """Shaft, clevis and a bent wrist; returns the hinge of the jaws and their direction."""
    base = _shaft(canvas, pose, finish, 0.1, back + 0.22, finish.shaft)
    collar = base + pose.axis * 0.08
    canvas.rod(base, collar, (0.103, 0.1), finish.metal * np.float32(0.75), 0.9)
    direction = _turn(pose.axis, pose.bend)
    hinge = collar + pose.axis * 0.06 + direction * 0.08
    canvas.rod(collar, collar + pose.axis * 0.06, (0.085, 0.075), finish.metal * np.float32(0.85), 1.0)
    canvas.rod(collar + pose.axis * 0.06, hinge, (0.07, 0.06), finish.metal, 1.0)
    canvas.disc(collar + pose.axis * 0.06, 0.035, colour(70, 70, 74))
    return hinge, direction


def needle_driver(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    hinge, direction = _wrist(canvas, pose, finish, 0.2)
    _jaws(canvas, Pose(pose.entry, pose.tip, pose.opening * 0.5), finish, hinge, direction, 0.22, 0.048)


def bipolar(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    hinge, direction = _wrist(canvas, pose, finish, 0.26)
    canvas.rod(hinge - direction * 0.05, hinge, (0.062, 0.055), finish.accent, 0.5)
    _jaws(canvas, pose, finish, hinge, direction, 0.29, 0.04)


def scissors(canvas: Canvas, pose: Pose, finish: Finish) -> None:
    hinge, direction = _wrist(canvas, pose, finish, 0.24)
    canvas.rod(hinge - direction * 0.06, hinge, (0.066, 0.06), colour(175, 165, 120), 0.3)
    for sign in (-1, 1):
        end = hinge + _turn(direction, sign * (0.08 + 0.4 * pose.opening)) * 0.24
        canvas.rod(hinge, end, (0.048, 0.01), finish.metal, 1.0)


DRAW: dict[str, Callable[[Canvas, Pose, Finish], None]] = {
    draw.__name__: draw
    for draw in (
        grasper, hook, clip_applier, biopsy_forceps, snare, blade, capsule_forceps,
        phaco_tip, chopper, needle_driver, bipolar, scissors,
    )
}  # fmt: skip
