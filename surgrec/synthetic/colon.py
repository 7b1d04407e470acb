"""The inside of the colon: a tube with haustral folds, vessels and polyps, seen from within.

In: a case's generator and a picture size. Out: an operating `Field`. It is its own file because a tube needs another
projection than the landscapes of the other domains.

Projection: the wall has radius R(z, angle). A point at distance z appears at picture radius F * R / z, so in the direction
of an angle the nearest wall that covers picture radius r is the first z at which the running minimum of F * R / z falls
below r; whatever lies behind a fold is hidden by that minimum.
"""

from __future__ import annotations

import numpy as np

from surgrec.synthetic import tissue
from surgrec.synthetic.instruments import Canvas, Finish, Pose
from surgrec.synthetic.motion import Moment
from surgrec.synthetic.plan import VideoPlan
from surgrec.synthetic.scene import reach, strokes
from surgrec.synthetic.tissue import Array, colour, fractal, mix, smoothstep, vessels

LENGTH = 16.0  # radii, after which the colon repeats
PER_RADIUS = 24  # rows of the wall's geometry a radius
FINE = 4  # rows of texture for each row of geometry
AROUND = 320  # columns around the wall
NEAR, FAR = 0.42, 8.5  # radii
FOCUS = 0.85
RADII = 150  # rings of the polar picture
RIM = 2.0  # picture radius of the outermost ring, half heights


class Wall:
    """A case's colon: radius, its slopes and its paint on a periodic (z, angle) table."""

    def __init__(self, random: np.random.Generator, look: str) -> None:
        rows = int(LENGTH * PER_RADIUS)
        z = (np.arange(rows, dtype=np.float32) / PER_RADIUS)[:, None]
        angle = (np.arange(AROUND, dtype=np.float32) * (2 * np.pi / AROUND))[None, :]
        extent = (LENGTH, 2 * np.pi)
        warp = fractal(random, (rows, AROUND), 1.8, 0.05, 1.0, extent)
        self.radius = self._folds(random, z, angle, warp)
        self.polyps = [(float(random.uniform(0, LENGTH)), float(random.uniform(0, 2 * np.pi))) for _ in range(7)]
        bumps = np.zeros((rows, AROUND), np.float32)
        for at, around in self.polyps:
            dz = (z - at + LENGTH / 2) % LENGTH - LENGTH / 2
            da = (angle - around + np.pi) % (2 * np.pi) - np.pi
            bumps = np.maximum(bumps, np.clip(1 - (dz * dz + da * da) / random.uniform(0.03, 0.07), 0, 1))
        self.radius = self.radius - np.float32(0.28) * np.sqrt(bumps)
        self.radius = np.maximum(tissue.blur(self.radius, 1.2), 0.3)
        self.slope = tissue.slopes(self.radius, (1 / PER_RADIUS, 2 * np.pi / AROUND))[1]
        self.paint = self._paint(random, look, np.repeat(np.sqrt(bumps), FINE, axis=0), np.repeat(warp, FINE, axis=0))

    def _folds(self, random: np.random.Generator, z: Array, angle: Array, warp: Array) -> Array:
        """Haustral folds: sharp inward ridges, three-sided as the taeniae make them, drifting around the axis."""
        count = int(random.integers(13, 21))
        turns = random.uniform(0, 2 * np.pi, size=3)
        position = z * (count / LENGTH) + 0.18 * np.sin(angle + turns[0] + 2 * np.pi * z / LENGTH) + 0.1 * warp
        ridge = np.abs((position % 1.0) - 0.5) * 2  # 0 at the crest
        crest = np.exp(-((ridge / 0.28) ** 2))
        lobes = 0.62 + 0.38 * np.cos(3 * angle + turns[1] + 1.5 * np.sin(2 * np.pi * z / LENGTH * 2 + turns[2]))
        depth = random.uniform(0.3, 0.48)
        bend = 0.14 * np.cos(angle - 2 * np.pi * z / LENGTH * 3 - turns[0]) + 0.06 * np.cos(2 * angle + turns[2] + z)
        return (1 - depth * crest * lobes + bend + 0.035 * warp).astype(np.float32)

    def _paint(self, random: np.random.Generator, look: str, bumps: Array, warp: Array) -> tissue.Words:
        """Mucosa, vessels, polyps, residue; gloss varies with the wetness."""
        shape = bumps.shape
        extent = (LENGTH, 2 * np.pi)
        rough = fractal(random, shape, 1.5, 0.4, 6, extent)
        fine = fractal(random, shape, 0.8, 3, 22, extent)
        web = vessels(fractal(random, shape, 1.4, 0.5, 5, extent) + 0.2 * rough, 0.05)
        flesh = np.array([222, 138, 108]) + random.uniform(-1, 1, 3) * np.array([22, 26, 26])
        rgb = colour(*flesh) * (1 + 0.06 * rough + 0.045 * fine)
        rgb = mix(rgb, colour(172, 52, 46), (0.4 + 0.3 * float(random.uniform())) * web)
        rgb = mix(rgb, colour(198, 74, 66) * (1 + 0.12 * fine), 0.75 * smoothstep(bumps, 0.1, 0.6))
        residue = smoothstep(rough + 0.6 * warp, 1.7, 2.3) * float(random.uniform() < 0.5)
        rgb = mix(rgb, colour(168, 142, 60), 0.7 * residue)
        if look == "narrow_band":
            grey = 0.3 * rgb[0] + 0.4 * rgb[1] + 0.3 * rgb[2]
            rgb = np.stack([0.62 * grey + 12, 0.9 * grey, 0.78 * grey + 8])
            rgb = mix(rgb, colour(86, 52, 40), np.clip(1.1 * web, 0, 1) * 0.8)
        gloss = 110 + 40 * rough + 55 * fine
        return tissue.pack([rgb[0], rgb[1], rgb[2], gloss], shape)


class Colon:
    """Colonoscopy. Twin looks: lumen (forward or back), biopsy (slow or quick thrust)."""

    def __init__(self, plan: VideoPlan, canvas: Canvas) -> None:
        random = plan.case_random("anatomy")
        self._wall = Wall(random, plan.source.look)
        self._light = random.uniform(1.5, 2.3)
        self._sparkle = random.uniform(0.7, 1.1)
        self.finish = Finish.draw(random, dark_shaft=False)
        side = float(random.choice([-1.0, 1.0]))
        self._entry = np.array([side * random.uniform(0.3, 0.9), 1.3])
        # polar addresses at twice the picture's resolution, so that the axis may move by half pixels
        margin = 0.5
        self._margin = int(margin * 2 * canvas.half)
        rows, columns = 2 * canvas.height + 2 * self._margin, 2 * canvas.width + 2 * self._margin
        y = ((np.arange(rows, dtype=np.float32) + 0.5 - rows / 2) / (2 * canvas.half))[:, None]
        x = ((np.arange(columns, dtype=np.float32) + 0.5 - columns / 2) / (2 * canvas.half))[None, :]
        ring = np.minimum(np.sqrt(np.sqrt(x * x + y * y) / RIM) * RADII, RADII - 1).astype(np.int32)
        column = ((np.arctan2(y, x) / (2 * np.pi)) % 1.0 * AROUND).astype(np.int32) % AROUND
        self._address = ring * AROUND + column
        # rings are spaced as squares: dense in the middle, where the lumen goes deep
        self._rings = (((np.arange(RADII, dtype=np.float32) + 0.5) / RADII) ** 2 * RIM)[:, None]
        self._around = np.arange(AROUND, dtype=np.int64)[None, :]

    def backdrop(self, canvas: Canvas, moment: Moment) -> None:
        picture = self._polar(moment)
        axis = self._axis(moment)
        limit = self._margin - 1
        left = self._margin - int(np.clip(round(axis[0] * 2 * canvas.half), -limit, limit))
        top = self._margin - int(np.clip(round(axis[1] * 2 * canvas.half), -limit, limit))
        address = self._address[top : top + 2 * canvas.height : 2, left : left + 2 * canvas.width : 2]
        pixels = picture.take(address).view(np.uint8).reshape(canvas.height, canvas.width, 4)
        for channel in range(3):
            canvas.pixels[channel] = pixels[..., channel]

    def _axis(self, moment: Moment) -> np.ndarray:
        """Where the middle of the lumen appears."""
        return 0.18 * moment.hands[:2] + np.array([0.05, -0.05]) * moment.hands[2]

    def _position(self, moment: Moment) -> float:
        """Where the lens is along the colon, radii."""
        if moment.phase.look == "lumen":
            return moment.travel % LENGTH
        at, _ = self._polyp(moment)
        return (at - 1.0 + 0.06 * float(moment.hands[3])) % LENGTH

    def _polyp(self, moment: Moment) -> tuple[float, float]:
        polyps = self._wall.polyps
        return polyps[int((moment.anchor[0] + 1) / 2 * len(polyps)) % len(polyps)]

    def _polar(self, moment: Moment) -> tissue.Words:
        """The lit wall on rings and angles, packed colours (RADII, AROUND)."""
        wall = self._wall
        position = self._position(moment)
        rows = len(wall.radius)
        first = int(np.ceil((position + NEAR) * PER_RADIUS))
        index = np.arange(first, first + int((FAR - NEAR) * PER_RADIUS))
        distance = (index / PER_RADIUS - position).astype(np.float32)[:, None]
        radius = wall.radius[index % rows]
        reach_ = np.minimum.accumulate(radius * (np.float32(FOCUS) / distance), axis=0)
        # how many samples along each angle lie outside each ring: a histogram of rings, summed from outside
        ring = np.minimum(np.sqrt(reach_ * np.float32(1 / RIM)) * RADII + 0.5, RADII).astype(np.int64)
        counts = np.bincount((ring * AROUND + self._around).ravel(), minlength=(RADII + 1) * AROUND)
        outside = counts.reshape(RADII + 1, AROUND)[::-1].cumsum(axis=0)[::-1][1:]
        after = np.clip(outside, 1, len(index) - 1)
        low = reach_[after, self._around]
        high = reach_[after - 1, self._around]
        part = np.clip((high - self._rings) / np.maximum(high - low, 1e-6), 0, 1)
        row = (after - 1 + part).astype(np.float32)
        z = row / PER_RADIUS + distance[0, 0]
        slope = wall.slope[(index[0] + after) % rows, self._around]
        texel = (row * FINE).astype(np.int32) + first * FINE
        paint = wall.paint[texel % (rows * FINE), self._around].view(np.uint8).reshape(RADII, AROUND, 4)
        return self._lit(paint, slope, z)

    def _lit(self, paint: np.ndarray, slope: Array, z: Array) -> tissue.Words:
        """Light from the lens: falls off with distance, brightest where the wall faces it, shining where it does exactly."""
        r = self._rings / np.float32(FOCUS)
        grain = (paint[..., 3].astype(np.float32) - 110) * np.float32(1 / 400)
        facing = (r - slope + grain) / np.sqrt((1 + slope * slope) * (1 + r * r))
        facing = np.clip(facing, 0, 1)
        far = z * z * (1 + r * r) * np.float32(1 / self._light**2)
        shade = (0.22 + 0.9 * facing) * 1.25 / (0.42 + far)
        shine = np.clip((facing - 0.9) * 10, 0, 1) ** 2 * np.clip(2.2 / (0.6 + far) * self._sparkle, 0, 1) * 150
        lit = np.empty(paint.shape, np.uint8)
        for channel in range(3):
            lit[..., channel] = np.minimum(paint[..., channel] * shade + shine, 255)
        return lit.view(np.uint32)[..., 0]

    def _site(self, moment: Moment) -> np.ndarray:
        """Where the polyp in view appears."""
        at, around = self._polyp(moment)
        gap = (at - self._position(moment) + LENGTH / 2) % LENGTH - LENGTH / 2
        return self._axis(moment) + np.array([np.cos(around), np.sin(around)]) * FOCUS * 0.72 / max(gap, 0.5)

    def tools(self, moment: Moment) -> list[tuple[str, Pose]]:
        if not moment.phase.instruments:
            return []
        site = self._site(moment) * 0.9
        along, across = strokes(self._entry, site, moment.bearing)
        tip = site + along * (0.16 if moment.phase.look == "biopsy" else 0.08) * moment.stroke
        opening = 0.5 - 0.45 * moment.stroke
        return [(moment.phase.instruments[0], Pose(self._entry, reach(self._entry, tip, moment.presence), opening))]
