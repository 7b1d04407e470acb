"""The abdominal cavity through a laparoscope: liver, gallbladder, fat, bowel; graspers, hook, clip applier.

In: a case's generator and a picture size. Out: an operating `Field`. It is its own file because it is one domain's anatomy.
"""

from __future__ import annotations

import numpy as np

from surgrec.synthetic.instruments import Canvas, Finish, Pose
from surgrec.synthetic.motion import Moment
from surgrec.synthetic.plan import VideoPlan
from surgrec.synthetic.scene import Camera, Landscape, Light, Pull, reach, strokes
from surgrec.synthetic.tissue import Sheet, Surface, colour, smoothstep

TEXELS = 512
UNITS = 4.4  # picture half heights that the landscape is wide


BILE = ((168, 164, 124), (206, 182, 122), (150, 150, 146), (208, 164, 140))


def organs(random: np.random.Generator) -> Surface:
    """Bake a case's anatomy, from the bottom layer to the top."""
    sheet = Sheet(random, TEXELS, UNITS)
    _peritoneum(sheet)
    _fat(sheet)
    _bowel(sheet)
    slope, base = random.uniform(-0.5, 0.5), random.uniform(-0.55, 0.05)
    _liver(sheet, slope, base)
    _gallbladder(sheet, slope, base)
    depth = random.uniform(-0.16, 0.16, size=2).tolist()
    sheet.exposure = sheet.exposure * (1 + depth[0] * sheet.x + depth[1] * sheet.y) + 0.03 * sheet.fine
    return sheet.bake()


def _peritoneum(sheet: Sheet) -> None:
    pink = sheet.around((196, 104, 92), 22) * (1 + 0.09 * sheet.rough + 0.05 * sheet.fine)
    height = 0.045 * sheet.warp + 0.012 * sheet.rough + 0.006 * sheet.ripple
    sheet.lay(np.ones_like(height), pink, height, 0.7, 0.85 + 0.06 * sheet.warp)
    sheet.stain(0.6 * sheet.web, colour(150, 30, 34))


def _fat(sheet: Sheet) -> None:
    """Yellow lobules in the lower part."""
    level, tilt = sheet.random.uniform(-0.25, 0.5), sheet.random.uniform(-0.5, 0.5)
    where = smoothstep(sheet.y + 0.3 * sheet.warp + tilt * sheet.x, level, level + 0.06)
    lobes = np.minimum(np.abs(sheet.noise(1.6, 5, 30)), 1.5)
    yellow = sheet.around((232, 172, 92), 14) * (0.84 + 0.14 * lobes + 0.03 * sheet.fine + 0.04 * sheet.rough)
    sheet.lay(where, yellow, sheet.height + 0.1 + 0.045 * np.sqrt(lobes), 0.4, sheet.exposure)
    sheet.stain(0.5 * where * sheet.web, colour(190, 60, 40))


def _bowel(sheet: Sheet) -> None:
    """Pale tubes in a lower corner."""
    side = float(sheet.random.choice([-1.0, 1.0]))
    along = (sheet.x * side + sheet.y) * 0.7071 + 0.12 * sheet.warp - sheet.random.uniform(0.9, 1.3)
    tube = np.clip(1 - (((along * 2.2) % 1.0) - 0.5) ** 2 * 4, 0, 1)
    where = smoothstep(along, 0.0, 0.05)
    rgb = colour(214, 140, 122) * (0.7 + 0.35 * tube + 0.05 * sheet.rough)
    sheet.lay(where, rgb, sheet.height + 0.06 + 0.16 * np.sqrt(tube), 0.7, sheet.exposure)
    sheet.stain(0.6 * where * sheet.web, colour(165, 50, 50))


def _liver(sheet: Sheet, slope: float, base: float) -> None:
    """Dark and smooth, with a sharp lower edge that throws a shadow."""
    edge = base + slope * sheet.x + 0.1 * sheet.warp - sheet.y
    where = smoothstep(edge, 0.0, 0.035)
    brown = sheet.around((122, 46, 40), 16) * (1 + 0.05 * sheet.rough + 0.07 * sheet.fine)
    sheet.exposure = sheet.exposure * (1 - 0.45 * smoothstep(edge, -0.22, 0.0) * (1 - where))
    height = 0.12 + 0.2 * np.sqrt(np.clip(edge, 0, 0.4)) + 0.03 * sheet.warp + 0.004 * sheet.ripple
    sheet.lay(where, brown, height, 0.85, sheet.exposure)


def _gallbladder(sheet: Sheet, slope: float, base: float) -> None:
    """A sac under the liver's edge, grey-green to yellow, with vessels."""
    random = sheet.random
    turn, cx = random.uniform(-0.7, 0.7), random.uniform(-0.35, 0.35)
    dx, dy = sheet.x - cx, sheet.y - (base + slope * cx + random.uniform(0.05, 0.3))
    c, s = float(np.cos(turn)), float(np.sin(turn))
    across, along = dx * c + dy * s, dy * c - dx * s
    narrow = random.uniform(0.2, 0.3) * (1 - 0.35 * np.clip(along, -0.6, 0.6))
    inside = 1 - (across / narrow) ** 2 - (along / random.uniform(0.5, 0.68)) ** 2 + 0.05 * sheet.warp
    where = smoothstep(inside, 0.0, 0.1)
    sheet.exposure = sheet.exposure * (1 - 0.4 * smoothstep(inside, -0.7, 0.0) * (1 - where))
    bile = sheet.around(BILE[int(random.integers(len(BILE)))], 14)
    dome = np.clip(inside, 0, 1)
    height = 0.2 + 0.3 * np.sqrt(dome) + 0.01 * sheet.rough + 0.003 * sheet.ripple
    sheet.lay(where, bile * (0.9 + 0.06 * sheet.rough + 0.14 * dome), height, 0.95, 0.9 + 0.03 * sheet.warp)
    sheet.stain(0.75 * where * sheet.web, colour(150, 40, 44))


class Abdomen:
    """Laparoscopy. Twin looks: dissection (slow or fast), retraction (slow or quick pull)."""

    def __init__(self, plan: VideoPlan, canvas: Canvas) -> None:
        random = plan.case_random("anatomy")
        light = Light.draw(random, falloff=(0.3, 0.7))
        self._landscape = Landscape(organs(random), UNITS, canvas, light, random)
        self.finish = Finish.draw(random, dark_shaft=bool(random.uniform() < 0.7))
        self._zoom = random.uniform(0.85, 1.2)
        self._look = random.uniform(-0.2, 0.2, size=2)
        side = float(random.choice([-1.0, 1.0]))
        wide = canvas.width / canvas.height
        self._right = np.array([side * (wide + 0.35), random.uniform(0.3, 1.2)])
        self._left = np.array([-side * (wide + 0.35), random.uniform(-0.9, 0.9)])

    def _hands(self, moment: Moment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tips of the right and the left instrument, and how far the right one is from its place of rest."""
        hands = moment.hands
        rest = np.array([0.12, 0.1]) + 0.28 * np.array(moment.anchor) + 0.05 * hands[:2]
        along, across = strokes(self._right, rest, moment.bearing)
        offset = (along * 0.2 if moment.phase.look == "retraction" else across * 0.2) * moment.stroke
        if moment.phase.look == "clipping":
            offset = along * 0.06 * moment.stroke
        second = np.array([-0.45 * np.sign(self._right[0]), -0.3]) + 0.05 * hands[2:4]
        return rest + offset, second, offset

    def backdrop(self, canvas: Canvas, moment: Moment) -> None:
        hands = moment.hands
        camera = Camera(
            self._look[0] + 0.12 * hands[4],
            self._look[1] + 0.1 * hands[5],
            self._zoom * (1 + 0.06 * hands[6]),
            0.08 * hands[7],
        )
        tip, second, offset = self._hands(moment)
        held = moment.phase.look == "retraction"
        pulls = (
            Pull(tip, offset * (0.95 if held else 0.35) * moment.presence, 0.5 if held else 0.2),
            Pull(second, np.array([0.0, -0.12]) * moment.presence, 0.35),
        )
        blood = (tip - offset, moment.bleeding) if moment.bleeding > 0 else None
        self._landscape.paint(canvas, camera, moment.seconds, pulls, blood)

    def tools(self, moment: Moment) -> list[tuple[str, Pose]]:
        tip, second, _ = self._hands(moment)
        first_kind, second_kind = moment.phase.instruments
        opening = 0.1 if moment.phase.look == "retraction" else 0.5 - 0.4 * moment.stroke
        return [
            (second_kind, Pose(self._left, reach(self._left, second, moment.presence), 0.1)),
            (first_kind, Pose(self._right, reach(self._right, tip, moment.presence), opening)),
        ]
