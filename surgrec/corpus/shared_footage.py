"""Shared footage: which stretches of one set of videos show the same as stretches of another set.

In: fingerprints and small pictures of two sets. Out: `Copy`s, each with the times in both. It is its own file because it is the one
path from fingerprints to a verdict: surgrec/corpus/proposals.py names candidates, alignment decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from surgrec.corpus.alignment import (
    Alignment,
    Pictures,
    align,
    changes_in_place,
    elsewhere,
    lag,
    pictures_of,
    throughout,
)
from surgrec.corpus.fingerprint import WINDOWS
from surgrec.corpus.proposals import Candidate, Moments, by_first_video, propose
from surgrec.corpus.survey import Survey

_MAX_REJECTED = 6  # candidates of one pair of videos, the best first; those that are copies do not count
_PAD_SECONDS = 1.5
_LOCAL_SECONDS, _LOCAL_CORRELATION = 2.0, 0.4


@dataclass(frozen=True)
class Verdict:
    """When an alignment is a copy: both correlations high, that of change not of a few pictures only and, where the sum is not beyond
    doubt, clearly higher than at other moments. Measured: see docs/contamination.md."""

    min_change: float = 0.55
    min_structure: float = 0.4
    min_sum: float = 1.25
    min_sum_brief: float = 1.4
    brief_seconds: float = 4.0
    beyond_doubt: float = 1.5
    min_distinct: float = 0.25
    min_throughout: float = 0.3

    def accepts(self, found: Alignment) -> bool:
        """Whether the two stretches are the same footage."""
        needed = self.min_sum_brief if found.overlap_seconds < self.brief_seconds else self.min_sum
        is_strong = found.change + found.structure >= needed
        return is_strong and found.change >= self.min_change and found.structure >= self.min_structure


@dataclass(frozen=True)
class Copy:
    """Footage that two videos share: `first_seconds` and `second_seconds` (start, end) in each, and how it was recognised."""

    first: int
    second: int
    first_seconds: tuple[float, float]
    second_seconds: tuple[float, float]
    is_mirrored: bool
    alignment: Alignment


def find_copies(
    first: Moments,
    second: Moments,
    first_survey: Callable[[int], Survey],
    second_survey: Callable[[int], Survey],
    verdict: Verdict | None = None,
) -> list[Copy]:
    """All copies of footage of `first` (the smaller set) in `second`, in this process."""
    groups = by_first_video(propose(first, second))
    return [
        copy
        for group in groups
        for copy in decide(group, first_survey(group[0].first), second_survey, verdict or Verdict())
    ]


def decide(
    candidates: Sequence[Candidate], first_survey: Survey, second_survey: Callable[[int], Survey], verdict: Verdict
) -> list[Copy]:
    """Which candidates of one video are copies; what says again what was found is passed over."""
    found: list[Copy] = []
    rejected: Counter[tuple[int, bool]] = Counter()
    for candidate in candidates:
        pair = (candidate.second, candidate.is_mirrored)
        if rejected[pair] == _MAX_REJECTED or any(_is_within(candidate, copy) for copy in found):
            continue
        copy = judge(candidate, *pictures_of(first_survey, second_survey(candidate.second)), verdict)
        if copy is None:
            rejected[pair] += 1
        else:
            found.append(copy)
    return found


# -- deciding


def judge(candidate: Candidate, first: Pictures, second: Pictures, verdict: Verdict) -> Copy | None:
    """Lay the two videos over each other where the votes come from; None where they do not show the same."""
    if candidate.is_mirrored:
        first = first.mirrored()
    start = max(0.0, candidate.start_seconds - _PAD_SECONDS)
    stretch = first.between(start, candidate.end_seconds + _PAD_SECONDS)
    found = _best_alignment(stretch, second, candidate.shift_seconds + start, candidate.scale, verdict)
    if found is None or not verdict.accepts(found):
        return None
    if throughout(stretch, second, found) < verdict.min_throughout:
        return None
    is_doubtful = found.change + found.structure < verdict.beyond_doubt
    if is_doubtful and found.change - elsewhere(stretch, second, found) < verdict.min_distinct:
        return None
    shift = found.shift_seconds - start
    seconds = _extent(first, second, found, start)
    there = (seconds[0] + shift, seconds[1] + shift)
    return Copy(candidate.first, candidate.second, seconds, there, candidate.is_mirrored, found)


def _best_alignment(
    first: Pictures, second: Pictures, shift_seconds: float, scale: float, verdict: Verdict
) -> Alignment | None:
    """At the scale that was voted for or, where that is nearly enough, at the others."""
    found = align(first, second, shift_seconds, scale)
    if found is None or verdict.accepts(found) or found.change < verdict.min_change / 2:
        return found
    crop = WINDOWS[1][2]
    others = [align(first, second, shift_seconds, other) for other in (1.0, crop, 1 / crop) if other != scale]
    return max((found, *(one for one in others if one is not None)), key=lambda one: one.change + one.structure)


def _extent(first: Pictures, second: Pictures, found: Alignment, start_seconds: float) -> tuple[float, float]:
    """From where to where in the first video the change of the two agrees: the stretch that was aligned, and on from there."""
    per_second = first.per_second
    offset, a, b = changes_in_place(first, second, found, found.shift_seconds - start_seconds)
    apart = lag(first, found.overlap_seconds)
    window = np.ones(min(len(a), round(_LOCAL_SECONDS * per_second)))
    product, mine_energy, their_energy = (
        np.convolve((x * y).mean(axis=(1, 2)), window, mode="same") for x, y in ((a, b), (a, a), (b, b))
    )
    agrees = product > _LOCAL_CORRELATION * np.sqrt(mine_energy * their_energy)
    low = max(0, round(start_seconds * per_second) - offset)
    high = min(len(agrees) - 1, low + round(found.overlap_seconds * per_second) - apart - 1)
    inside = low + np.flatnonzero(agrees[low : high + 1])
    if len(inside):
        low, high = int(inside[0]), int(inside[-1])
    gap = len(window)  # a still second or two in between does not end a copy
    while (ahead := np.flatnonzero(agrees[high + 1 : high + 1 + gap])).size:
        high += 1 + int(ahead[-1])
    while (behind := np.flatnonzero(agrees[max(0, low - gap) : low])).size:
        low = max(0, low - gap) + int(behind[0])
    return (offset + low) / per_second, (offset + high + apart + 1) / per_second


def _is_within(candidate: Candidate, copy: Copy) -> bool:
    """Whether the candidate says again what was found."""
    is_pair = (candidate.first, candidate.second, candidate.is_mirrored) == (copy.first, copy.second, copy.is_mirrored)
    shift = copy.second_seconds[0] - copy.first_seconds[0]
    return is_pair and abs(shift - candidate.shift_seconds) <= 1.5
