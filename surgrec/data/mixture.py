"""How much of each source a run sees, and which footage stands behind that share.

In: a manifest and a policy. Out: a `Mixture`: the share of every source (`table`) and the usable footage as flat arrays
(`footage`), built once. It is its own file because the shares are what a paper reports and `preview` prints, while drawing
from them (`sampler`) is mere arithmetic.

Policies, with h the usable hours of a source: `natural` h, `uniform` 1, `temperature` h**alpha (alpha 1 is natural, alpha 0
uniform; the exponent is the inverse temperature of multilingual language models: Arivazhagan et al. 2019, arXiv 1907.05019).
With a `Rehearsal` the sources are in two parts, each with its own total share, and the policy holds within either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.data.errors import DataError

GENERAL_DOMAIN = "other"  # what a manifest calls footage of none of the four kinds of surgery
Policy = Literal["natural", "uniform", "temperature"]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def shares_of(hours: Mapping[str, float] | npt.ArrayLike, policy: str, alpha: float = 0.5) -> Floats:
    """Share of every source, in the order given, summing to 1; a source without hours has share 0.

    Args:
        hours: usable hours of each source, none negative, one positive at least.
        policy: `natural`, `uniform` or `temperature`.
        alpha: exponent of `temperature`, not negative; the other policies ignore it.
    """
    if policy not in get_args(Policy):
        raise UserError(f"mixture policy {policy!r} is unknown; set mix.policy to one of {', '.join(get_args(Policy))}")
    if not (np.isfinite(alpha) and alpha >= 0):
        raise UserError(f"mixture exponent {alpha} is not a number of at least 0; set mix.alpha to one, such as 0.5")
    values = np.asarray(list(hours.values()) if isinstance(hours, Mapping) else hours, dtype=np.float64)
    if not (values > 0).any() or not (values >= 0).all():
        raise DataError("no source of the mixture has usable footage; check the manifests of mix.manifests")
    exponent = {"natural": 1.0, "uniform": 0.0, "temperature": alpha}[policy]
    weights = np.where(values > 0, (values / values.max()) ** exponent, 0.0)
    return weights / weights.sum()


@dataclass(frozen=True)
class Rehearsal:
    """General video beside the surgical, so that a continued run does not forget what its first weights knew.

    `share` of all clips, at least 0 and below 1, comes from the sources called `sources`, or, where none is named, from those all of
    whose videos are of the domain `other`.
    """

    share: float
    sources: tuple[str, ...] = ()

    def is_source(self, manifest: Manifest, names: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """Which of the manifest's sources `names` (S,) are rehearsed. Raises `UserError` for one that is not among them."""
        if unknown := sorted(set(self.sources) - set(names)):
            raise UserError(
                f"mix.rehearsal_sources names {', '.join(unknown)}, which no manifest has; there are {', '.join(names)}"
            )
        if self.sources:
            return np.isin(names, self.sources)
        surgical = set(manifest.sources[manifest.column("domain") != GENERAL_DOMAIN].tolist())
        return np.array([name not in surgical for name in names])

    def shares(self, hours: Floats, is_rehearsal: npt.NDArray[np.bool_], policy: str, alpha: float) -> Floats:
        """Share of every source (S,), summing to 1: `share` for the rehearsed ones; `UserError` for a part without footage."""
        shares = np.zeros_like(hours)
        for part, total in ((is_rehearsal, self.share), (~is_rehearsal, 1 - self.share)):
            if total and not hours[part].any():
                raise UserError(_nothing_to_rehearse(self) if part is is_rehearsal else _nothing_but_rehearsal(self))
            if total:
                shares[part] = total * shares_of(hours[part], policy, alpha)
        return shares


def _nothing_to_rehearse(rehearsal: Rehearsal) -> str:
    return (
        f"mix.rehearsal_share={rehearsal.share:g} needs usable footage of general video: index some with --domain {GENERAL_DOMAIN} and "
        "add its manifest to mix.manifests, name sources that are there in mix.rehearsal_sources, or set mix.rehearsal_share=null"
    )


def _nothing_but_rehearsal(rehearsal: Rehearsal) -> str:
    return (
        f"mix.rehearsal_share={rehearsal.share:g}, but every source with usable footage is rehearsal; add the manifest of what is to be "
        "learned to mix.manifests, or name only some sources in mix.rehearsal_sources"
    )


@dataclass(frozen=True)
class MixtureTable:
    """One entry a source, ordered by name: usable `hours`, `shares` of the draws (sum 1), `num_videos` with usable footage.

    `rehearsed`: names of the sources that are there for rehearsal.
    """

    sources: tuple[str, ...]
    hours: Floats
    shares: Floats
    num_videos: Integers
    rehearsed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Footage:
    """The usable intervals of the manifest, V videos and I intervals, ordered by source, then video id, then time.

    The order does not depend on the manifest's, so neither does the sequence that a run reads.
    """

    rows: Integers  # (V,) manifest row of a video
    first_video: Integers  # (S + 1,) the videos of source s are first_video[s] .. first_video[s + 1] - 1
    first_interval: Integers  # (V + 1,) likewise for the intervals of a video
    start_seconds: Floats  # (I,)
    end_seconds: Floats  # (I,)

    @property
    def video_of_interval(self) -> Integers:
        """(I,) index of the video an interval lies in."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.first_interval))

    @property
    def video_seconds(self) -> Floats:
        """(V,) usable seconds of every video."""
        lengths = self.end_seconds - self.start_seconds
        return np.add.reduceat(lengths, self.first_interval[:-1])


def _intervals(usable: pa.ChunkedArray) -> tuple[Integers, Floats, Floats]:
    """Row, start and end of every non-empty interval of the manifest's `usable` column; a null means no footage."""
    flat = pc.list_flatten(usable)
    start = np.maximum(pc.struct_field(flat, "start_seconds").to_numpy(), 0.0)
    end = pc.struct_field(flat, "end_seconds").to_numpy()
    row = pc.list_parent_indices(usable).to_numpy()
    is_real = end > start
    return row[is_real], start[is_real], end[is_real]


class Mixture:
    """Shares of the sources and the footage behind them.

    Args:
        manifest: every source to draw from.
        policy, alpha: see `shares_of`.
        rehearsal: which sources are general video, and their share of all clips; None: all sources are in one part.

    Raises:
        DataError: no video of the manifest has usable footage.
        UserError: the rehearsal cannot be.
    """

    def __init__(self, manifest: Manifest, policy: str, alpha: float = 0.5, rehearsal: Rehearsal | None = None) -> None:
        row, start, end = _intervals(manifest.table.column("usable"))
        if not len(row):
            raise DataError("the manifest has no video with usable footage; index a folder of videos into it first")
        sources, source_of_row = np.unique(manifest.sources, return_inverse=True)
        rows = np.unique(row)
        self.num_left_out = len(manifest) - len(rows)  # videos without usable footage
        rows = rows[np.lexsort((manifest.video_ids[rows], source_of_row[rows]))]
        rank = np.empty(len(manifest), dtype=np.int64)
        rank[rows] = np.arange(len(rows))
        order = np.lexsort((start, rank[row]))
        num_videos = np.bincount(source_of_row[rows], minlength=len(sources))
        self.footage = Footage(
            rows=rows.astype(np.int64),
            first_video=np.concatenate([[0], np.cumsum(num_videos)]),
            first_interval=np.concatenate([[0], np.cumsum(np.bincount(rank[row], minlength=len(rows)))]),
            start_seconds=start[order],
            end_seconds=end[order],
        )
        seconds = np.bincount(source_of_row[rows], weights=self.footage.video_seconds, minlength=len(sources))
        hours = seconds / 3600.0
        names = tuple(str(source) for source in sources)
        if rehearsal is None:
            self.table = MixtureTable(names, hours, shares_of(hours, policy, alpha), num_videos)
            return
        is_rehearsal = rehearsal.is_source(manifest, names)
        shares = rehearsal.shares(hours, is_rehearsal, policy, alpha)
        self.table = MixtureTable(names, hours, shares, num_videos, tuple(np.array(names)[is_rehearsal].tolist()))
