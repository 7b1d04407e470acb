"""From the time in a video to where everything is: strokes, wandering hands, camera, travel.

In: a `VideoPlan` and seconds. Out: a `Moment`. It is its own file because the one law of the corpus lives here: two phases
of one look visit the same positions equally often and differ only in the order, so that it takes motion to tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.synthetic.plan import Phase, VideoPlan, segment_at

TRAVEL_SPEED = 0.75  # colon radii a second
ENTER_SECONDS = 0.35  # instruments slide in and out at the ends of a segment


@dataclass(frozen=True)
class Moment:
    """The state of the theatre at one time. Lengths count half picture heights unless said otherwise."""

    seconds: float
    phase: Phase
    segment: int
    presence: float  # 0: instruments outside the picture, 1: in place
    stroke: float  # -1..1, position within the stroke
    anchor: tuple[float, float]  # where the work is done, relative to the scene's centre, -1..1
    bearing: float  # radians, direction of the stroke relative to the instrument
    hands: npt.NDArray[np.float64]  # (8,) slow wander, about -1..1 each
    travel: float  # colon radii, along the lumen
    smoke: float  # 0..1
    bleeding: float  # 0..1


def stroke_position(cycles: float, rise: float) -> float:
    """Position in [-1, 1] after some cycles; whatever `rise`, its distribution over a cycle is that of a cosine."""
    part = cycles % 1.0
    ramp = part / rise if part < rise else (1 - part) / (1 - rise)
    return float(-np.cos(np.pi * ramp))


class Motion:
    """All motion of one video, drawn once; `at` is a pure function of time."""

    def __init__(self, plan: VideoPlan) -> None:
        self.plan = plan
        random = plan.random("motion")
        self._frequencies = random.uniform(0.05, 0.22, size=(8, 3))  # Hz
        self._phases = random.uniform(0, 2 * np.pi, size=(8, 3))
        count = len(plan.segments)
        self._offsets = random.uniform(size=count)  # of the stroke, in cycles
        self._rates = random.uniform(0.9, 1.1, size=count)
        self._anchors = random.uniform(-1, 1, size=(count, 2))
        self._bearings = random.uniform(-0.5, 0.5, size=count)
        self._starts = random.uniform(0, 100, size=count)  # of the travel
        self._speeds = random.uniform(0.75, 1.25, size=count) * TRAVEL_SPEED

    def at(self, seconds: float) -> Moment:
        """The moment `seconds` after the first frame."""
        index = segment_at(self.plan, seconds)
        segment = self.plan.segments[index]
        rhythm = segment.phase.rhythm
        since = seconds - segment.start_seconds
        cycles = self._offsets[index] + rhythm.rate_hz * self._rates[index] * since
        end = min(segment.end_seconds, self.plan.duration_seconds)
        edge = min(since, end - seconds)
        hands = np.sin(2 * np.pi * self._frequencies * seconds + self._phases).sum(axis=1) / 2
        return Moment(
            seconds=seconds,
            phase=segment.phase,
            segment=index,
            presence=float(np.clip(0.5 + edge / ENTER_SECONDS, 0, 1)),
            stroke=stroke_position(cycles, rhythm.rise),
            anchor=(float(self._anchors[index, 0]), float(self._anchors[index, 1])),
            bearing=float(self._bearings[index]),
            hands=hands,
            travel=float(self._starts[index] + rhythm.travel * self._speeds[index] * since),
            smoke=self._level("smoke", seconds, 0.8),
            bleeding=self._level("bleeding", seconds, 2.5),
        )

    def _level(self, kind: str, seconds: float, ramp_seconds: float) -> float:
        """How far an event of a kind has built up: ramps up at its start and down at its end."""
        for event in self.plan.events:
            if event.kind == kind and event.start_seconds <= seconds < event.end_seconds:
                up = (seconds - event.start_seconds) / ramp_seconds
                down = (event.end_seconds - seconds) / min(ramp_seconds, 0.8)
                return min(up + 0.1, down + 0.1, 1.0)
        return 0.0
