"""Frames near the border of two phases, where surgeons do not agree to the second either: relaxed scores.

In: true and predicted phases of a video, its frames per second, a rule of what is forgiven. Out: `FrameCounts`. It is its own file because
relaxed numbers are comparable with none but their own kind, and exist to be compared with published ones.

Two rules, both 10 s (Twinanda et al. 2017 for Cholec80 and the M2CAI16 challenge):

* "neighbour": in the first 10 s of an annotated segment the phase before it counts as right, in its last 10 s the phase after it. Precision
  counts forgiven frames among those predicted, recall among those true, so none is above 1. For any data set.
* a `Table`, as the challenge's script has: which phases are forgiven at the beginning and the end of a segment is listed by phase, whatever
  the video's own order, and a forgiven frame is right for the true phase and for the predicted one, in precision, recall and Jaccard alike,
  cut at 1. The script that most papers ran forgives, by a slip of an index, frames at the beginning of a segment in place of those at its
  end (Funke et al. 2023, arXiv 2305.13961); this is what it meant to do, so published numbers may differ a little. They average by phase.

A segment shorter than the tolerance is all beginning and all end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from surgrec.evaluation.dense_frames import FrameCounts, frame_counts, labelled, one_hot
from surgrec.evaluation.dense_segments import segments_of

BORDER_SECONDS = 10.0


@dataclass(frozen=True)
class Table:
    """Phases forgiven at the `beginning` and at the `end` of a segment, by its true phase (0..P-1)."""

    beginning: Mapping[int, tuple[int, ...]]
    end: Mapping[int, tuple[int, ...]]


def in_order(num_phases: int) -> Table:
    """The phase of the number before at the beginning, of the number after at the end."""
    phases = range(num_phases)
    return Table({p: (p - 1,) for p in phases if p}, {p: (p + 1,) for p in phases if p + 1 < num_phases})


# The seven phases from preparation to retraction: the last four come in several orders. Those of M2CAI16 follow on the placing of trocars.
CHOLEC80 = Table(
    beginning={1: (0,), 2: (1,), 3: (2,), 4: (3,), 5: (4, 3), 6: (5, 4)},
    end={0: (1,), 1: (2,), 2: (3,), 3: (4, 5), 4: (5, 6), 5: (6,)},
)
M2CAI16 = Table(
    beginning={1: (0,), 2: (1,), 3: (2,), 4: (3,), 5: (4,), 6: (5, 4), 7: (6, 5)},
    end={0: (1,), 1: (2,), 2: (3,), 3: (4,), 4: (5, 6), 5: (6, 7), 6: (7,)},
)


def count_relaxed_frames(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    num_phases: int,
    frames_per_second: float,
    rule: Table | Literal["neighbour"] = "neighbour",
    border_seconds: float = BORDER_SECONDS,
) -> FrameCounts:
    """Of one video (V = 1), from phases (T,) 0..P-1; frames whose truth is `UNLABELLED` are left out."""
    true, answer = labelled(truth, predicted, num_phases)
    is_right = (true == answer) | _forgiven(true, answer, round(border_seconds * frames_per_second), rule)
    is_true, is_predicted = one_hot(true, num_phases), one_hot(answer, num_phases)
    right = is_right[:, None]
    if rule == "neighbour":
        parts = (is_predicted & right).sum(0), (is_true & right).sum(0), ((is_true | is_predicted) & right).sum(0)
    else:
        parts = (((is_true | is_predicted) & right).sum(0),) * 3
    return frame_counts(is_true, is_predicted, parts, int(is_right.sum()))


def _forgiven(
    true: npt.NDArray[np.int64], answer: npt.NDArray[np.int64], border: int, rule: Table | Literal["neighbour"]
) -> npt.NDArray[np.bool_]:
    """Frames (T,) whose answer the rule takes for right."""
    forgiven = np.zeros(len(true), dtype=np.bool_)
    phases, starts, stops = segments_of(true)
    for place, (phase, start, stop) in enumerate(zip(phases.tolist(), starts.tolist(), stops.tolist(), strict=True)):
        if rule == "neighbour":
            before = tuple(phases[place - 1 : place].tolist())
            after = tuple(phases[place + 1 : place + 2].tolist())
        else:
            before, after = rule.beginning.get(phase, ()), rule.end.get(phase, ())
        first, last = slice(start, min(start + border, stop)), slice(max(stop - border, start), stop)
        forgiven[first] |= np.isin(answer[first], before)
        forgiven[last] |= np.isin(answer[last], after)
    return forgiven
