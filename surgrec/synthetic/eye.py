"""The eye under an operating microscope: sclera, limbus, iris, pupil with red reflex; blade, forceps, phaco tip.

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
UNITS = 4.0
IRIDES = np.array([[96, 70, 48], [70, 50, 36], [110, 128, 140], [96, 112, 84], [130, 104, 66]], np.float32)


def globe(random: np.random.Generator, look: str) -> tuple[Surface, float]:
    """Bake a case's eye from the middle outward; returns the surface and the radius of the pupil."""
    grid = np.linspace(-UNITS / 2, UNITS / 2, SIZE, endpoint=False, dtype=np.float32)
    x, y = grid[None, :], grid[:, None]
    shape = (SIZE, SIZE)
    radius, angle = np.sqrt(x * x + y * y), np.arctan2(y, x)
    rough, fine = fractal(random, shape, 1.8, 2, 50), fractal(random, shape, 1.0, 10, 120)
    web = vessels(fractal(random, shape, 1.7, 2, 26) + 0.2 * rough, 0.045)

    limbus = random.uniform(0.68, 0.82)
    pupil = limbus * random.uniform(0.52, 0.72)

    # sclera with vessels, more of them and redder outward
    white = colour(*(np.array([216, 186, 174]) + random.uniform(-16, 16, 3)))
    redness = random.uniform(0.25, 0.75)
    rgb = white * (1 + 0.05 * rough + 0.03 * fine)
    rgb = mix(rgb, colour(196, 84, 78), redness * smoothstep(radius + 0.12 * rough, limbus, 1.7) * 0.75)
    rgb = mix(rgb, colour(170, 36, 40), web * redness * smoothstep(radius, limbus + 0.02, limbus + 0.3))
    height = 0.012 * rough - 0.12 * radius
    gloss = np.full(shape, 0.8, np.float32)
    exposure = 0.82 + 0.04 * rough

    # lids or drape outside an ellipse
    lid = np.sqrt((x / 1.55) ** 2 + (y / random.uniform(1.05, 1.25)) ** 2) + 0.03 * rough
    if look == "wetlab":
        paint = colour(150, 150, 158)
    elif random.uniform() < 0.5:
        paint = colour(52, 92, 150)
    else:
        paint = colour(206, 150, 126)
    outside = smoothstep(lid, 1.0, 1.05)
    rgb = mix(rgb, paint * (0.9 + 0.1 * rough), outside)
    exposure = exposure * (1 - 0.5 * smoothstep(lid, 0.86, 1.0) * (1 - outside))
    gloss = gloss * (1 - 0.7 * outside)

    # iris with radial fibres, a dark limbal ring, and the pupil
    strip = fractal(random, (64, 512), 0.9, 1, 1e9, (4.0, 0.25))
    column = ((angle / (2 * np.pi) + 0.5) * 512).astype(np.int32) % 512
    row = np.clip(radius / limbus * 63, 0, 63).astype(np.int32)
    fibres = strip[row, column]
    iris_colour = colour(*(IRIDES[int(random.integers(len(IRIDES)))] + random.uniform(-10, 10, 3)))
    iris = 1 - smoothstep(radius, limbus - 0.035, limbus + 0.03)
    ring = np.exp(-(((radius - limbus) / 0.06) ** 2))
    inner = np.exp(-(((radius - pupil) / 0.07) ** 2))
    rgb = mix(rgb, iris_colour * (1 + 0.24 * fibres + 0.35 * inner), iris)
    rgb = rgb * (1 - 0.35 * ring)
    hole = 1 - smoothstep(radius + 0.008 * fibres, pupil - 0.02, pupil + 0.02)
    reflex = np.array([[214, 92, 40], [186, 64, 40], [150, 96, 70], [120, 104, 90]], np.float32)
    glow = colour(*(reflex[int(random.integers(4))] + random.uniform(-12, 12, 3)))
    lens = np.clip(1.15 - 0.5 * (radius / pupil) ** 2 + 0.05 * rough, 0, 2)
    spokes = np.clip(np.cos(angle * 9 + 2 * rough), 0, 1) * smoothstep(radius, 0.3 * pupil, pupil)
    cloudy = random.uniform(0.1, 0.75)
    content = mix(glow * lens, colour(206, 188, 150), cloudy * (0.55 * np.exp(-((radius / (0.6 * pupil)) ** 2)) + 0.3 * spokes))
    rgb = mix(rgb, content, hole)
    rhexis = np.exp(-(((radius - 0.72 * pupil) / 0.018) ** 2)) * hole
    rgb = rgb * (1 - 0.25 * rhexis)
    cornea = 1 - smoothstep(radius, limbus - 0.04, limbus + 0.04)
    gloss = mix(gloss, np.float32(0.15) + 0 * gloss, cornea)
    height = height + 0.02 * cornea - 0.02 * hole
    height = tissue.blur(height, 1.5) + 0.0015 * fine * (1 - cornea)
    return tissue.surface(rgb, gloss, height, exposure, (UNITS / SIZE, UNITS / SIZE)), pupil


class Eye:
    """Cataract surgery. Twin looks: capsule (slow or fast strokes), phaco (slow or quick thrust)."""

    def __init__(self, plan: VideoPlan, canvas: Canvas) -> None:
        random = plan.case_random("anatomy")
        surface, self._pupil = globe(random, plan.source.look)
        light = Light.draw(random, sparkle=0.9, falloff=(0.1, 0.3))
        self._landscape = Landscape(surface, UNITS, canvas, light, random)
        self.finish = Finish.draw(random, dark_shaft=False)
        self._zoom = random.uniform(0.85, 1.15)
        self._look = random.uniform(-0.12, 0.12, size=2)
        side = float(random.choice([-1.0, 1.0]))
        wide = canvas.width / canvas.height
        self._main = np.array([side * (wide + 0.1) * random.uniform(0.3, 1.0), 1.35])
        self._second = np.array([-side * (wide + 0.3), random.uniform(-0.3, 0.6)])
        angle = random.uniform(0, 2 * np.pi)
        self._lamps = np.array([[np.cos(angle), np.sin(angle)], [np.cos(angle + 0.9), np.sin(angle + 0.9)]]) * 0.2

    def _camera(self, moment: Moment) -> Camera:
        hands = moment.hands
        return Camera(
            self._look[0] + 0.07 * hands[4], self._look[1] + 0.06 * hands[5], self._zoom * (1 + 0.03 * hands[6]), 0.1 * hands[7]
        )

    def _tip(self, moment: Moment) -> np.ndarray:
        camera = self._camera(moment)
        centre = -np.array([camera.x, camera.y]) * camera.zoom
        if moment.phase.look == "incision":
            toward = self._main / np.hypot(*self._main)
            rest = centre + toward * 0.78 * camera.zoom + 0.03 * moment.hands[:2]
        else:
            rest = centre + 0.45 * self._pupil * np.array(moment.anchor) + 0.03 * moment.hands[:2]
        along, across = strokes(self._main, rest, moment.bearing)
        if moment.phase.look == "capsule":
            return rest + across * 0.16 * moment.stroke
        return rest + along * (0.16 if moment.phase.look == "phaco" else 0.07) * moment.stroke

    def backdrop(self, canvas: Canvas, moment: Moment) -> None:
        camera = self._camera(moment)
        tip = self._tip(moment)
        press = Pull(tip, np.array([0.03, -0.03]) * moment.stroke * moment.presence, 0.25)
        blood = (tip + np.array([0.1, 0.2]), 0.6 * moment.bleeding) if moment.bleeding > 0 else None
        self._landscape.paint(canvas, camera, 0.3 * moment.seconds, (press,), blood)
        centre = -np.array([camera.x, camera.y]) * camera.zoom
        for lamp in self._lamps:
            canvas.disc(centre * 0.6 + lamp, 0.05, colour(255, 252, 244), 0.9, 0.03)

    def tools(self, moment: Moment) -> list[tuple[str, Pose]]:
        kinds = moment.phase.instruments
        main = Pose(self._main, reach(self._main, self._tip(moment), moment.presence), 0.5 - 0.45 * moment.stroke)
        drawn = [(kinds[0], main)]
        if len(kinds) > 1:
            camera = self._camera(moment)
            site = np.array([-camera.x, -camera.y]) * camera.zoom + np.array([0.25 * np.sign(self._second[0]), 0.02])
            site = site + 0.03 * moment.hands[2:4]
            drawn.insert(0, (kinds[1], Pose(self._second, reach(self._second, site, moment.presence))))
        return drawn
