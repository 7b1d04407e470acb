"""The embedded corpus as tasks: what can be told from one picture, and what takes motion.

In: synthesised corpora. Out: clip tasks and a dense one, all on one split by case. It is its own file because the corpus is the one place
where it is known by construction what a label needs: phases of one look differ in the order of the same positions and in nothing else, so
no single frame and no shuffled clip can tell them apart (surgrec/synthetic/motion.py).

    synthesised_phase     20 phases: looks, and motion where two phases share a look
    synthesised_look      the same with such phases merged: one frame is enough
    synthesised_tempo     slow or fast strokes, in three domains
    synthesised_stroke    slow out and quick back, or the other way round: the direction of time, in four domains
    synthesised_travel    the camera goes in or out, in endoscopy
    synthesised_phases    the phase at every moment of whole videos
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.splits import split_by_group
from surgrec.evaluation.tasks.task import NO_LABEL, Clip, ClipTask, DenseTask, NamedSplit, Recording, Task
from surgrec.synthetic.plan import FAST, PHASES, QUICK_OUT, SLOW, SLOW_OUT, Phase

FRACTIONS = (0.5, 0.15, 0.35)  # of cases: an interval needs test cases, and a few minutes of video have few
_UNUSABLE = ("black", "out_of_body")
_NOTE = "rendered by `surgrec synthesize`: no patient, no clinical meaning; what holds here need not hold in surgery"

LabelOf = Callable[[Phase], str | None]


@dataclass(frozen=True)
class LabelledVideo:
    """A video of the corpus with the labels of its frames: `times_seconds` (n,), `phases` and `events` (n,)."""

    path: Path
    video_id: str
    source: str
    group: str
    times_seconds: npt.NDArray[np.float64]
    phases: tuple[str, ...]
    events: tuple[str, ...]


def synthesised_tasks(
    corpora: Sequence[Path], clip_seconds: float, stride_seconds: float, seed: int, only: Collection[str] = ()
) -> tuple[Task, ...]:
    """`corpora`: folders that `surgrec synthesize` wrote, of different seeds. Clips of `clip_seconds` lie in one phase and share nothing;
    moments of the dense task are `stride_seconds` apart. `seed`: of the split. `only`: names of the tasks to make, all where it is empty.
    """
    videos = [video for corpus in corpora for video in _videos(corpus)]
    part_of = _parts(videos, seed)
    stretches = [(video, start, phase) for video in videos for start, phase in _stretches(video, clip_seconds)]
    wanted = only or NAMES
    clips = [_clip_task(*kind, stretches, clip_seconds, part_of, seed) for kind in _LABELS if kind[0] in wanted]
    return (*clips, *([_dense_task(videos, stride_seconds, part_of, seed)] if DENSE in wanted else []))


# -- labels


def _tempo(phase: Phase) -> str | None:
    return {SLOW: "slow", FAST: "fast"}.get(phase.rhythm)


def _stroke(phase: Phase) -> str | None:
    return {SLOW_OUT: "slow out", QUICK_OUT: "quick out"}.get(phase.rhythm)


def _travel(phase: Phase) -> str | None:
    return {1.0: "in", -1.0: "out"}.get(phase.rhythm.travel)


def _look(phase: Phase) -> str:
    return f"{_DOMAIN_OF[phase.name]}: {phase.look}"


_DOMAIN_OF = {phase.name: domain for domain, phases in PHASES.items() for phase in phases}
_PHASES: Mapping[str, Phase] = {phase.name: phase for phases in PHASES.values() for phase in phases}
_LABELS: tuple[tuple[str, str, LabelOf], ...] = (
    ("synthesised_phase", "Phase of a clip (synthesised)", lambda phase: phase.name),
    ("synthesised_look", "Look, one frame is enough (synthesised)", _look),
    ("synthesised_tempo", "Slow or fast strokes, needs motion (synthesised)", _tempo),
    ("synthesised_stroke", "Direction of strokes, needs motion (synthesised)", _stroke),
    ("synthesised_travel", "In or out, needs motion (synthesised)", _travel),
)
DENSE = "synthesised_phases"
NAMES = (*(name for name, _, _ in _LABELS), DENSE)


# -- videos


def _videos(corpus: Path) -> list[LabelledVideo]:
    manifest = Manifest.read([corpus / "manifest.parquet"])
    return [
        _labelled(corpus, manifest.path_of(row), str(manifest.video_ids[row]), str(manifest.sources[row]))
        for row in range(len(manifest))
    ]


def _labelled(corpus: Path, path: Path, video_id: str, source: str) -> LabelledVideo:
    file = corpus / "labels" / f"{video_id}.csv"
    if not file.is_file():
        raise UserError(f"{corpus} has no labels of {video_id}; delete the folder, and it is synthesised anew")
    with file.open(newline="", encoding="utf-8") as text:
        frames = list(csv.DictReader(text))
    return LabelledVideo(
        path,
        video_id,
        source,
        f"{corpus.name}/{source}/{frames[0]['case_id']}",
        np.array([float(frame["time_seconds"]) for frame in frames]),
        tuple(frame["phase"] for frame in frames),
        tuple(frame["event"] for frame in frames),
    )


def _stretches(video: LabelledVideo, clip_seconds: float) -> list[tuple[float, Phase]]:
    """Starts of clips that lie within one phase and show the operation."""
    times, phases, events = video.times_seconds, np.array(video.phases), np.array(video.events)
    found, start = [], 0.0
    while start + clip_seconds <= times[-1]:
        inside = (times >= start) & (times < start + clip_seconds)
        if len(set(phases[inside])) == 1 and not set(_UNUSABLE) & set(events[inside]):
            found.append((start, _PHASES[str(phases[inside][0])]))
            start += clip_seconds
        else:
            start += 0.25
    return found


# -- splits and tasks


def _parts(videos: Sequence[LabelledVideo], seed: int) -> dict[str, str]:
    """The part of every case, the same in all tasks; every source in about the same proportions."""
    groups, sources = [video.group for video in videos], [video.source for video in videos]
    split = split_by_group(groups, seed, FRACTIONS, sources)
    return {groups[row]: part for part in ("train", "validation", "test") for row in getattr(split, part)}


def _split(groups: Sequence[str], part_of: Mapping[str, str], seed: int) -> NamedSplit:
    parts = np.array([part_of[group] for group in groups])
    train, validation, test = (np.flatnonzero(parts == part) for part in ("train", "validation", "test"))
    return NamedSplit(f"seed{seed}", "seeded", train, validation, test)


def _clip_task(
    name: str,
    title: str,
    label_of: LabelOf,
    stretches: Sequence[tuple[LabelledVideo, float, Phase]],
    clip_seconds: float,
    part_of: Mapping[str, str],
    seed: int,
) -> ClipTask:
    labelled = [(video, start, label) for video, start, phase in stretches if (label := label_of(phase)) is not None]
    classes = tuple(sorted({label for _, _, label in labelled}))
    clips = tuple(
        Clip(video.path, video.video_id, start, start + clip_seconds, classes.index(label), video.group)
        for video, start, label in labelled
    )
    return ClipTask(
        name, title, "synthesised", classes, clips, (_split([clip.group for clip in clips], part_of, seed),), (_NOTE,)
    )


def _dense_task(
    videos: Sequence[LabelledVideo], stride_seconds: float, part_of: Mapping[str, str], seed: int
) -> DenseTask:
    classes = tuple(sorted(_PHASES))
    recordings = tuple(_recording(video, stride_seconds, classes) for video in videos)
    return DenseTask(
        DENSE,
        "Phase at every moment (synthesised)",
        "synthesised",
        "phase",
        classes,
        recordings,
        (_split([each.group for each in recordings], part_of, seed),),
        (_NOTE,),
    )


def _recording(video: LabelledVideo, stride_seconds: float, classes: Sequence[str]) -> Recording:
    """Moments from half a stride on; one at which the camera shows nothing of the operation has no label."""
    moments = np.arange(stride_seconds / 2, video.times_seconds[-1] + 1e-6, stride_seconds)
    shown = np.searchsorted(video.times_seconds, moments + 1e-6, side="right") - 1
    labels = [NO_LABEL if video.events[frame] in _UNUSABLE else classes.index(video.phases[frame]) for frame in shown]
    return Recording(video.path, video.video_id, video.group, moments, np.array(labels, dtype=np.int64))
