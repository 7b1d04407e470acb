"""Robotic surgery: wristed instruments on tissue, on lung, or on a suturing pad.

In: a case's generator and a picture size. Out: an operating `Field`. It is its own file because it is one domain's anatomy.
"""

from __future__ import annotations

import numpy as np

from surgrec.synthetic import tissue
from surgrec.synthetic.instruments import Canvas, Finish, Pose
from surgrec.synthetic.motion import Moment
from surgrec.synthetic.plan import VideoPlan
from surgrec.synthetic.scene import Camera, Landscape, Light, Pull, reach, strokes
from surgrec.synthetic.tissue import Surface, colour, fractal, mix, smoothstep, vessels

SIZE = 512  # texels
UNITS = 4.4


def bed(random: np.random.Generator, look: str) -> Surface:
    """Bake what the instruments work on: "" for a dissected pelvis, "lung", or "pad"."""
    grid = np.linspace(-UNITS / 2, UNITS / 2, SIZE, endpoint=False, dtype=np.float32)
    x, y = grid[None, :], grid[:, None]
    shape = (SIZE, SIZE)
    rough, fine = fractal(random, shape, 1.8, 2, 60), fractal(random, shape, 1.0, 10, 120)
    warp = fractal(random, shape, 2.2, 1, 8)
    web = vessels(fractal(random, shape, 1.7, 2, 24) + 0.15 * rough, 0.05)
    if look == "pad":
        return _pad(random, x, y, rough, fine)
    if look == "lung":
        base = colour(*(np.array([190, 120, 124]) + random.uniform(-18, 18, 3)))
        cells = vessels(fractal(random, shape, 1.2, 8, 30), 0.12)
        rgb = mix(base * (1 + 0.06 * rough + 0.05 * fine), colour(92, 64, 80), 0.5 * cells)
        fissure = np.abs(y + 0.4 * x + 0.25 * warp - random.uniform(-0.4, 0.4))
        height = 0.08 * warp + 0.25 * np.sqrt(np.clip(fissure, 0, 0.6)) - 0.02 * cells
        exposure = 0.55 + 0.35 * smoothstep(fissure, 0.0, 0.3)
    else:
        flesh = colour(*(np.array([188, 84, 74]) + random.uniform(-22, 22, 3)))
        rgb = flesh * (1 + 0.1 * rough + 0.06 * fine)
        strands = vessels(fractal(random, (SIZE, SIZE), 1.5, 3, 40, (1.0, 3.0)), 0.16)
        rgb = mix(rgb, colour(224, 190, 180), 0.45 * strands)
        lobes = np.abs(fractal(random, shape, 1.6, 5, 30))
        level = random.uniform(0.3, 1.0)
        fat = smoothstep(warp, level, level + 0.12)
        rgb = mix(rgb, colour(224, 176, 96) * (0.72 + 0.25 * np.minimum(lobes, 1.5)), fat)
        gland = smoothstep(1 - ((x - random.uniform(-0.4, 0.4)) / 0.75) ** 2 - ((y + random.uniform(0, 0.5)) / 0.55) ** 2 + 0.2 * rough, 0, 0.25)  # fmt: skip
        rgb = mix(rgb, colour(206, 132, 112) * (1 + 0.06 * rough), gland)
        height = 0.06 * warp + 0.012 * rough + 0.015 * strands + fat * (0.06 + 0.04 * lobes) + 0.16 * gland
        exposure = 0.72 + 0.06 * warp
    rgb = mix(rgb, colour(140, 24, 30), 0.65 * web)
    height = tissue.blur(height, 1.8) + 0.0028 * fine
    gloss = np.clip(0.85 + 0.1 * rough, 0, 1)
    return tissue.surface(rgb, gloss, height, exposure, (UNITS / SIZE, UNITS / SIZE))


def _pad(random: np.random.Generator, x: np.ndarray, y: np.ndarray, rough: np.ndarray, fine: np.ndarray) -> Surface:
    """A silicone training pad: flat, matt, with slits and rows of printed dots."""
    tones = np.array([[222, 178, 150], [206, 150, 140], [196, 186, 170], [170, 186, 196]], np.float32)
    rgb = colour(*(tones[int(random.integers(4))] + random.uniform(-12, 12, 3))) * (1 + 0.025 * rough + 0.02 * fine)
    height = 0.012 * rough
    turn = random.uniform(-0.4, 0.4)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    for offset in (-0.75, 0.0, 0.75):
        bow = v - offset - 0.05 * np.sin(3 * u + offset)
        slit = np.exp(-((bow / 0.03) ** 2)) * smoothstep(1.15 - np.abs(u), 0, 0.2)
        rgb = mix(rgb, colour(120, 30, 34), 0.9 * slit)
        height = height + 0.05 * np.exp(-((bow / 0.12) ** 2)) - 0.1 * slit
        for side in (-0.17, 0.17):
            dot = np.exp(-((((u * 4) % 1 - 0.5) / 4) ** 2 + (bow - side) ** 2) / 0.0006)
            rgb = mix(rgb, colour(40, 36, 60), 0.85 * dot)
    edge = smoothstep(np.maximum(np.abs(u) / 1.6, np.abs(v) / 1.25), 1.0, 1.02)
    rgb = mix(rgb, colour(46, 66, 84) * (1 + 0.1 * rough), edge)
    height = tissue.blur(height - 0.1 * edge, 1.5)
    zero = np.zeros_like(rough)
    return tissue.surface(rgb, zero + 0.35, height, zero + 0.85, (UNITS / SIZE, UNITS / SIZE))


class Robot:
    """Robotic surgery. Twin looks: suturing (slow or quick turn of the wrist), dissection (slow or fast)."""

    def __init__(self, plan: VideoPlan, canvas: Canvas) -> None:
        random = plan.case_random("anatomy")
        look = plan.source.look
        light = Light.draw(random, sparkle=0.3 if look == "pad" else 1.0, falloff=(0.25, 0.6))
        self._landscape = Landscape(bed(random, look), UNITS, canvas, light, random)
        self.finish = Finish.draw(random, dark_shaft=bool(random.uniform() < 0.6))
        self._zoom = random.uniform(0.85, 1.2)
        self._look = random.uniform(-0.3, 0.3, size=2)
        wide = canvas.width / canvas.height
        self._right = np.array([wide + 0.4, random.uniform(0.5, 1.3)])
        self._left = np.array([-wide - 0.4, random.uniform(0.5, 1.3)])

    def _tips(self, moment: Moment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tips of right and left, and the offset of the right one."""
        hands = moment.hands
        look = moment.phase.look
        rest = np.array([0.25, 0.05]) + 0.2 * np.array(moment.anchor) + 0.04 * hands[:2]
        along, across = strokes(self._right, rest, moment.bearing)
        size = {"suturing": 0.1, "dissection": 0.19, "thread": 0.14}[look]
        offset = (across if look == "dissection" else along) * size * moment.stroke
        left = np.array([-0.35, 0.1]) + 0.15 * np.array(moment.anchor[::-1]) + 0.04 * hands[2:4]
        if look == "thread":
            left = left + np.array([-0.12, 0.04]) * moment.stroke
        return rest + offset, left, offset

    def backdrop(self, canvas: Canvas, moment: Moment) -> None:
        hands = moment.hands
        camera = Camera(
            self._look[0] + 0.1 * hands[4], self._look[1] + 0.08 * hands[5], self._zoom * (1 + 0.04 * hands[6]), 0.04 * hands[7]
        )
        right, left, offset = self._tips(moment)
        pulls = (
            Pull(right, offset * 0.7 * moment.presence, 0.28),
            Pull(left, np.array([-0.08, -0.03]) * moment.presence, 0.3),
        )
        blood = (right - offset, moment.bleeding) if moment.bleeding > 0 else None
        self._landscape.paint(canvas, camera, moment.seconds, pulls, blood)
        if moment.phase.look in ("suturing", "thread") and moment.presence > 0.5:
            self._suture(canvas, moment, right, left)

    def _suture(self, canvas: Canvas, moment: Moment, right: np.ndarray, left: np.ndarray) -> None:
        """Needle and thread between the instruments; drawn before them, so that the jaws hold it."""
        thread = colour(48, 40, 90) if self.finish.accent[0, 0, 0] > 100 else colour(230, 226, 210)
        sag = np.array([0.0, 0.22 + 0.06 * moment.stroke])
        points = [left + (right - left) * f + sag * 4 * f * (1 - f) for f in np.linspace(0, 1, 6)]
        for start, end in zip(points, points[1:], strict=False):
            canvas.rod(start, end, (0.011, 0.011), thread, 0.2)
        if moment.phase.look == "suturing":
            canvas.ring(right + np.array([-0.1, 0.0]), (0.12, 0.12), 0.9 * moment.stroke, 0.015, colour(210, 212, 218), (-2.6, 0.4))

    def tools(self, moment: Moment) -> list[tuple[str, Pose]]:
        right, left, _ = self._tips(moment)
        kinds = moment.phase.instruments
        bend = 0.75 * moment.stroke if moment.phase.look == "suturing" else 0.35 * moment.stroke
        opening = 0.15 if moment.phase.look == "suturing" else 0.5 - 0.45 * moment.stroke
        return [
            (kinds[1], Pose(self._left, reach(self._left, left, moment.presence), 0.25, -0.4 + 0.15 * float(moment.hands[3]))),
            (kinds[0], Pose(self._right, reach(self._right, right, moment.presence), opening, 0.3 + bend)),
        ]
