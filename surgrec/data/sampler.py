"""Which video, and which moment in it, stands at a position of the run's sequence.

In: a `Mixture`, a seed, positions. Out: `Draws`. It is its own file because this is the law of the mixture: a draw is a pure
function of (seed, position), so a run resumes from one integer and any number of ranks and workers reads the same sequence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.core.permutation import permuted
from surgrec.core.rng import uniforms
from surgrec.data.errors import DataError
from surgrec.data.mixture import Floats, Integers, Mixture
from surgrec.data.shares import summed
from surgrec.data.table import moments

_AT_ONCE = 1 << 13  # positions whose numbers stay in a core's cache together
_REDRAWS = 16  # of a position whose video is excluded, before the videos that are left are listed


@dataclass(frozen=True)
class Draws:
    """One entry a position, shape (n,): manifest row, index into the mixture's sources, start of the clip in seconds."""

    rows: Integers
    source_index: Integers
    start_seconds: Floats


class Sampler:
    """Draws the stratum by its share, the video within it by its weight, then the start.

    The start is uniform over the moments at which the whole clip lies inside one usable interval. A video none of whose
    intervals is long enough starts at the beginning of one of them (drawn by length); the reader then repeats its last frame.

    Draws are independent of one another, unless passes are capped: then the run's draws are a permutation of a list in which each stratum
    has its count, and each video its own to within one draw (of every length of clip that the run's phases have).

    Args:
        mixture: strata, shares, footage.
        seed: of the run.
        clip_seconds: from the first to the last frame of a clip.
        clips_per_open: so many clips in a row are of one video, each from a start of its own. One draw of the mixture, then, is so many
            clips; a course counts draws.
    """

    def __init__(self, mixture: Mixture, seed: int, clip_seconds: float, clips_per_open: int = 1) -> None:
        if not (np.isfinite(clip_seconds) and clip_seconds >= 0):
            raise UserError(
                f"a clip of {clip_seconds} seconds cannot be drawn; check data.num_frames and the frame interval"
            )
        if clips_per_open < 1:
            raise UserError(f"data.clips_per_open={clips_per_open} must be at least 1")
        self.mixture = mixture
        self.seed = seed
        self.clip_seconds = clip_seconds
        self.clips_per_open = clips_per_open
        self._windows = mixture.draws.windows(clip_seconds)
        self._source = mixture.strata.source_index
        self._first_draw = np.array(mixture.course.first if mixture.course is not None else (0,), dtype=np.int64)

    def __reduce__(self) -> tuple[object, ...]:
        """What is in files goes to another process by their names."""
        return (Sampler, (self.mixture, self.seed, self.clip_seconds, self.clips_per_open))

    def draw(self, positions: npt.ArrayLike, attempt: int = 0, excluded_rows: Collection[int] = ()) -> Draws:
        """The draws at `positions`.

        Args:
            positions: int64 (n,), from 0.
            attempt: above 0, another video and start from the same source, for a position whose video failed.
            excluded_rows: manifest rows not to draw; each source must keep one video at least.
        """
        positions = np.asarray(positions, dtype=np.int64)
        excluded = np.array(sorted(excluded_rows), dtype=np.int64)
        parts = [
            self._draw(positions[first : first + _AT_ONCE], attempt, excluded)
            for first in range(0, max(len(positions), 1), _AT_ONCE)
        ]
        if len(parts) == 1:
            return parts[0]
        return Draws(*(np.concatenate([getattr(part, name) for part in parts]) for name in Draws.__annotations__))

    def sources(self, positions: npt.ArrayLike) -> Integers:
        """(n,) index of the source at each position, whatever fails; cheaper than the whole draw."""
        groups, _ = self._groups(np.asarray(positions, dtype=np.int64))
        return self._source[self._stratum(groups)[1]]

    def intended_shares(self, num_clips: int) -> Floats:
        """(n,) share of each source, sum 1, that the mixture means to give it among the first `num_clips` clips, 1 or more."""
        mixture = self.mixture
        if len(self._first_draw) == 1:
            return mixture.table.shares
        num_draws = -(-num_clips // self.clips_per_open)
        ends = np.append(self._first_draw[1:], max(num_draws, int(self._first_draw[-1])))
        draws = np.clip(num_draws, self._first_draw, ends) - self._first_draw  # of each stage
        return summed(draws @ mixture.strata.shares / num_draws, self._source, len(mixture.table.sources))

    def _draw(self, positions: Integers, attempt: int, excluded: Integers) -> Draws:
        table = self.mixture.draws
        groups, has_own = self._groups(positions)
        stage, strata, place = self._stratum(groups)
        uniform = uniforms(self.seed, f"clip/{attempt}", positions, 2)
        of_video = uniform[..., 0] if has_own else uniforms(self.seed, f"clip/{attempt}", groups, 1)[..., 0]
        if place is not None and attempt == 0:
            of_video = self._systematic(stage, strata, place)
        videos = table.find(strata, of_video)
        rows = table.rows(videos)
        if len(excluded):
            videos = self._instead(groups, strata, videos, attempt, excluded)
            rows = table.rows(videos)
        first, stop = table.intervals(videos)
        return Draws(rows, self._source[strata], moments(self._windows, first, stop, uniform[..., 1]))

    def _groups(self, positions: Integers) -> tuple[Integers, bool]:
        """The draw that each position is part of, and whether each is one of its own."""
        if self.clips_per_open == 1:
            return positions, True
        return positions // self.clips_per_open, False

    # -- strata

    def _stratum(self, groups: Integers) -> tuple[Integers, Integers, Integers | None]:
        """Stage and stratum of each draw; where passes are capped, also how many draws of that stratum its stage's list has before it."""
        chances = self.mixture.chances
        stage = np.searchsorted(self._first_draw, groups, side="right") - 1
        if self.mixture.strata.counts is None:
            uniform = uniforms(self.seed, "source", groups, 1)[..., 0]
            return stage, _find_in_row(chances, stage, uniform), None
        # of the list in which stratum after stratum has its count, a permutation says who is where
        size = chances[:, -1]
        place = (groups - self._first_draw[stage]) % size[stage]  # beyond the end of the run, the last list again
        place = permuted(self.seed, "source", place, size[stage], stage)
        strata = _find_in_row(chances, stage, place)
        return stage, strata, place - chances[stage, strata]

    def _systematic(self, stage: Integers, strata: Integers, place: Integers) -> Floats:
        """Points in [0, 1), for the draws of a stratum of one length of clip evenly apart: a video has its expected number of them, rounded
        up or down."""
        ranks = self.mixture.ranks
        assert ranks is not None, "passes are capped"
        kind = ranks.kind[stage]
        total, which = ranks.total[kind, strata], kind * len(self._source) + strata
        shift = uniforms(self.seed, "video shift", which, 1)[..., 0]
        rank = ranks.before[stage, strata] + place
        return (permuted(self.seed, "video", rank, total, which) + shift) / total

    # -- videos that failed

    def _instead(
        self, groups: Integers, strata: Integers, videos: Integers, attempt: int, excluded: Integers
    ) -> Integers:
        """`videos`, those of excluded rows drawn again: from their stratum, or, where that has no other, from their source."""
        table, videos = self.mixture.draws, videos.copy()
        left = np.flatnonzero(np.isin(table.rows(videos), excluded))
        for number in range(1, _REDRAWS + 1):
            if not len(left):
                return videos
            uniform = uniforms(self.seed, f"clip/{attempt}/{number}", groups[left], 1)[..., 0]
            videos[left] = table.find(strata[left], uniform)
            left = left[np.isin(table.rows(videos[left]), excluded)]
        uniform = uniforms(self.seed, f"clip/{attempt}/last", groups[left], 1)[..., 0]
        for index, point in zip(left.tolist(), uniform.tolist(), strict=True):
            videos[index] = self._one_of(int(strata[index]), point, excluded)
        return videos

    def _one_of(self, stratum: int, point: float, excluded: Integers) -> int:
        """The video at `point` in [0, 1) of all that are not excluded."""
        table = self.mixture.draws
        is_drawn = (self.mixture.strata.shares > 0).any(axis=0)
        same_source = np.flatnonzero((self._source == self._source[stratum]) & is_drawn)
        for strata in ([stratum], same_source.tolist()):
            videos = np.concatenate([np.arange(*table.first_video[one : one + 2]) for one in strata])
            weights = np.concatenate([table.weights(one) for one in strata])
            weights = np.where(np.isin(table.rows(videos), excluded), 0.0, weights)
            if weights.any():
                running = np.cumsum(weights)
                target = min(point * running[-1], np.nextafter(running[-1], -np.inf))
                return int(videos[np.searchsorted(running, target, side="right")])
        name = self.mixture.table.sources[int(self._source[stratum])]
        raise DataError(
            f"source {name!r} has no video left to draw that can be read; check that its folder is mounted, then index it again"
        )


def _find_in_row(running: npt.NDArray, row: Integers, value: npt.NDArray) -> Integers:
    """The last column, but for the closing one, in which `running` of each `row` is at most `value`."""
    if len(running) == 1:
        return np.searchsorted(running[0], value, side="right") - 1
    found = np.empty(len(value), dtype=np.int64)
    for stage in np.unique(row).tolist():  # neighbours in a run are mostly of one stage
        here = row == stage
        found[here] = np.searchsorted(running[stage], value[here], side="right") - 1
    return found
