"""What the embedded corpus contains, before a pixel is drawn: sources, cases, videos, phases, events, frame times.

In: a scale and a seed. Out: `VideoPlan`s, pure functions of (seed, source, case, video). It is its own file because the
renderer, the labels and the tests must agree on when what happens, and labels are written long after the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.core import rng
from surgrec.core.errors import UserError

GENERATOR = 1  # raise it whenever the same seed begins to give other files


@dataclass(frozen=True)
class Rhythm:
    """How an instrument strokes (or, for `travel`, which way the camera goes).

    `rate_hz` strokes a second; `rise` is the share of a stroke that goes forward: 0.8 is slow out and quick back, 0.2 the
    opposite. Whatever the rhythm, the position within the stroke has the same distribution, so a single frame cannot tell.
    """

    rate_hz: float
    rise: float = 0.5
    travel: float = 0.0  # -1 backward, 0 standing, 1 forward


@dataclass(frozen=True)
class Phase:
    """A step of an operation: what is in the picture (`look`, `instruments`) and how it moves (`rhythm`)."""

    name: str
    look: str
    instruments: tuple[str, ...]
    rhythm: Rhythm


SLOW, FAST = Rhythm(0.3), Rhythm(1.3)
SLOW_OUT, QUICK_OUT = Rhythm(0.5, rise=0.82), Rhythm(0.5, rise=0.18)

# Phases of one look within a domain differ in their rhythm only.
PHASES: dict[str, tuple[Phase, ...]] = {
    "endoscopy": (
        Phase("insertion", "lumen", (), Rhythm(0.2, travel=1.0)),
        Phase("biopsy_traction", "biopsy", ("biopsy_forceps",), SLOW_OUT),
        Phase("biopsy_thrusting", "biopsy", ("biopsy_forceps",), QUICK_OUT),
        Phase("polypectomy", "polyp", ("snare",), Rhythm(0.5)),
        Phase("withdrawal", "lumen", (), Rhythm(0.2, travel=-1.0)),
    ),
    "laparoscopy": (
        Phase("slow_retraction", "retraction", ("grasper", "grasper"), SLOW_OUT),
        Phase("hook_stroking", "dissection", ("hook", "grasper"), SLOW),
        Phase("hook_dabbing", "dissection", ("hook", "grasper"), FAST),
        Phase("clipping", "clipping", ("clip_applier", "grasper"), Rhythm(0.5)),
        Phase("quick_retraction", "retraction", ("grasper", "grasper"), QUICK_OUT),
    ),
    "cataract": (
        Phase("incision", "incision", ("blade",), Rhythm(0.5)),
        Phase("capsulorhexis", "capsule", ("capsule_forceps",), SLOW),
        Phase("capsule_teasing", "capsule", ("capsule_forceps",), FAST),
        Phase("sculpting", "phaco", ("phaco_tip", "chopper"), SLOW_OUT),
        Phase("chopping", "phaco", ("phaco_tip", "chopper"), QUICK_OUT),
    ),
    "robotic": (
        Phase("needle_driving", "suturing", ("needle_driver", "needle_driver"), SLOW_OUT),
        Phase("needle_extraction", "suturing", ("needle_driver", "needle_driver"), QUICK_OUT),
        Phase("blunt_dissection", "dissection", ("scissors", "bipolar"), SLOW),
        Phase("sharp_dissection", "dissection", ("scissors", "bipolar"), FAST),
        Phase("thread_handling", "thread", ("needle_driver", "bipolar"), Rhythm(0.6)),
    ),
}


@dataclass(frozen=True)
class Source:
    """One source dataset: how much of the corpus it is, how its cameras and files are, what its pictures look like."""

    name: str
    domain: str
    procedure: str
    share: float  # of the hours
    videos_per_case: int
    video_seconds: float  # typical, quickstart
    fps: float
    width: int
    height: int
    container: str = "mp4"
    gop_frames: int = 25
    b_frames: int = 0
    crf: int = 26
    is_variable_rate: bool = False
    vignette: str = "none"  # none, circle, octagon, rounded
    look: str = ""  # domain-specific variant


SOURCES: tuple[Source, ...] = (
    Source("colon_screening", "endoscopy", "colonoscopy", 0.380, 3, 15, 10, 176, 144, gop_frames=25, vignette="octagon"),
    Source("chole_center", "laparoscopy", "cholecystectomy", 0.170, 2, 14, 12.5, 192, 144, gop_frames=60, b_frames=2),
    Source("cataract_day", "cataract", "phacoemulsification", 0.110, 1, 12.5, 12.5, 176, 128, gop_frames=15),
    Source("robot_tissue", "robotic", "prostatectomy", 0.090, 2, 13, 12, 208, 128, gop_frames=48, b_frames=1),
    Source("colon_round", "endoscopy", "colonoscopy", 0.060, 1, 10.5, 12.5, 160, 144, "mkv", 10, vignette="circle"),
    Source(
        "lap_smoky", "laparoscopy", "fundoplication", 0.050, 1, 11.5, 25, 192, 144, gop_frames=250, b_frames=3, look="smoky"
    ),
    Source("robot_bench", "robotic", "suturing_bench", 0.040, 1, 11, 20, 176, 128, "mov", 20, look="pad"),
    Source("cataract_fine", "cataract", "phacoemulsification", 0.030, 1, 8.5, 15, 256, 192, gop_frames=30, crf=23),
    Source(
        "colon_narrow_band", "endoscopy", "colonoscopy", 0.021, 1, 7.5, 15, 160, 128, "mkv", 30,
        is_variable_rate=True, vignette="octagon", look="narrow_band",
    ),
    Source(
        "lap_trocar", "laparoscopy", "cholecystectomy", 0.019, 1, 7, 12.5, 176, 144, gop_frames=12,
        is_variable_rate=True, vignette="circle",
    ),
    Source("cataract_wetlab", "cataract", "wetlab", 0.016, 1, 5.5, 30, 160, 128, "mov", 60, vignette="circle", look="wetlab"),
    Source("robot_thoracic", "robotic", "lobectomy", 0.014, 1, 5, 24, 192, 128, "mkv", 24, crf=30, look="lung"),
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How large a corpus is: total seconds, a factor on the length of videos, and the sources in it (none named: all)."""

    total_seconds: float
    length: float
    sources: tuple[str, ...] = ()


SCALES: dict[str, Scale] = {
    "tiny": Scale(12, 0.3, ("cataract_wetlab", "robot_thoracic", "colon_narrow_band", "lap_trocar")),  # for tests
    "quickstart": Scale(1040, 1.0),
    "small": Scale(5400, 1.0),
    "large": Scale(36000, 0.8),
}
PUBLIC_SCALES = ("quickstart", "small", "large")
MIN_CASES = 3
_TICKS_PER_SECOND = {"mp4": 90000, "mov": 90000, "mkv": 1000}  # Matroska keeps milliseconds


@dataclass(frozen=True)
class Segment:
    """A stretch of one phase within a video, in seconds from its first frame."""

    phase: Phase
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class Event:
    """A stretch in which something happens: black, out_of_body, smoke or bleeding."""

    kind: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True)
class VideoPlan:
    """One video of one case: everything about it but its pixels."""

    seed: int
    source_index: int
    case: int
    video: int  # within its case
    number: int  # within its source
    duration_seconds: float
    first_phase: int

    @property
    def source(self) -> Source:
        return SOURCES[self.source_index]

    @property
    def path(self) -> Path:
        """Relative to the folder of the source."""
        return Path(f"case_{self.case:03d}") / f"video_{self.video:02d}.{self.source.container}"

    @property
    def ticks_per_second(self) -> int:
        return _TICKS_PER_SECOND[self.source.container]

    def random(self, purpose: str, *address: int) -> np.random.Generator:
        """A generator that belongs to this video alone."""
        return rng.generator(self.seed, f"synthetic/{self.source.name}/{purpose}", self.case, self.video, *address)

    def case_random(self, purpose: str) -> np.random.Generator:
        """A generator shared by all videos of the case."""
        return rng.generator(self.seed, f"synthetic/{self.source.name}/case/{purpose}", self.case)

    @cached_property
    def ticks(self) -> npt.NDArray[np.int64]:
        """Presentation times of the frames in ticks of the container, starting at 0, strictly ascending."""
        num_frames = max(2, round(self.duration_seconds * self.source.fps))
        if self.source.is_variable_rate:
            gaps = self.random("gaps").choice([0.5, 1.0, 1.5, 2.0], p=[0.3, 0.4, 0.2, 0.1], size=num_frames - 1)
            grid = np.concatenate([[0.0], np.cumsum(gaps)])
            grid = grid[grid / self.source.fps < self.duration_seconds]
        else:
            grid = np.arange(num_frames, dtype=np.float64)
        return np.rint(grid * (self.ticks_per_second / self.source.fps)).astype(np.int64)

    @property
    def times_seconds(self) -> npt.NDArray[np.float64]:
        """Presentation times of the frames in the file, in seconds from the first."""
        return self.ticks / self.ticks_per_second

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Stretches of 4 to 6.5 seconds (fewer, shorter ones in a short video), going on where the case's last video ended."""
        phases = PHASES[self.source.domain]
        count = _num_segments(self.duration_seconds)
        weights = self.random("segments").uniform(0.8, 1.2, size=count)
        edges = np.concatenate([[0.0], np.cumsum(weights / weights.sum())]) * self.duration_seconds
        edges[-1] = np.inf
        return tuple(
            Segment(phases[(self.first_phase + k) % len(phases)], float(edges[k]), float(edges[k + 1]))
            for k in range(count)
        )

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """What happens besides: drawn for the video as a whole, so that no phase is told by its events."""
        random = self.random("events")
        pick, at, length, extra, extra_at = random.uniform(size=5)
        events = []
        if pick < 0.13:
            events.append(self._event("black", at, 0.4 + 0.8 * length))
        elif pick < 0.26 and self.duration_seconds >= 6:
            events.append(self._event("out_of_body", at, 1.0 + 1.2 * length))
        smoke, bleeding = _EVENT_RATES[self.source.domain]
        if self.source.look == "smoky":
            smoke = 0.7
        if self.source.look in ("pad", "wetlab"):
            bleeding = 0.0
        if extra < smoke:
            events.append(self._event("smoke", extra_at, 3.0 + 2.5 * length))
        elif extra < smoke + bleeding:
            events.append(self._event("bleeding", extra_at, 3.0 + 3.0 * length))
        return tuple(events)

    def _event(self, kind: str, at: float, length_seconds: float) -> Event:
        length_seconds = min(length_seconds, 0.5 * self.duration_seconds)
        start = at * (self.duration_seconds - length_seconds)
        return Event(kind, start, start + length_seconds)


_EVENT_RATES = {"endoscopy": (0.0, 0.15), "laparoscopy": (0.25, 0.2), "cataract": (0.0, 0.08), "robotic": (0.15, 0.2)}


def _num_segments(duration_seconds: float) -> int:
    return max(1, round(duration_seconds / 5.2))


def event_at(plan: VideoPlan, time_seconds: float) -> str:
    """The event that a label names at a time: the one that hides most wins; "normal" where there is none."""
    active = [event.kind for event in plan.events if event.start_seconds <= time_seconds < event.end_seconds]
    for kind in ("black", "out_of_body", "bleeding", "smoke"):
        if kind in active:
            return kind
    return "normal"


def segment_at(plan: VideoPlan, time_seconds: float) -> int:
    """Index of the segment in which a time lies."""
    return sum(segment.end_seconds <= time_seconds for segment in plan.segments)


def make_plan(scale: str, seed: int) -> list[VideoPlan]:
    """All videos of the corpus, case after case. Raises `UserError` for an unknown scale."""
    if scale not in SCALES:
        raise UserError(f"unknown scale {scale!r}; choose one of {', '.join(PUBLIC_SCALES)}")
    size = SCALES[scale]
    chosen = [index for index, source in enumerate(SOURCES) if not size.sources or source.name in size.sources]
    whole = sum(SOURCES[index].share for index in chosen)
    plans: list[VideoPlan] = []
    for index in chosen:
        seconds = SOURCES[index].share / whole * size.total_seconds
        plans.extend(_plan_source(index, seconds, SOURCES[index].video_seconds * size.length, seed))
    return plans


def sources_of(plans: list[VideoPlan]) -> list[Source]:
    """The sources of some videos, each once, in order."""
    return list({plan.source.name: plan.source for plan in plans}.values())


def _plan_source(source_index: int, seconds: float, video_seconds: float, seed: int) -> list[VideoPlan]:
    """Videos of one source, about `video_seconds` long each; their durations sum to `seconds`."""
    source = SOURCES[source_index]
    num_videos = max(MIN_CASES, round(seconds / video_seconds))
    random = rng.generator(seed, f"synthetic/{source.name}/plan")
    weights = random.uniform(0.85, 1.15, size=num_videos)
    durations = weights / weights.sum() * seconds
    per_case = min(source.videos_per_case, num_videos // MIN_CASES)
    plans: list[VideoPlan] = []
    first_phase = 0
    for number in range(num_videos):
        case, video = divmod(number, per_case)
        if video == 0:
            first_phase = int(random.integers(len(PHASES[source.domain])))
        plans.append(VideoPlan(seed, source_index, case, video, number, float(durations[number]), first_phase))
        first_phase += _num_segments(float(durations[number]))
    return plans
