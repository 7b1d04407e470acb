"""From numbers per sample to stretches of time.

In: where a filter begins and where it stops to hold. Out: spans in seconds. It is its own file because all filters share the rules:
hysteresis (Canny 1986: begin above one threshold, go on above a lower one), short gaps closed, short finds dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.corpus.content_box import ContentBox
from surgrec.corpus.filters.thresholds import Timing
from surgrec.corpus.survey import SAMPLES_PER_SECOND

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Finding:
    """Something found in a video: from when to when, why, and how strongly (docs/filters.md says in which unit). `region`: which part of
    the picture; None: all of it."""

    reason: str
    start_seconds: float
    end_seconds: float
    score: float
    region: ContentBox | None = None


def hysteresis(begins: Bools, holds: Bools) -> Bools:
    """Of the runs of `holds`, those that `begins` somewhere; (n,) each."""
    holds = holds | begins
    edges = np.flatnonzero(np.diff(holds.astype(np.int8), prepend=0, append=0))
    result = np.zeros_like(holds)
    for first, stop in edges.reshape(-1, 2):
        result[first:stop] = begins[first:stop].any()
    return result


def spans(found: Bools, timing: Timing) -> list[tuple[int, int]]:
    """Runs of samples as (first, stop) after closing gaps and dropping what is short."""
    runs = np.flatnonzero(np.diff(found.astype(np.int8), prepend=0, append=0)).reshape(-1, 2).tolist()
    merged: list[tuple[int, int]] = []
    for first, stop in runs:
        if merged and (first - merged[-1][1]) / SAMPLES_PER_SECOND <= timing.max_gap_seconds:
            merged[-1] = merged[-1][0], stop
        else:
            merged.append((first, stop))
    return [(first, stop) for first, stop in merged if (stop - first) / SAMPLES_PER_SECOND >= timing.min_seconds]


def findings_of(
    reason: str, found: Bools, score: npt.NDArray, timing: Timing, times_seconds: npt.NDArray, duration_seconds: float
) -> list[Finding]:
    """Spans in seconds. A sample stands for half a sample's time before and after it; the first and the last for all up to the video's
    ends. The score is the mean over the span's samples that are found."""
    half = 0.5 / SAMPLES_PER_SECOND
    result = []
    for first, stop in spans(found, timing):
        start = 0.0 if first == 0 else float(times_seconds[first]) - half
        end = duration_seconds if stop == len(found) else float(times_seconds[stop - 1]) + half
        result.append(
            Finding(reason, start, min(end, duration_seconds), float(np.mean(score[first:stop][found[first:stop]])))
        )
    return result
