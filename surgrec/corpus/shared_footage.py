"""Shared footage: which stretches of one set of videos show the same as stretches of another set.

In: fingerprints and small pictures of two sets. Out: `Copy`s, each with the times in both. It is its own file because it is the one
path from fingerprints to a verdict: neighbours propose, votes for a shift in time gather them, alignment decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

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
from surgrec.corpus.fingerprint import HOP_SECONDS, WINDOWS, Fingerprint, mirrored
from surgrec.corpus.neighbours import BLOCK, Cells, Pairs
from surgrec.corpus.survey import Survey

_FLOOR = 0.62  # cosine below which a moment is no candidate
# moments of the first set that one of the second may look like, for each relation of the two pictures, and those of all
# moments: where there are few, a moment of still footage finds all copies, not only the closest
_NEAREST = (8, 128)
_ALL_NEAREST = 2e6
_EVERY_HALF_SECOND = 1e9  # pairs of moments above which only those of whole seconds of the larger set are compared
_VOTE_ABOVE = 0.6  # a hit counts with what its cosine exceeds this by
_MIN_VOTES, _MIN_VOTES_A_MOMENT = 0.3, 0.06  # the lesser counts: a video of few moments has few votes
_MAX_REJECTED = 6  # candidates of one pair of videos, the best first; those that are copies do not count
_PAD_SECONDS, _MOMENT_SECONDS, _MAX_STRETCH_SECONDS = 1.5, 2.0, 30.0
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
class Moments:
    """Fingerprints of many videos one after another: `vectors` int8 (moments, 6, 99), `times_seconds`, `video` (moments,)."""

    vectors: npt.NDArray[np.int8]
    times_seconds: npt.NDArray[np.float32]
    video: npt.NDArray[np.int32]

    @classmethod
    def of(cls, fingerprints: Sequence[Fingerprint]) -> Moments:
        """Video i is `fingerprints[i]`."""
        counts = [len(one) for one in fingerprints]
        vectors = np.concatenate([one.vectors for one in fingerprints])
        times = np.concatenate([one.times_seconds for one in fingerprints])
        return cls(vectors, times, np.repeat(np.arange(len(counts), dtype=np.int32), counts))

    @classmethod
    def joined(cls, parts: Sequence[Moments], num_videos: Sequence[int]) -> Moments:
        """Those of several sets, the videos of each numbered behind those of the one before."""
        before = np.cumsum([0, *num_videos[:-1]])
        video = [part.video + np.int32(offset) for part, offset in zip(parts, before, strict=True)]
        return cls(
            np.concatenate([part.vectors for part in parts]), np.concatenate([part.times_seconds for part in parts]),
            np.concatenate(video),
        )  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """Two videos (by number) that may share footage: at time t of the first, the second is at t + `shift_seconds`.

    `start_seconds` and `end_seconds` of the first: where the votes come from. `scale`: how large the first is in the second.
    """

    first: int
    second: int
    is_mirrored: bool
    shift_seconds: float
    start_seconds: float
    end_seconds: float
    scale: float
    votes: float


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


def by_first_video(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """The candidates of each video of the first set, by its number; within one, in the order given."""
    groups: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.first, []).append(candidate)
    return [groups[number] for number in sorted(groups)]


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


# -- proposing


def propose(first: Moments, second: Moments, num_threads: int = 1) -> list[Candidate]:
    """Pairs of videos with several moments that look alike at one shift in time; the most promising first.

    The second set is gone through once, some videos at a time, since it may be larger than memory.
    """
    if len(first.times_seconds) == 0 or len(second.times_seconds) == 0:
        return []
    is_whole_second = np.rint(second.times_seconds / HOP_SECONDS).astype(np.int64) % 2 == 0
    is_small = len(first.times_seconds) * len(second.times_seconds) <= _EVERY_HALF_SECOND
    rows = np.flatnonzero(is_whole_second | is_small)
    found: list[Candidate] = []
    limits = threadpool_limits(1, "blas")  # threads of one small product only wait for each other
    with limits, ThreadPoolExecutor(num_threads) as threads:
        index = _Index(first, len(rows))
        for piece in _pieces(second.video[rows]):
            found += _vote(index.hits(second, rows[piece], threads), first, second)
    return sorted(found, key=lambda one: -one.votes)


def _pieces(video: npt.NDArray[np.int32]) -> Iterator[slice]:
    """Slices of about a block of moments; no video is in two."""
    start = 0
    while start < len(video):
        stop = min(start + BLOCK, len(video))
        stop = int(np.searchsorted(video, video[stop - 1], side="right"))
        yield slice(start, stop)
        start = stop


_HIT = np.dtype(
    [("pair", np.int64), ("bin", np.int32), ("moment", np.int32), ("score", np.float32), ("scale", np.float32)]
)


class _Index:
    """The moments of the first set and their mirror images, to be searched for: as they are, and a crop of each."""

    def __init__(self, first: Moments, num_others: int) -> None:
        both = np.concatenate([first.vectors, mirrored(first.vectors)])
        self._first = first
        self._num_windows, self._crop = len(WINDOWS) - 1, WINDOWS[1][2]
        self._whole = Cells(both[:, 0], num_others * len(WINDOWS))
        self._windows = Cells(both[:, 1:].reshape(-1, both.shape[-1]), num_others)
        self._nearest = int(np.clip(_ALL_NEAREST / num_others, *_NEAREST))

    def hits(self, second: Moments, rows: npt.NDArray[np.int64], threads: Executor) -> npt.NDArray[np.void]:
        """One record for every moment of the first that looks like one of `rows` of the second."""
        starts = range(0, len(rows), BLOCK)  # of one video there may be more
        return np.concatenate(
            [hits for start in starts for hits in self._hits(second, rows[start : start + BLOCK], threads)]
        )

    def _hits(self, second: Moments, rows: npt.NDArray[np.int64], threads: Executor) -> Iterator[npt.NDArray[np.void]]:
        """For: same picture; the first a crop of the second; the second a crop of the first."""
        vectors = np.asarray(second.vectors[rows])
        crops = [(self._crop, self._whole, window, 1) for window in range(1, self._num_windows + 1)]
        relations = [(1.0, self._whole, 0, 1), *crops, (1 / self._crop, self._windows, 0, self._num_windows)]

        def records(relation: tuple[float, Cells, int, int]) -> npt.NDArray[np.void]:
            scale, cells, window, per_moment = relation
            return self._records(
                scale, cells.search(vectors[:, window], self._nearest, _FLOOR), per_moment, second, rows
            )

        return threads.map(records, relations)

    def _records(
        self, scale: float, pairs: Pairs, per_moment: int, second: Moments, rows: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.void]:
        """Which pair of videos (and mirrored or not), which shift in hops."""
        is_mirrored, moment = np.divmod(pairs.mine // per_moment, len(self._first.times_seconds))
        row = rows[pairs.other]
        hits = np.empty(len(row), _HIT)
        num_seconds = int(second.video[-1]) + 1
        hits["pair"] = 2 * (self._first.video[moment].astype(np.int64) * num_seconds + second.video[row]) + is_mirrored
        hits["bin"] = np.rint((second.times_seconds[row] - self._first.times_seconds[moment]) / HOP_SECONDS)
        hits["moment"], hits["score"], hits["scale"] = moment, pairs.scores, scale
        return hits


def _vote(hits: npt.NDArray[np.void], first: Moments, second: Moments) -> list[Candidate]:
    """A moment votes once for a pair and shift, with its best hit; shifts next to a better one are left out."""
    if len(hits) == 0:
        return []
    hits = hits[np.lexsort((-hits["score"], hits["moment"], hits["bin"], hits["pair"]))]
    is_best = np.ones(len(hits), np.bool_)
    is_best[1:] = np.any([hits[name][1:] != hits[name][:-1] for name in ("pair", "bin", "moment")], axis=0)
    hits = hits[is_best]
    starts = np.flatnonzero(
        np.r_[True, (hits["pair"][1:] != hits["pair"][:-1]) | (hits["bin"][1:] != hits["bin"][:-1])]
    )
    votes = np.add.reduceat(hits["score"] - _VOTE_ABOVE, starts)
    num_moments = np.bincount(first.video)[first.video[hits["moment"][starts]]]
    is_enough = votes >= np.minimum(_MIN_VOTES, _MIN_VOTES_A_MOMENT * num_moments)
    edges = np.r_[starts, len(hits)]
    chosen: list[Candidate] = []
    taken: dict[int, list[int]] = {}
    for group in np.flatnonzero(is_enough)[np.argsort(-votes[is_enough], kind="stable")]:
        members = hits[edges[group] : edges[group + 1]]
        pair, shift = int(members["pair"][0]), int(members["bin"][0])
        others = taken.setdefault(pair, [])
        if any(abs(shift - other) <= 2 for other in others):
            continue
        others.append(shift)
        chosen.append(_candidate(members, float(votes[group]), first, second))
    return chosen


def _candidate(members: npt.NDArray[np.void], votes: float, first: Moments, second: Moments) -> Candidate:
    pair, is_mirrored = divmod(int(members["pair"][0]), 2)
    one, other = divmod(pair, int(second.video[-1]) + 1)
    times = first.times_seconds[members["moment"]]
    best = float(times[members["score"].argmax()])
    near = times[np.abs(times - best) <= _MAX_STRETCH_SECONDS / 2]
    scales, which = np.unique(members["scale"], return_inverse=True)
    scale = float(scales[np.bincount(which, members["score"] - _VOTE_ABOVE).argmax()])
    shift = float(members["bin"][0]) * HOP_SECONDS
    return Candidate(
        one, other, bool(is_mirrored), shift, float(near.min()), float(near.max()) + _MOMENT_SECONDS, scale, votes
    )


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
