"""Labels over time in one form: stretches of one class.

In: a label a frame, or the frames where a stretch begins and ends. Out: `Span`s, and from them a label at every sampled moment and the
clips of one class. It is its own file because datasets write the same thing in ten ways, and both forms of a task come from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from surgrec.evaluation.tasks.task import NO_LABEL

MIN_CLIP_SECONDS = 1.0  # a shorter stretch is a slip of the annotator's hand, and no encoder sees a second of it


@dataclass(frozen=True)
class Span:
    """From `start_seconds` until before `end_seconds` the class of index `label` holds."""

    start_seconds: float
    end_seconds: float
    label: int


def of_frames(frames: Sequence[int], labels: Iterable[int], fps: float) -> list[Span]:
    """Spans of a label a line: the label of a frame holds until the next line's frame, the last as long as the one before it.

    `frames` ascend. Stretches of `NO_LABEL` are left out. Raises `ValueError` where frames do not ascend.
    """
    starts = np.asarray(frames, dtype=np.int64)
    steps = np.diff(starts)
    if (steps <= 0).any():
        raise ValueError("frame numbers must ascend")
    ends = np.append(starts[1:], starts[-1] + (steps[-1] if len(steps) else 1)) if len(starts) else starts
    spans, at = [], 0
    for label, run in groupby(labels):
        length = sum(1 for _ in run)
        if label != NO_LABEL:
            spans.append(Span(float(starts[at] / fps), float(ends[at + length - 1] / fps), label))
        at += length
    if at != len(starts):
        raise ValueError(f"{len(starts)} frames, {at} labels")
    return spans


def sampled(
    spans: Sequence[Span], fps: float, until_seconds: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Times (n,) and labels (n,), `fps` a second from 0 until before `until_seconds`; `NO_LABEL` where no span holds, the later span where
    two do."""
    times = np.arange(int(np.ceil(round(until_seconds * fps, 6)))) / fps
    labels = np.full(len(times), NO_LABEL, dtype=np.int64)
    for span in spans:
        first, last = np.searchsorted(times, (span.start_seconds - 1e-9, span.end_seconds - 1e-9))
        labels[first:last] = span.label
    return times, labels


def without(spans: Sequence[Span], holes: Sequence[Span]) -> list[Span]:
    """What of `spans` lies in no hole, as one piece or several."""
    pieces = list(spans)
    for hole in holes:
        cut: list[Span] = []
        for piece in pieces:
            if hole.end_seconds <= piece.start_seconds or hole.start_seconds >= piece.end_seconds:
                cut.append(piece)
                continue
            if piece.start_seconds < hole.start_seconds:
                cut.append(Span(piece.start_seconds, hole.start_seconds, piece.label))
            if hole.end_seconds < piece.end_seconds:
                cut.append(Span(hole.end_seconds, piece.end_seconds, piece.label))
        pieces = cut
    return sorted(pieces, key=lambda span: span.start_seconds)


def joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in the order of their starts, those of one class that touch as one: files end a phase and begin it again at the same frame."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_seconds):
        if found and found[-1].label == span.label and abs(found[-1].end_seconds - span.start_seconds) < 1e-6:
            found[-1] = Span(found[-1].start_seconds, span.end_seconds, span.label)
        else:
            found.append(span)
    return found


def long_enough(spans: Iterable[Span], seconds: float = MIN_CLIP_SECONDS) -> list[Span]:
    """Those of at least `seconds`, to a thousandth."""
    return [span for span in spans if span.end_seconds - span.start_seconds >= seconds - 1e-3]
