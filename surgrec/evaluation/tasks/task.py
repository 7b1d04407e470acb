"""What a benchmark task is: rows with labels and groups, and splits of the rows that no group crosses.

In: rows that an adapter read from a dataset's own archive. Out: frozen tasks of two forms, clips with one label each (`ClipTask`) and
whole operations with a label at every moment (`DenseTask`). It is its own file because protocols, metrics and reports know nothing else
of a dataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.split_finding import Finding
from surgrec.evaluation.splits import Rows

Origin = Literal["official", "seeded", "replayed"]
Kind = Literal["phase", "step", "gesture"]
NO_LABEL = -1  # of a moment that belongs to no class; it is neither trained on nor scored


class SplitError(UserError):
    """A split that would make every score on it wrong."""


@dataclass(frozen=True)
class Clip:
    """A stretch of a video with one label.

    `video`: a video file, or a folder of pictures in order, which then are `frames_fps` a second. `video_id`: a name that says nothing of
    the file, for logs and reports. `end_seconds`: None for the end of the video. `label`: index into the task's classes. `group`: the
    patient, case, lesion or surgeon whose clips must stay together; it may name a person's folder and is never printed.
    """

    video: Path
    video_id: str
    start_seconds: float
    end_seconds: float | None
    label: int
    group: str
    frames_fps: float | None = None

    def __post_init__(self) -> None:
        if self.start_seconds < 0 or (self.end_seconds is not None and self.end_seconds <= self.start_seconds):
            raise ValueError(f"a clip from {self.start_seconds} to {self.end_seconds} s has no length")


@dataclass(frozen=True, eq=False)
class Recording:
    """A whole operation. `times_seconds` (n,) float64, ascending; `labels` (n,) int64, `NO_LABEL` where none holds;
    the rest as in `Clip`."""

    video: Path
    video_id: str
    group: str
    times_seconds: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    frames_fps: float | None = None

    def __post_init__(self) -> None:
        if self.times_seconds.shape != self.labels.shape or self.labels.ndim != 1:
            raise ValueError(f"times {self.times_seconds.shape} and labels {self.labels.shape} must be (n,) alike")
        if (np.diff(self.times_seconds) <= 0).any():
            raise ValueError("times_seconds must ascend")


@dataclass(frozen=True, eq=False)
class NamedSplit:
    """Ascending row numbers of three parts. `origin`: `official` as its authors published it (a validation part may have been carved from
    their training part, which the name then says), `seeded` drawn here by group, `replayed` read from others' lists as they are.
    """

    name: str
    origin: Origin
    train: Rows
    validation: Rows
    test: Rows

    def parts(self) -> dict[str, Rows]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True, eq=False)
class ClipTask:
    """Classify clips. `notes`: what was left out and what is not known, in sentences for the report. `findings`: of the auditor, where the
    splits were replayed. `dataset`: the name of its card; `overlapping`: of other datasets that are known to have some of its videos.
    Raises `SplitError` for a split with a group on two sides, unless it is a replayed one.
    """

    name: str
    title: str
    domain: str
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    splits: tuple[NamedSplit, ...]
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    dataset: str = ""
    overlapping: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self.name, self.classes, self.labels, self.groups, self.splits)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(n,), an index into `classes` a clip."""
        return np.array([clip.label for clip in self.clips], dtype=np.int64)

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """(n,)"""
        return np.array([clip.group for clip in self.clips], dtype=np.str_)

    def split(self, name: str) -> NamedSplit:
        return _named(name, self.splits)

    def split_hash(self, split: NamedSplit) -> str:
        """16 hexadecimal digits that change with any clip, label or part, and with nothing else: not with the order of rows or classes,
        nor with where the archive lies."""
        return _hash_of(split, [f"{_clip_line(clip)}\t{self.classes[clip.label]}" for clip in self.clips])


@dataclass(frozen=True, eq=False)
class DenseTask:
    """Name the phase, step or gesture at every moment of whole operations; a row is a recording. As `ClipTask` else."""

    name: str
    title: str
    domain: str
    kind: Kind
    classes: tuple[str, ...]
    recordings: tuple[Recording, ...]
    splits: tuple[NamedSplit, ...]
    notes: tuple[str, ...] = ()
    dataset: str = ""
    overlapping: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = np.concatenate([recording.labels for recording in self.recordings] or [np.empty(0, np.int64)])
        _check(self.name, self.classes, labels[labels != NO_LABEL], self.groups, self.splits)
        if len({recording.video_id for recording in self.recordings}) < len(self.recordings):
            raise ValueError(f"{self.name}: two recordings have the same video_id")

    @property
    def groups(self) -> npt.NDArray[np.str_]:
        """(n,)"""
        return np.array([recording.group for recording in self.recordings], dtype=np.str_)

    def split(self, name: str) -> NamedSplit:
        return _named(name, self.splits)

    def split_hash(self, split: NamedSplit) -> str:
        """As of a `ClipTask`; here any moment's time or label changes it."""
        return _hash_of(split, [f"{rec.video_id}\t{_labels_digest(rec, self.classes)}" for rec in self.recordings])


Task = ClipTask | DenseTask


def video_id(source: str, key: str) -> str:
    """A name for a video of a dataset that says nothing of its file. `key`: what the dataset calls it, without folders of one machine.

    Other than in a manifest, whose ids are of the bytes, so that a terabyte need not be read to list a task.
    """
    return f"{source}_{hashlib.blake2b(f'task video {source}/{key}'.encode(), digest_size=6).hexdigest()}"


# -- checks


def _check(
    name: str,
    classes: Sequence[str],
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.str_],
    splits: Iterable[NamedSplit],
) -> None:
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(f"{name}: a task needs two or more classes of different names, got {classes}")
    if len(labels) == 0:
        raise UserError(f"{name}: there is not one label to learn or to score")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"{name}: labels must lie in 0..{len(classes) - 1}, got {labels.min()}..{labels.max()}")
    seen = set()
    for split in splits:
        if split.name in seen:
            raise ValueError(f"{name}: two splits are called {split.name}")
        seen.add(split.name)
        check_split(name, split, groups)


def check_split(task: str, split: NamedSplit, groups: npt.NDArray[np.str_]) -> None:
    """Raise `SplitError` where a part is empty, names a row that is not there or twice, or where two parts share a row or a group (n,).

    Of a replayed split only the rows are checked: what is wrong with its groups is the auditor's to say.
    """
    where = f"{task}: split {split.name}"
    for part, rows in split.parts().items():
        if len(rows) == 0:
            raise SplitError(f"{where} has nothing in its {part} part")
        if rows.min() < 0 or rows.max() >= len(groups) or len(np.unique(rows)) < len(rows):
            raise SplitError(f"{where} names rows in its {part} part that do not exist, or one twice")
    named = list(split.parts().items())
    for at, (first, rows) in enumerate(named):
        for second, others in named[at + 1 :]:
            if len(shared_rows := np.intersect1d(rows, others)):
                raise SplitError(f"{where} has {counted(len(shared_rows), 'row')} in both {first} and {second}")
            shared = np.intersect1d(groups[rows], groups[others])
            if len(shared) and split.origin != "replayed":
                raise SplitError(
                    f"{where} has {counted(len(shared), 'group')} (patients, cases or lesions) in both {first} and {second}; "
                    f"scores would measure memory"
                )


# -- hashes


def _hash_of(split: NamedSplit, lines: Sequence[str]) -> str:
    parts = sorted(f"{part}\t{lines[row]}" for part, rows in split.parts().items() for row in rows)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _clip_line(clip: Clip) -> str:
    end = "end" if clip.end_seconds is None else f"{clip.end_seconds:.3f}"
    return f"{clip.video_id}\t{clip.start_seconds:.3f}\t{end}"


def _labels_digest(recording: Recording, classes: Sequence[str]) -> str:
    """Of the moments in milliseconds and the names of their classes, whatever the order of `classes`."""
    names = sorted({classes[label] for label in np.unique(recording.labels) if label != NO_LABEL})
    rank = np.array(
        [names.index(name) if name in names else NO_LABEL for name in (*classes, "")]
    )  # NO_LABEL is the last
    digest = hashlib.sha256("\n".join(names).encode())
    digest.update(np.rint(recording.times_seconds * 1000).astype("<i8").tobytes())
    digest.update(rank[recording.labels].astype("<i8").tobytes())
    return digest.hexdigest()


def _named(name: str, splits: Sequence[NamedSplit]) -> NamedSplit:
    for split in splits:
        if split.name == name:
            return split
    raise UserError(f"there is no split {name!r}; choose one of {', '.join(split.name for split in splits)}")
