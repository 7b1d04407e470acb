"""The abdominal cavity through a laparoscope: liver, gallbladder, fat, bowel; graspers, hook, clip applier.

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
UNITS = 4.4  # picture half heights that the landscape is wide


def organs(random: np.random.Generator) -> Surface:
    """Bake a case's anatomy, bottom layer first; each layer has a colour, a height and a gloss."""
    grid = np.linspace(-UNITS / 2, UNITS / 2, SIZE, endpoint=False, dtype=np.float32)
    x, y = grid[None, :], grid[:, None]
    shape = (SIZE, SIZE)
    rough, fine = fractal(random, shape, 1.8, 2, 60), fractal(random, shape, 1.0, 10, 120)
    warp = fractal(random, shape, 2.2, 1, 10)
    lobes = np.abs(fractal(random, shape, 1.6, 5, 30))
    web = vessels(fractal(random, shape, 1.8, 2, 22) + 0.15 * rough, 0.05)

    # peritoneum and omentum
    pink = colour(*(np.array([196, 104, 92]) + random.uniform(-22, 22, 3)))
    rgb = pink * (1 + 0.09 * rough + 0.05 * fine)
    rgb = mix(rgb, colour(150, 30, 34), 0.6 * web)
    height = 0.045 * warp + 0.008 * rough
    gloss = np.full(shape, 0.7, np.float32)
    exposure = 0.75 + 0.06 * warp

    # fat: yellow lobules
    level = random.uniform(-0.25, 0.5)
    fat = smoothstep(y + 0.3 * warp + random.uniform(-0.5, 0.5) * x, level, level + 0.06)
    yellow = colour(*(np.array([226, 172, 84]) + random.uniform(-18, 18, 3)))
    rgb = mix(rgb, yellow * (0.72 + 0.24 * np.minimum(lobes, 1.6) + 0.03 * fine), fat)
    rgb = mix(rgb, colour(190, 60, 40), fat * web * 0.5)
    height = height + fat * (0.1 + 0.05 * np.minimum(lobes, 1.5))
    gloss = mix(gloss, np.float32(0.55) + 0 * gloss, fat)

    # bowel: pale tubes in a corner
    side = random.choice([-1.0, 1.0])
    along = (x * side + y) * 0.7071 + 0.12 * warp - random.uniform(0.9, 1.3)
    tube = np.clip(1 - (((along * 2.2) % 1.0) - 0.5) ** 2 * 4, 0, 1)
    bowel = smoothstep(along, 0.0, 0.05)
    rgb = mix(rgb, colour(214, 140, 122) * (0.7 + 0.35 * tube + 0.05 * rough), bowel)
    rgb = mix(rgb, colour(165, 50, 50), bowel * web * 0.6)
    height = height + bowel * (0.06 + 0.16 * np.sqrt(tube))

    # liver: dark, smooth, a sharp lower edge
    slope, base = random.uniform(-0.5, 0.5), random.uniform(-0.55, 0.05)
    edge = base + slope * x + 0.1 * warp - y
    liver = smoothstep(edge, 0.0, 0.035)
    brown = colour(*(np.array([122, 46, 40]) + random.uniform(-16, 16, 3)))
    rgb = mix(rgb, brown * (1 + 0.05 * rough + 0.07 * fine), liver)
    shadow = smoothstep(edge, -0.22, 0.0) * (1 - liver)
    exposure = exposure * (1 - 0.45 * shadow)
    height = height * (1 - liver) + liver * (0.14 + 0.28 * np.sqrt(np.clip(edge, 0, 0.4)) + 0.03 * warp + 0.004 * fine)
    gloss = mix(gloss, np.float32(0.85) + 0 * gloss, liver)

    # gallbladder: a grey-green to yellow sac under the liver's edge
    turn = random.uniform(-0.7, 0.7)
    cx = random.uniform(-0.35, 0.35)
    cy = base + slope * cx + random.uniform(0.05, 0.3)
    c, s = np.cos(turn), np.sin(turn)
    ex, ey = ((x - cx) * c + (y - cy) * s), ((y - cy) * c - (x - cx) * s)
    narrow = random.uniform(0.2, 0.3) * (1 - 0.35 * np.clip(ey, -0.6, 0.6))
    inside = 1 - (ex / narrow) ** 2 - (ey / random.uniform(0.5, 0.68)) ** 2 + 0.05 * warp
    sac = smoothstep(inside, 0.0, 0.1)
    tones = np.array([[150, 160, 120], [196, 178, 120], [120, 140, 150], [205, 160, 140]], np.float32)
    bile = colour(*(tones[int(random.integers(4))] + random.uniform(-14, 14, 3)))
    rgb = mix(rgb, bile * (0.9 + 0.06 * rough + 0.14 * np.clip(inside, 0, 1)), sac)
    rgb = mix(rgb, colour(150, 40, 44), sac * web * 0.75)
    around = smoothstep(inside, -0.7, 0.0) * (1 - sac)
    exposure = exposure * (1 - 0.4 * around)
    height = height * (1 - sac) + sac * (0.2 + 0.34 * np.sqrt(np.clip(inside, 0, 1)) + 0.01 * rough)
    gloss = mix(gloss, np.float32(0.95) + 0 * gloss, sac)

    depth = random.uniform(-0.16, 0.16, size=2)
    exposure = exposure * (1 + depth[0] * x + depth[1] * y) + 0.03 * fine
    height = tissue.blur(height, 1.6) + 0.0022 * fine
    return tissue.surface(rgb, np.clip(gloss + 0.1 * rough, 0, 1), height, exposure, (UNITS / SIZE, UNITS / SIZE))


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
            self._look[0] + 0.12 * hands[4], self._look[1] + 0.1 * hands[5], self._zoom * (1 + 0.06 * hands[6]), 0.08 * hands[7]
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
