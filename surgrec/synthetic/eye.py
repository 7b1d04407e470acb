"""The eye under an operating microscope: sclera, limbus, iris, pupil with red reflex; blade, forceps, phaco tip.

In: a case's generator and a picture size. Out: an operating `Field`. It is its own file because it is one domain's anatomy.
"""

from __future__ import annotations

import numpy as np

from surgrec.synthetic.instruments import Canvas, Finish, Pose
from surgrec.synthetic.motion import Moment
from surgrec.synthetic.plan import VideoPlan
from surgrec.synthetic.scene import Camera, Landscape, Light, Pull, reach, strokes
from surgrec.synthetic.tissue import Array, Sheet, Surface, colour, fractal, mix, smoothstep

TEXELS = 512
UNITS = 4.0
IRIDES = ((96, 70, 48), (70, 50, 36), (110, 128, 140), (104, 108, 88), (124, 104, 72))
REFLEXES = ((214, 92, 40), (186, 64, 40), (150, 96, 70), (120, 104, 90))  # of the retina, as the pupil shows it


def globe(random: np.random.Generator, look: str) -> tuple[Surface, float]:
    """Bake a case's eye from the outside inward; returns the surface and the radius of the pupil."""
    sheet = Sheet(random, TEXELS, UNITS)
    radius = np.sqrt(sheet.x * sheet.x + sheet.y * sheet.y)
    angle = np.arctan2(sheet.y, sheet.x)
    limbus = random.uniform(0.68, 0.82)
    pupil = limbus * random.uniform(0.52, 0.72)
    _sclera(sheet, radius, limbus)
    _lids(sheet, look)
    _iris(sheet, radius, angle, limbus, pupil)
    _lens(sheet, radius, angle, pupil)
    return sheet.bake(1.5), pupil


def _sclera(sheet: Sheet, radius: Array, limbus: float) -> None:
    """White with vessels, more of them and redder outward."""
    white = sheet.around((216, 186, 174), 16) * (1 + 0.05 * sheet.rough + 0.03 * sheet.fine)
    redness = sheet.random.uniform(0.25, 0.75)
    sheet.lay(np.ones_like(radius), white, 0.012 * sheet.rough - 0.12 * radius, 0.8, 0.9 + 0.04 * sheet.rough)
    sheet.stain(0.75 * redness * smoothstep(radius + 0.12 * sheet.rough, limbus, 1.7), colour(196, 84, 78))
    sheet.stain(redness * sheet.web * smoothstep(radius, limbus + 0.02, limbus + 0.3), colour(170, 36, 40))


def _lids(sheet: Sheet, look: str) -> None:
    """Skin, a drape, or the holder of a wet lab, outside an ellipse."""
    ellipse = np.sqrt((sheet.x / 1.55) ** 2 + (sheet.y / sheet.random.uniform(1.05, 1.25)) ** 2) + 0.03 * sheet.rough
    paint = colour(52, 92, 150) if sheet.random.uniform() < 0.5 else colour(206, 150, 126)
    if look == "wetlab":
        paint = colour(150, 150, 158)
    where = smoothstep(ellipse, 1.0, 1.05)
    sheet.exposure = sheet.exposure * (1 - 0.5 * smoothstep(ellipse, 0.86, 1.0))
    sheet.lay(where, paint * (0.9 + 0.1 * sheet.rough), sheet.height, 0.25, 0.9 + 0.04 * sheet.rough)


def _iris(sheet: Sheet, radius: Array, angle: Array, limbus: float, pupil: float) -> None:
    """Radial fibres under a smooth cornea, a dark ring at the limbus."""
    strip = fractal(sheet.random, (64, 512), 0.9, 1, 1e9, (0.25, 4.0))  # radius by angle
    column = ((angle / (2 * np.pi) + 0.5) * 512).astype(np.int64) % 512
    fibres = strip[np.clip(radius / limbus * 63, 0, 63).astype(np.int64), column]
    paint = sheet.around(IRIDES[int(sheet.random.integers(len(IRIDES)))], 10)
    inner = np.exp(-(((radius - pupil) / 0.07) ** 2))
    where = 1 - smoothstep(radius, limbus - 0.035, limbus + 0.03)
    sheet.lay(where, paint * (1 + 0.2 * fibres + 0.35 * inner), 0.02 - 0.12 * radius, 0.15, 0.9)
    sheet.rgb = sheet.rgb * (1 - 0.35 * np.exp(-(((radius - limbus) / 0.06) ** 2)))


def _lens(sheet: Sheet, radius: Array, angle: Array, pupil: float) -> None:
    """The pupil: red reflex, more or less clouded by the cataract, with the rim of the opened capsule."""
    random = sheet.random
    hole = 1 - smoothstep(radius, pupil - 0.02, pupil + 0.02)
    glow = sheet.around(REFLEXES[int(random.integers(len(REFLEXES)))], 12)
    glow = glow * np.clip(1.15 - 0.5 * (radius / pupil) ** 2 + 0.05 * sheet.rough, 0, 2)
    spokes = np.clip(np.cos(angle * 9 + 2 * sheet.rough), 0, 1) * smoothstep(radius, 0.3 * pupil, pupil)
    nucleus = np.exp(-((radius / (0.6 * pupil)) ** 2))
    content = mix(glow, colour(206, 188, 150), random.uniform(0.1, 0.75) * (0.55 * nucleus + 0.3 * spokes))
    sheet.lay(hole, content, -0.12 * radius, 0.15, 0.9)
    sheet.rgb = sheet.rgb * (1 - 0.25 * hole * np.exp(-(((radius - 0.72 * pupil) / 0.018) ** 2)))


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
            self._look[0] + 0.07 * hands[4],
            self._look[1] + 0.06 * hands[5],
            self._zoom * (1 + 0.03 * hands[6]),
            0.1 * hands[7],
        )

    def _tip(self, moment: Moment) -> np.ndarray:
        camera = self._camera(moment)
        centre = -np.array([camera.x, camera.y]) * camera.zoom
        if moment.phase.look == "incision":
            toward = self._main / np.hypot(*self._main)
            rest = centre + toward * 0.62 * camera.zoom + 0.03 * moment.hands[:2]
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
