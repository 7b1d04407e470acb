"""Robotic surgery: wristed instruments on tissue, on lung, or on a suturing pad.

In: a case's generator and a picture size. Out: an operating `Field`. It is its own file because it is one domain's anatomy.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from surgrec.synthetic.instruments import Canvas, Finish, Pose
from surgrec.synthetic.motion import Moment
from surgrec.synthetic.plan import VideoPlan
from surgrec.synthetic.scene import Camera, Landscape, Light, Pull, reach, strokes
from surgrec.synthetic.tissue import Sheet, Surface, colour, fractal, smoothstep, vessels

TEXELS = 512
UNITS = 4.4


PADS = ((222, 178, 150), (206, 150, 140), (196, 186, 170), (170, 186, 196))


def bed(random: np.random.Generator, look: str) -> Surface:
    """Bake what the instruments work on: "" for a dissected pelvis, "lung", or "pad"."""
    sheet = Sheet(random, TEXELS, UNITS)
    if look == "pad":
        _pad(sheet)
        return sheet.bake(1.5)
    if look == "lung":
        _lung(sheet)
    else:
        _pelvis(sheet)
    sheet.stain(0.65 * sheet.web, colour(140, 24, 30))
    sheet.height = sheet.height + 0.0042 * sheet.ripple
    return sheet.bake()


def _lung(sheet: Sheet) -> None:
    """Mottled lobes with a fissure between them."""
    pink = sheet.around((190, 120, 124), 18) * (1 + 0.06 * sheet.rough + 0.05 * sheet.fine)
    cells = vessels(sheet.noise(1.2, 8, 30), 0.12)
    fissure = np.abs(sheet.y + 0.4 * sheet.x + 0.25 * sheet.warp - sheet.random.uniform(-0.4, 0.4))
    height = 0.08 * sheet.warp + 0.2 * smoothstep(fissure, 0.0, 0.5) - 0.02 * cells
    sheet.lay(np.ones_like(height), pink, height, 0.85, 0.6 + 0.35 * smoothstep(fissure, 0.0, 0.3))
    sheet.stain(0.5 * cells, colour(92, 64, 80))


def _pelvis(sheet: Sheet) -> None:
    """Flesh with pale strands, islands of fat, a gland."""
    random = sheet.random
    flesh = sheet.around((188, 84, 74), 22) * (1 + 0.1 * sheet.rough + 0.06 * sheet.fine)
    strands = vessels(fractal(random, (TEXELS, TEXELS), 1.5, 3, 40, (1.0, 3.0)), 0.16)
    height = 0.06 * sheet.warp + 0.012 * sheet.rough + 0.015 * strands
    sheet.lay(np.ones_like(height), flesh, height, 0.85, 0.85 + 0.06 * sheet.warp)
    sheet.stain(0.45 * strands, colour(224, 190, 180))
    lobes = np.minimum(np.abs(sheet.noise(1.6, 5, 30)), 1.5)
    level = random.uniform(0.3, 1.0)
    yellow = colour(224, 176, 96) * (0.82 + 0.15 * lobes + 0.04 * sheet.rough)
    fat = smoothstep(sheet.warp, level, level + 0.12)
    sheet.lay(fat, yellow, sheet.height + 0.06 + 0.03 * np.sqrt(lobes), 0.5, sheet.exposure)
    across, down = random.uniform(-0.4, 0.4), random.uniform(-0.5, 0.0)
    ellipse = 1 - ((sheet.x - across) / 0.75) ** 2 - ((sheet.y - down) / 0.55) ** 2
    gland = smoothstep(ellipse + 0.2 * sheet.rough, 0, 0.5)
    sheet.lay(gland, colour(206, 132, 112) * (1 + 0.06 * sheet.rough), sheet.height + 0.12, 0.85, sheet.exposure)


def _pad(sheet: Sheet) -> None:
    """A silicone training pad: flat, matt, with slits and rows of printed dots, on a table."""
    random = sheet.random
    skin = sheet.around(PADS[int(random.integers(len(PADS)))], 12) * (1 + 0.025 * sheet.rough + 0.02 * sheet.fine)
    sheet.lay(np.ones_like(sheet.rough), skin, 0.012 * sheet.rough, 0.35, 0.75)
    turn = random.uniform(-0.4, 0.4)
    c, s = float(np.cos(turn)), float(np.sin(turn))
    u, v = sheet.x * c + sheet.y * s, sheet.y * c - sheet.x * s
    for offset in (-0.75, 0.0, 0.75):
        bow = v - offset - 0.05 * np.sin(3 * u + offset)
        slit = np.exp(-((bow / 0.03) ** 2)) * smoothstep(1.15 - np.abs(u), 0, 0.2)
        sheet.stain(0.9 * slit, colour(120, 30, 34))
        sheet.height = sheet.height + 0.05 * np.exp(-((bow / 0.12) ** 2)) - 0.1 * slit
        for side in (-0.17, 0.17):
            dot = np.exp(-((((u * 4) % 1 - 0.5) / 4) ** 2 + (bow - side) ** 2) / 0.0006)
            sheet.stain(0.85 * dot, colour(40, 36, 60))
    table = smoothstep(np.maximum(np.abs(u) / 1.6, np.abs(v) / 1.25), 1.0, 1.02)
    sheet.lay(table, colour(46, 66, 84) * (1 + 0.1 * sheet.rough), -0.1, 0.2, 0.75)


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
            self._look[0] + 0.1 * hands[4],
            self._look[1] + 0.08 * hands[5],
            self._zoom * (1 + 0.04 * hands[6]),
            0.04 * hands[7],
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
        for start, end in pairwise(points):
            canvas.rod(start, end, (0.011, 0.011), thread, 0.2)
        if moment.phase.look == "suturing":
            steel, held = colour(210, 212, 218), right + np.array([-0.1, 0.0])
            canvas.ring(held, (0.12, 0.12), 0.9 * moment.stroke, 0.015, steel, (-2.6, 0.4))

    def tools(self, moment: Moment) -> list[tuple[str, Pose]]:
        right, left, _ = self._tips(moment)
        kinds = moment.phase.instruments
        bend = 0.75 * moment.stroke if moment.phase.look == "suturing" else 0.35 * moment.stroke
        opening = 0.15 if moment.phase.look == "suturing" else 0.5 - 0.45 * moment.stroke
        left, right = reach(self._left, left, moment.presence), reach(self._right, right, moment.presence)
        return [
            (kinds[1], Pose(self._left, left, 0.25, -0.4 + 0.15 * float(moment.hands[3]))),
            (kinds[0], Pose(self._right, right, opening, 0.3 + bend)),
        ]
