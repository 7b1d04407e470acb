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
from surgrec.core.rng import uniforms
from surgrec.data.mixture import Floats, Integers, Mixture


@dataclass(frozen=True)
class Draws:
    """One entry a position, shape (n,): manifest row, index into the mixture's sources, start of the clip in seconds."""

    rows: Integers
    source_index: Integers
    start_seconds: Floats


def _cumulative(weights: Floats) -> Floats:
    """(n,) weights to their (n + 1,) running sum, which begins with 0."""
    return np.concatenate([[0.0], np.cumsum(weights)])


def _pick(cumulative: Floats, first: Integers, stop: Integers, uniform: Floats) -> tuple[Integers, Floats]:
    """Index in [first, stop) drawn by weight, and how far into its weight the draw fell; an index of weight 0 is never drawn."""
    begin, end = cumulative[first], cumulative[stop]
    target = np.minimum(begin + uniform * (end - begin), np.nextafter(end, -np.inf))  # rounding must not reach the end
    index = np.searchsorted(cumulative, target, side="right") - 1
    return index, target - cumulative[index]


class Sampler:
    """Draws the source by its share, the video within it in proportion to its usable seconds, then the start.

    The start is uniform over the moments at which the whole clip lies inside one usable interval. A video none of whose
    intervals is long enough starts at the beginning of one of them (drawn by length); the reader then repeats its last frame.

    Args:
        mixture: sources, shares, footage.
        seed: of the run.
        clip_seconds: from the first to the last frame of a clip.
    """

    def __init__(self, mixture: Mixture, seed: int, clip_seconds: float) -> None:
        if not (np.isfinite(clip_seconds) and clip_seconds >= 0):
            raise UserError(
                f"a clip of {clip_seconds} seconds cannot be drawn; check data.num_frames and the frame interval"
            )
        self.mixture = mixture
        self.seed = seed
        footage = mixture.footage
        lengths = footage.end_seconds - footage.start_seconds
        room = np.maximum(lengths - clip_seconds, 0.0)
        video = footage.video_of_interval
        has_room = np.bincount(video, weights=room, minlength=len(footage.rows))[video] > 0
        self._slack_seconds = np.where(has_room, room, 0.0)
        self._intervals = _cumulative(np.where(has_room, room, lengths))
        self._video_seconds = footage.video_seconds
        self._videos = _cumulative(self._video_seconds)
        shares = _cumulative(mixture.table.shares)
        self._shares = shares / shares[-1]

    def draw(self, positions: npt.ArrayLike, attempt: int = 0, excluded_rows: Collection[int] = ()) -> Draws:
        """The draws at `positions`.

        Args:
            positions: int64 (n,), from 0.
            attempt: above 0, another video and start from the same source, for a position whose video failed.
            excluded_rows: manifest rows not to draw; each source must keep one video at least.
        """
        positions = np.asarray(positions, dtype=np.int64)
        footage = self.mixture.footage
        source = np.searchsorted(self._shares, uniforms(self.seed, "source", positions, 1)[..., 0], side="right") - 1
        uniform = uniforms(self.seed, f"clip/{attempt}", positions, 2)
        videos = self._without(excluded_rows) if excluded_rows else self._videos
        video, _ = _pick(videos, footage.first_video[source], footage.first_video[source + 1], uniform[..., 0])
        interval, offset = _pick(
            self._intervals, footage.first_interval[video], footage.first_interval[video + 1], uniform[..., 1]
        )
        start = footage.start_seconds[interval] + np.minimum(offset, self._slack_seconds[interval])
        return Draws(footage.rows[video], source, start)

    def _without(self, rows: Collection[int]) -> Floats:
        """Running sum of the videos' seconds with those of `rows` at 0."""
        return _cumulative(np.where(np.isin(self.mixture.footage.rows, list(rows)), 0.0, self._video_seconds))
