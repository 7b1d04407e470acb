"""How finds of the filters are counted against what is true; part of benchmarks/filters.py.

In: found and true intervals of a video. Out: hits, misses and false alarms, of samples and of seconds. It is its own file because the
corpus's own events and planted faults are counted alike.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.manifest import Manifest

Interval = tuple[float, float]


@dataclass(frozen=True)
class Video:
    video_id: str
    source: str
    path: Path
    duration_seconds: float
    labels: Path


def videos_of(corpus: Path) -> list[Video]:
    manifest = Manifest.read([corpus / "manifest.parquet"])
    durations = manifest.column("duration_seconds")
    return [
        Video(
            str(name),
            str(manifest.sources[row]),
            manifest.path_of(row),
            float(durations[row]),
            corpus / "labels" / f"{name}.csv",
        )
        for row, name in enumerate(manifest.video_ids)
    ]


@dataclass
class Count:
    """Samples (or videos, for regions) and seconds."""

    hits: int = 0
    false_alarms: int = 0
    misses: int = 0
    both_seconds: float = 0.0
    either_seconds: float = 0.0

    @property
    def precision(self) -> float:
        return self.hits / max(1, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        return self.hits / max(1, self.hits + self.misses)


@dataclass
class Results:
    counts: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    refused: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # kind: 0 or 1 per sample
    boxes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# -- time


def covered(intervals: list[Interval], times: npt.NDArray) -> npt.NDArray[np.bool_]:
    return np.any(
        [(times >= start) & (times < end) for start, end in intervals] or [np.zeros(len(times), bool)], axis=0
    )


def of_reason(findings: list[Finding], reason: str) -> list[Interval]:
    return [(one.start_seconds, one.end_seconds) for one in findings if one.reason == reason]


def count_time(
    count: Count, found: list[Interval], true: list[Interval], times: npt.NDArray, ignored: npt.NDArray
) -> None:
    """Add one video. `ignored` samples are truly something else that may be called by this name too."""
    is_found, is_true = covered(found, times) & ~ignored, covered(true, times) & ~ignored
    count.hits += int((is_found & is_true).sum())
    count.false_alarms += int((is_found & ~is_true).sum())
    count.misses += int((~is_found & is_true).sum())
    fine = np.arange(0, times[-1] + 0.25, 0.01)
    fine_found, fine_true = covered(found, fine), covered(true, fine)
    count.both_seconds += 0.01 * float((fine_found & fine_true).sum())
    count.either_seconds += 0.01 * float((fine_found | fine_true).sum())
