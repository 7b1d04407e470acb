"""The inside of the colon: a tube with haustral folds, vessels and polyps, seen from within.

In: a case's generator and a picture size. Out: an operating `Field`. It is its own file because a tube needs another
projection than the landscapes of the other domains.

Projection: the wall has radius R(z, angle). A point at distance z appears at picture radius F * R / z, so in the direction
of an angle the nearest wall that covers picture radius r is the first z at which the running minimum of F * R / z falls
below r; whatever lies behind a fold is hidden by that minimum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgrec.synthetic import tissue
from surgrec.synthetic.instruments import Canvas, Finish, Point, Pose
from surgrec.synthetic.motion import Moment
from surgrec.synthetic.plan import VideoPlan
from surgrec.synthetic.scene import bleed, reach, strokes
from surgrec.synthetic.tissue import Array, Words, colour, fractal, mix, smoothstep, vessels

LENGTH = 16.0  # radii, after which the colon repeats
PER_RADIUS = 20  # rows of the wall's geometry a radius
FINE = 4  # rows of texture for each row of geometry
AROUND = 256  # columns around the wall
NEAR, FAR = 0.5, 8.0  # radii
FOCUS = 1.05
RINGS = 144  # of the polar picture
RIM = 2.0  # picture radius of the outermost ring, half heights
MARGIN = 0.5  # how far the axis of the lumen may leave the middle, half heights
EXTENT = (LENGTH, 2 * np.pi)


class Wall:
    """A case's colon: radius, slopes and paint on a (z, angle) table that repeats after `LENGTH`."""

    def __init__(self, random: np.random.Generator, look: str) -> None:
        rows = int(LENGTH * PER_RADIUS)
        z = (np.arange(rows, dtype=np.float32) / PER_RADIUS)[:, None]
        angle = (np.arange(AROUND, dtype=np.float32) * (2 * np.pi / AROUND))[None, :]
        warp = fractal(random, (rows, AROUND), 1.8, 0.05, 0.8, EXTENT)
        crest, radius = self._folds(random, z, angle, warp)
        self.polyps = [(float(random.uniform(0, LENGTH)), float(random.uniform(0, 2 * np.pi))) for _ in range(7)]
        bumps = np.zeros((rows, AROUND), np.float32)
        for at, around in self.polyps:
            dz = (z - at + LENGTH / 2) % LENGTH - LENGTH / 2
            da = (angle - around + np.pi) % (2 * np.pi) - np.pi
            ball = np.clip(1 - (dz * dz + da * da) / random.uniform(0.05, 0.11), 0, 1)
            bumps = np.maximum(bumps, ball * ball * (3 - 2 * ball))
        radius = np.maximum(tissue.blur(radius - np.float32(0.27) * bumps, 1.0), 0.3)
        around_slope, slope = tissue.slopes(radius, (1 / PER_RADIUS, 2 * np.pi / AROUND))
        length = 1 / np.sqrt(1 + slope * slope + around_slope * around_slope)
        self.num_rows = rows
        self.radius = np.concatenate([radius, radius])
        self.tilt = (slope + 1j * length).astype(np.complex64)  # two numbers that one gather fetches
        self.paint = self._paint(random, look, *(np.repeat(table, FINE, axis=0) for table in (bumps, crest, warp)))

    @staticmethod
    def _folds(random: np.random.Generator, z: Array, angle: Array, warp: Array) -> tuple[Array, Array]:
        """Haustral folds: inward ridges, three-sided as the taeniae make them, drifting around the axis: (crest, radius)."""
        count = int(random.integers(10, 14))
        turns = random.uniform(0, 2 * np.pi, size=3)
        position = z * (count / LENGTH) + 0.2 * np.sin(angle + turns[0] + 2 * np.pi * z / LENGTH) + 0.16 * warp
        ridge = np.abs((position % 1.0) - 0.5) * 2  # 0 at the crest
        crest = np.exp(-((ridge / random.uniform(0.2, 0.3)) ** 2)).astype(np.float32)
        lobes = 0.55 + 0.45 * np.cos(3 * angle + turns[1] + 1.5 * np.sin(4 * np.pi * z / LENGTH + turns[2]))
        depth = random.uniform(0.26, 0.42)
        bend = 0.13 * np.cos(angle - 6 * np.pi * z / LENGTH - turns[0]) + 0.05 * np.cos(2 * angle + turns[2])
        return crest, (1 - depth * crest * lobes + bend + 0.03 * warp).astype(np.float32)

    @staticmethod
    def _paint(random: np.random.Generator, look: str, bumps: Array, crest: Array, warp: Array) -> Words:
        """Mucosa, vessels, polyps, residue; the fourth channel ripples the surface where it shines."""
        shape = bumps.shape
        rough = fractal(random, shape, 1.5, 0.4, 5, EXTENT)
        fine = fractal(random, shape, 0.9, 2.5, 12, EXTENT)
        web = vessels(fractal(random, shape, 1.5, 0.5, 3, EXTENT) + 0.15 * rough, 0.1)
        flesh = np.array([216, 124, 96]) + random.uniform(-1, 1, 3) * np.array([16, 26, 26])
        rgb = colour(*flesh) * (1 + 0.07 * rough + 0.03 * fine)
        rgb = mix(rgb * (0.86 + 0.14 * crest), colour(236, 176, 146), 0.4 * crest)
        rgb = mix(rgb, colour(160, 42, 40), (0.22 + 0.3 * float(random.uniform())) * web * (1 - 0.5 * crest))
        rgb = mix(rgb, colour(192, 70, 62) * (1 + 0.12 * fine), 0.7 * smoothstep(bumps, 0.1, 0.6))
        residue = smoothstep(rough + 0.6 * warp, 1.7, 2.1) * float(random.uniform() < 0.5)
        rgb = mix(rgb, colour(168, 142, 60), 0.7 * residue)
        if look == "narrow_band":
            grey = 0.25 * rgb[0] + 0.45 * rgb[1] + 0.3 * rgb[2]
            rgb = np.stack([0.66 * grey + 8, 1.02 * grey + 4, 0.92 * grey + 4])
            rgb = mix(rgb, colour(82, 70, 60), np.clip(1.4 * web, 0, 1) * 0.6)
        ripple = fractal(random, shape, 1.0, 1.2, 6, EXTENT)
        return tissue.pack([rgb[0], rgb[1], rgb[2], 128 + 36 * ripple], shape).view(np.uint32)[..., 0]


class Colon:
    """Colonoscopy. Twin looks: lumen (forward or back), biopsy (slow or quick thrust)."""

    def __init__(self, plan: VideoPlan, canvas: Canvas) -> None:
        random = plan.case_random("anatomy")
        self._wall = Wall(random, plan.source.look)
        self._light = float(random.uniform(1.8, 2.7))
        self._sparkle = float(random.uniform(0.7, 1.1))
        self.finish = Finish.draw(random, dark_shaft=False)
        side = float(random.choice([-1.0, 1.0]))
        self._entry = np.array([side * random.uniform(0.3, 0.9), 1.3])
        self._margin = int(MARGIN * 2 * canvas.half)
        self._address = _addresses(canvas, self._margin)
        # rings are spaced as squares: dense in the middle, where the lumen goes deep
        self._rings = (((np.arange(RINGS, dtype=np.float32) + 0.5) / RINGS) ** 2 * RIM)[:, None]
        self._around = np.arange(AROUND)[None, :]

    def backdrop(self, canvas: Canvas, moment: Moment) -> None:
        picture = self._polar(self._position(moment))
        axis = self._axis(moment)
        limit = self._margin - 1
        left = self._margin - int(np.clip(round(axis[0] * 2 * canvas.half), -limit, limit))
        top = self._margin - int(np.clip(round(axis[1] * 2 * canvas.half), -limit, limit))
        address = self._address[top : top + 2 * canvas.height, left : left + 2 * canvas.width]
        mean = _mean(*(picture.take(address[half::2, half::2], mode="wrap") for half in (0, 1)))  # softens the edges
        pixels = mean.view(np.uint8).reshape(canvas.height, canvas.width, 4)
        for channel in range(3):
            canvas.pixels[channel] = pixels[..., channel]
        if moment.bleeding > 0:
            site = self._site(moment) if moment.phase.instruments else axis + np.array([0.5, 0.45])
            bleed(canvas, site, moment.bleeding, pixels[..., 3], np.float32(0.75))

    def _axis(self, moment: Moment) -> Point:
        """Where the middle of the lumen appears."""
        return 0.2 * moment.hands[:2] + np.array([0.05, -0.05]) * moment.hands[2]

    def _position(self, moment: Moment) -> float:
        """Where the lens is along the colon, radii."""
        if moment.phase.look == "lumen":
            return moment.travel % LENGTH
        return (self._polyp(moment)[0] - 1.05 + 0.06 * float(moment.hands[3])) % LENGTH

    def _polyp(self, moment: Moment) -> tuple[float, float]:
        polyps = self._wall.polyps
        return polyps[int((moment.anchor[0] + 1) / 2 * len(polyps)) % len(polyps)]

    def _polar(self, position: float) -> Words:
        """The lit wall on rings and angles as the lens sees it from `position`: packed colours (RINGS, AROUND)."""
        wall = self._wall
        first = int(np.ceil((position + NEAR) * PER_RADIUS))
        count = int((FAR - NEAR) * PER_RADIUS)
        start = first % wall.num_rows
        distance = ((first + np.arange(count)) / PER_RADIUS - position).astype(np.float32)[:, None]
        shown = wall.radius[start : start + count] * (np.float32(FOCUS) / distance)
        np.minimum.accumulate(shown, axis=0, out=shown)
        # how many samples along each angle lie outside each ring: a histogram of rings, summed from outside
        ring = np.sqrt(shown * np.float32(RINGS * RINGS / RIM))
        ring = np.minimum(ring + np.float32(0.5), np.float32(RINGS)).astype(np.int64)
        counts = np.bincount((ring * AROUND + self._around).ravel(), minlength=(RINGS + 1) * AROUND)
        outside = counts.reshape(RINGS + 1, AROUND)[:0:-1].cumsum(axis=0)[::-1]
        outside = np.clip(outside, 1, count - 1)
        after = outside * AROUND + self._around
        low = shown.take(after, mode="wrap")  # nothing wraps here, but NumPy's other modes are slower
        high = shown.take(after - AROUND, mode="wrap")
        part = np.clip((high - self._rings) / np.maximum(high - low, np.float32(1e-6)), 0, 1)
        row = outside.astype(np.float32) + (part - 1)
        texel = (row * FINE).astype(np.int64) + start * FINE
        paint = wall.paint.take(texel * AROUND + self._around, mode="wrap").view(np.uint8).reshape(RINGS, AROUND, 4)
        tilt = wall.tilt.take(after + start * AROUND, mode="wrap")
        return self._lit(paint, tilt.real, tilt.imag, row * np.float32(1 / PER_RADIUS) + distance[0, 0])

    def _lit(self, paint: npt.NDArray[np.uint8], slope: Array, length: Array, z: Array) -> Words:
        """Light from the lens: falls off with distance, brightest where the wall faces it, shining where it does exactly."""
        r = self._rings / np.float32(FOCUS)
        ripple = paint[..., 3] * np.float32(1 / 320) - np.float32(0.4)
        facing = (r - slope + ripple) * length / np.sqrt(1 + r * r)
        facing = np.clip(facing, 0.22, 1)  # a visible wall never faces away: below that are only the rims of folds
        far = z * z * ((1 + r * r) * np.float32(1 / self._light**2))
        shade = (0.12 + 1.05 * facing) / (0.5 + far)
        shade *= 1.9 / (1 + 0.8 * shade)  # the camera's automatic exposure flattens the near wall
        shine = np.clip((facing - 0.955) * 24, 0, 1) ** 2 * np.clip(np.float32(self._sparkle) / (0.5 + far), 0, 1) * 140
        lit = np.empty(paint.shape, np.uint8)
        for channel in range(3):
            lit[..., channel] = np.minimum(paint[..., channel] * shade + shine, 255)
        lit[..., 3] = paint[..., 3]
        return lit.view(np.uint32)[..., 0]

    def _site(self, moment: Moment) -> Point:
        """Where the polyp in view appears."""
        at, around = self._polyp(moment)
        gap = (at - self._position(moment) + LENGTH / 2) % LENGTH - LENGTH / 2
        return self._axis(moment) + np.array([np.cos(around), np.sin(around)]) * FOCUS * 0.72 / max(gap, 0.5)

    def tools(self, moment: Moment) -> list[tuple[str, Pose]]:
        if not moment.phase.instruments:
            return []
        site = self._site(moment) * 0.9
        along, _ = strokes(self._entry, site, moment.bearing)
        tip = site + along * (0.18 if moment.phase.look == "biopsy" else 0.08) * moment.stroke
        opening = 0.5 - 0.45 * moment.stroke
        return [(moment.phase.instruments[0], Pose(self._entry, reach(self._entry, tip, moment.presence), opening))]


def _addresses(canvas: Canvas, margin: int) -> npt.NDArray[np.int64]:
    """For every half pixel of a canvas with a margin: the address of its ring and angle in the polar picture."""
    rows, columns = 2 * canvas.height + 2 * margin, 2 * canvas.width + 2 * margin
    y = ((np.arange(rows, dtype=np.float32) + 0.5 - rows / 2) / (2 * canvas.half))[:, None]
    x = ((np.arange(columns, dtype=np.float32) + 0.5 - columns / 2) / (2 * canvas.half))[None, :]
    ring = np.minimum(np.sqrt(np.sqrt(x * x + y * y) / RIM) * RINGS, RINGS - 1).astype(np.int64)
    column = ((np.arctan2(y, x) / (2 * np.pi)) % 1.0 * AROUND).astype(np.int64) % AROUND
    return ring * AROUND + column


def _mean(a: Words, b: Words) -> Words:
    """Mean of four bytes at a time: what both share, plus half of where they differ."""
    return (a & b) + (((a ^ b) & np.uint32(0xFEFEFEFE)) >> np.uint32(1))
