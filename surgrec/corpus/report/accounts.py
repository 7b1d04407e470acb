"""Where the time of a video goes: what is usable, and which filter took the rest.

In: usable intervals and findings of one video. Out: an `Account`. It is its own file because the report's totals must agree: every moment
of a video is counted once, as usable or as lost for one reason, although findings meet and overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.corpus.filters.find import OF_TIME

BESIDE = "beside"  # of a video with findings: margins kept from them, rests too short to be used
UNEXPLAINED = "unexplained"  # not usable, though no finding says why
LOSSES = (*OF_TIME, BESIDE, UNEXPLAINED)

Interval = tuple[float, float]


@dataclass(frozen=True)
class Account:
    """Seconds of one video. `usable` and all of `lost` together are its duration; `unheeded` are seconds that a filter refused and that
    the manifest calls usable all the same, a part of `usable`."""

    usable: float
    lost: Mapping[str, float]
    unheeded: float


def account(duration_seconds: float, usable: Sequence[Interval], refused: Mapping[str, Sequence[Interval]]) -> Account:
    """`refused`: intervals by reason of `OF_TIME`; where several meet, the first reason counts, as it does in filtering. Intervals may
    overlap and reach beyond the video."""
    if not refused and len(usable) == 1 and usable[0][0] <= 0.0 and usable[0][1] >= duration_seconds:
        return Account(duration_seconds, {}, 0.0)
    intervals = [*usable, *(interval for found in refused.values() for interval in found)]
    inner = [edge for interval in intervals for edge in interval if 0.0 < edge < duration_seconds]
    edges = np.unique(np.array([0.0, *inner, duration_seconds]))
    lengths, middles = np.diff(edges), (edges[:-1] + edges[1:]) / 2
    is_usable = _covered(middles, usable)
    is_open, is_refused = ~is_usable, np.zeros_like(is_usable)
    lost: dict[str, float] = {}
    for reason in OF_TIME:
        found = _covered(middles, refused.get(reason, ()))
        lost[reason] = float(lengths[found & is_open].sum())
        is_open &= ~found
        is_refused |= found
    lost[BESIDE if is_refused.any() else UNEXPLAINED] = float(lengths[is_open].sum())
    return Account(
        float(lengths[is_usable].sum()),
        {reason: seconds for reason, seconds in lost.items() if seconds > 0},
        float(lengths[is_usable & is_refused].sum()),
    )


def _covered(moments: npt.NDArray[np.float64], intervals: Sequence[Interval]) -> npt.NDArray[np.bool_]:
    """Which of `moments`, ascending, lie in one of `intervals`: where more have begun than ended."""
    starts, ends = (np.sort(np.array([interval[side] for interval in intervals], np.float64)) for side in (0, 1))
    return np.searchsorted(starts, moments, "right") > np.searchsorted(ends, moments, "right")
