"""How much of each source a run sees, and which footage stands behind that share.

In: a manifest, a policy and its options. Out: a `Mixture`: the share of every source (`table`), those of the strata that are drawn from
(`strata`), and the videos of each (`draws`), built once. It is its own file because the shares are what a paper reports and `preview`
prints, while drawing from them (`sampler`) is mere arithmetic. docs/sampling.md has the equations.

A share goes down a tree, domain -> procedure -> source (`levels`), to the strata; within one, a video is drawn by its usable seconds. With
h the usable hours of a node, its share among its siblings is proportional to weight * h**alpha: `natural` is alpha 1, `uniform` alpha 0,
`temperature` an alpha of its own for each level (the exponent is the inverse temperature of multilingual language models: Arivazhagan et
al. 2019, arXiv 1907.05019). Under `clusters` the tree is one of clusters of features, drawn alike at each level (Vo et al. 2024, arXiv
2405.15613). With a `Rehearsal` the sources are in two parts, each with its own total share, and the policy holds within either.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgrec.core.atomic import read_or_write, sync_path, write_json
from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.data.errors import DataError
from surgrec.data.shares import Floats, Integers, Policy, summed
from surgrec.data.strata import (
    Course,
    MixtureOptions,
    Rehearsal,
    Strata,
    Tree,
    Weighting,
    plant,
    rehearsed,
    shares_of_strata,
    video_weights,
)
from surgrec.data.table import DrawTable

__all__ = [
    "Course", "Floats", "Footage", "Integers", "Mixture", "MixtureOptions", "MixtureTable", "Policy", "Rehearsal", "Weighting"
]  # fmt: skip


_FACTS = "mixture.json"
_ARRAYS = ("hours", "shares", "num_videos", "paths", "strata_hours", "strata_shares", "chances")
_CAPPED = ("counts", "kind", "before", "total")


@dataclass(frozen=True)
class Ranks:
    """Where passes are capped, a draw's place among all draws of its stratum with clips of its length, so that the videos within may each
    have their part of them: the length's number of each stage, `kind` (S,); how many there are before the stage, `before` (S, G); and in
    all, `total` (K, G)."""

    kind: Integers
    before: Integers
    total: Integers

    @classmethod
    def of(cls, counts: Integers, course: Course) -> Ranks:
        """From counts (S, G)."""
        lengths, kind = np.unique(course.seconds, return_inverse=True)
        total, before = np.zeros((len(lengths), counts.shape[1]), dtype=np.int64), np.zeros_like(counts)
        for stage, number in enumerate(kind.tolist()):
            before[stage] = total[number]
            total[number] += counts[stage]
        return cls(kind.astype(np.int64), before, total)


@dataclass(frozen=True)
class MixtureTable:
    """One entry a source, ordered by name: usable `hours`, `shares` of the draws (sum 1), `num_videos` with usable footage.

    Under a schedule, `shares` are those of the whole run. `rehearsed`: names of the sources that are there for rehearsal.
    """

    sources: tuple[str, ...]
    hours: Floats
    shares: Floats
    num_videos: Integers
    rehearsed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Footage:
    """The usable intervals of the manifest, V videos and I intervals, ordered by stratum, then video id, then time.

    The order does not depend on the manifest's, so neither does the sequence that a run reads.
    """

    rows: Integers  # (V,) manifest row of a video
    first_video: Integers  # (G + 1,) the videos of stratum g are first_video[g] .. first_video[g + 1] - 1
    first_interval: Integers  # (V + 1,) likewise for the intervals of a video
    start_seconds: Floats  # (I,)
    end_seconds: Floats  # (I,)

    @property
    def video_seconds(self) -> Floats:
        """(V,) usable seconds of every video."""
        lengths = self.end_seconds - self.start_seconds
        return np.add.reduceat(lengths, self.first_interval[:-1])


class Mixture:
    """Shares of the sources and the footage behind them.

    Args:
        manifest: every source to draw from.
        policy, alpha: see `exponent_of`; `clusters` needs its option.
        rehearsal: which sources are general video, and their share of all clips; None: all sources are in one part.
        options: see there.
        course: the run's, which a schedule and `max_passes` need; None without them.

    Attributes:
        table, strata, draws: see there.
        num_left_out: videos without usable footage.
        num_unclustered, hours_unclustered: videos with usable footage of which no cluster knows a moment; usable hours, of these and of
            all others, that lie in no moment.
        chances: (S, G + 1), of every stage the running sums of its shares or, where passes are capped, of its counts, from 0 on.
        ranks: where passes are capped.

    Raises:
        DataError: no video of the manifest has usable footage.
        UserError: the rehearsal, a weight or the cap cannot be.
    """

    def __init__(
        self,
        manifest: Manifest,
        policy: str,
        alpha: float = 0.5,
        rehearsal: Rehearsal | None = None,
        options: MixtureOptions | None = None,
        course: Course | None = None,
    ) -> None:
        options = options or MixtureOptions()
        self.course = course if options.max_passes is not None or options.end is not None else None
        row, start, end = _intervals(manifest.table.column("usable"))
        if not len(row):
            raise DataError("the manifest has no video with usable footage; index a folder of videos into it first")
        num_videos = _count_distinct(row, len(manifest))
        self.num_left_out = len(manifest) - num_videos
        tree = plant(manifest, policy, options)
        paths, stratum, row, spans = _divided(tree, manifest, row, start, end)
        self.num_unclustered = num_videos - _count_distinct(row, len(manifest))
        self.hours_unclustered = (float((end - start).sum()) - float((spans[:, 1] - spans[:, 0]).sum())) / 3600.0
        placed = _placed(stratum, row, _rank(manifest.table["video_id"]), spans, len(paths))
        stratum_of_video = np.repeat(np.arange(len(paths)), np.diff(placed.first_video))
        hours = summed(placed.seconds, stratum_of_video, len(paths)) / 3600.0
        source_index = paths[:, -1]
        is_rehearsal = rehearsed(rehearsal, tree, manifest)
        shares, counts = shares_of_strata(
            policy, alpha, rehearsal, options, self.course, tree, paths, hours, is_rehearsal[source_index]
        )
        self.strata = Strata(tree.levels, tree.names, paths, hours, shares, counts)
        self.chances = _running(shares if counts is None else counts)
        self.ranks = None if counts is None or self.course is None else Ranks.of(counts, self.course)
        weights = video_weights(placed.seconds, placed.first_video, options, self.strata, self.course)
        self.draws = DrawTable.build(placed.rows, weights, placed.first_video, placed.first_interval, placed.spans)
        num_videos_of = _videos_of_sources(source_index[stratum_of_video], placed.rows, tree, len(manifest))
        self.table = _table(
            tree.sources, self.strata, self.course, num_videos_of, is_rehearsal & (rehearsal is not None)
        )

    # -- files

    @classmethod
    def open(cls, folder: Path) -> Mixture:
        """The mixture that `kept` left in `folder`. Takes no memory that grows with the number of videos."""
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        names = (*_ARRAYS, *(_CAPPED if facts["is_capped"] else ()))
        mapped = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in names}
        self = cls.__new__(cls)
        self.num_left_out, self.num_unclustered = facts["num_left_out"], facts["num_unclustered"]
        self.hours_unclustered = facts["hours_unclustered"]
        course = facts["course"]
        self.course = (
            None
            if course is None
            else Course(
                tuple(course["first"]), course["num_draws"], tuple(course["seconds"]), tuple(course["progress"])
            )
        )
        nodes = tuple(map(tuple, facts["nodes"]))
        paths, hours, shares = (mapped[name] for name in ("paths", "strata_hours", "strata_shares"))
        self.strata = Strata(tuple(facts["levels"]), nodes, paths, hours, shares, mapped.get("counts"))
        self.chances = mapped["chances"]
        self.ranks = Ranks(mapped["kind"], mapped["before"], mapped["total"]) if "counts" in mapped else None
        self.table = MixtureTable(
            nodes[-1], mapped["hours"], mapped["shares"], mapped["num_videos"], tuple(facts["rehearsed"])
        )
        self.draws = DrawTable.open(folder)
        return self

    def save(self, folder: Path) -> None:
        """Write everything into `folder`, which is not yet where anybody looks for it."""
        strata, table, ranks = self.strata, self.table, self.ranks
        arrays = [table.hours, table.shares, table.num_videos, strata.paths, strata.hours, strata.shares, self.chances]
        capped = (
            [] if ranks is None or strata.counts is None else [strata.counts, ranks.kind, ranks.before, ranks.total]
        )
        for name, values in zip((*_ARRAYS, *_CAPPED), [*arrays, *capped], strict=False):
            np.save(folder / f"{name}.npy", values)
            sync_path(folder / f"{name}.npy")
        self.draws.save(folder)
        write_json(
            folder / _FACTS,
            {
                "rehearsed": table.rehearsed,
                "levels": strata.levels,
                "nodes": strata.nodes,
                "course": None if self.course is None else asdict(self.course),
                "is_capped": bool(capped),
                "num_left_out": self.num_left_out,
                "num_unclustered": self.num_unclustered,
                "hours_unclustered": self.hours_unclustered,
            },
        )

    def __reduce__(self) -> tuple[object, ...]:
        """A mixture in files travels to another process as the name of their folder."""
        if self.draws.folder is not None:
            return (Mixture.open, (self.draws.folder,))
        return (_restored, (vars(self),))

    def hours_drawn(self, course: Course) -> Floats:
        """Of each source in a run, as expected, (n,); a second that is drawn again counts again."""
        seconds = course.draws * np.array(course.seconds)
        shares = np.broadcast_to(self.strata.shares, (len(seconds), len(self.strata.paths)))
        return summed(seconds @ shares / 3600.0, self.strata.source_index, len(self.table.sources))

    @property
    def footage(self) -> Footage:
        """The footage as flat arrays; for reports, since it is as large as the corpus."""
        draws = self.draws
        first = draws.intervals(np.arange(len(draws.videos) - 1))[0]
        first = np.append(first, len(draws.spans))
        rows = draws.rows(np.arange(len(draws.videos) - 1))
        return Footage(rows, draws.first_video, first, draws.spans[:, 0], draws.spans[:, 1])


def kept(folder: Path, build: Callable[[], Mixture]) -> Mixture:
    """The mixture in `folder`, built and written there first where it is not."""
    return read_or_write(folder, Mixture.open, lambda partial: build().save(partial))


def _restored(attributes: dict[str, object]) -> Mixture:
    mixture = Mixture.__new__(Mixture)
    vars(mixture).update(attributes)
    return mixture


# -- what is drawn, in order


def _divided(
    tree: Tree, manifest: Manifest, row: Integers, start: Floats, end: Floats
) -> tuple[Integers, Integers, Integers, Floats]:
    """Paths (G, L) of the strata, and of every part of the usable footage its stratum, its row, and the span as `DrawTable` has it."""
    if tree.clusters is None:
        _, example, stratum = np.unique(_joint(tree.codes), return_index=True, return_inverse=True)
        return tree.codes[example], stratum[row], row, np.stack([start, end, start, end], axis=1)
    leaf, row, spans = tree.clusters.cut(manifest.table["video_id"], row, start, end)
    if not len(row):
        raise UserError(
            f"mix.clusters={tree.clusters.name} knows none of the usable footage; cluster features of these videos"
        )
    key = tree.codes[row, -1] * len(tree.clusters.paths) + leaf
    _, example, stratum = np.unique(key, return_index=True, return_inverse=True)
    paths = np.concatenate([tree.clusters.paths[leaf[example]], tree.codes[row[example]]], axis=1)
    return paths, stratum, row, spans


@dataclass(frozen=True)
class _Placed:
    """Rows and usable seconds (V,), first videos (G + 1,), first intervals (V + 1,) and spans (I, 4), as `DrawTable` wants them."""

    rows: Integers
    seconds: Floats
    first_video: Integers
    first_interval: Integers
    spans: Floats


def _placed(stratum: Integers, row: Integers, rank: Integers, spans: Floats, num_strata: int) -> _Placed:
    """Footage (I,) in the order of stratum, rank of the video, time."""
    keys, videos = np.unique(stratum * len(rank) + rank[row], return_inverse=True)
    spans = spans[np.lexsort((spans[:, 0], videos))]
    first_interval = _offsets(np.bincount(videos, minlength=len(keys)))
    stratum_of_video, place = np.divmod(keys, len(rank))
    by_rank = np.empty(len(rank), dtype=np.int64)
    by_rank[rank] = np.arange(len(rank))
    seconds = np.add.reduceat(spans[:, 1] - spans[:, 0], first_interval[:-1])
    first_video = _offsets(np.bincount(stratum_of_video, minlength=num_strata))
    return _Placed(by_rank[place], seconds, first_video, first_interval, spans)


def _videos_of_sources(source_of_video: Integers, rows: Integers, tree: Tree, num_rows: int) -> Integers:
    """How many videos each source has, (S,); one that is in several strata counts once."""
    if tree.clusters is not None:
        source_of_video = np.unique(source_of_video * num_rows + rows) // num_rows
    return np.bincount(source_of_video, minlength=len(tree.sources))


def _joint(codes: Integers) -> Integers:
    """One number for each row of `codes` (N, L), ordered by the last column, then from the first on."""
    key = codes[:, -1]
    for column in codes.T[:-1]:
        key = key * (column.max() + 1) + column
    return key


def _rank(ids: pa.ChunkedArray) -> Integers:
    """The place of each id among all, sorted."""
    order = pc.sort_indices(ids).to_numpy().astype(np.int64)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _count_distinct(row: Integers, size: int) -> int:
    is_there = np.zeros(size, dtype=bool)
    is_there[row] = True
    return int(is_there.sum())


def _running(rows: npt.NDArray) -> npt.NDArray:
    """Running sums of each row (S, G) that begin with 0 and, of shares, end with 1: (S, G + 1)."""
    sums = np.concatenate([np.zeros((len(rows), 1), dtype=rows.dtype), np.cumsum(rows, axis=1)], axis=1)
    return sums if sums.dtype.kind == "i" else sums / sums[:, -1:]


def _offsets(counts: Integers) -> Integers:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _intervals(usable: pa.ChunkedArray) -> tuple[Integers, Floats, Floats]:
    """Row, start and end of every non-empty interval of the manifest's `usable` column; a null means no footage."""
    flat = pc.list_flatten(usable)
    start = np.maximum(pc.struct_field(flat, "start_seconds").to_numpy(), 0.0)
    end = pc.struct_field(flat, "end_seconds").to_numpy()
    row = pc.list_parent_indices(usable).to_numpy()
    is_real = end > start
    return row[is_real].astype(np.int64), start[is_real], end[is_real]


def _table(
    sources: tuple[str, ...],
    strata: Strata,
    course: Course | None,
    num_videos: Integers,
    is_rehearsal: npt.NDArray[np.bool_],
) -> MixtureTable:
    """The sources, each with the sum of its strata."""
    size = len(sources)
    mean = strata.shares[0] if course is None else course.draws @ strata.shares / course.num_draws
    is_whole = len(strata.paths) == size  # each source is a stratum: no sum, so that no rounding either
    shares = mean if is_whole else summed(mean, strata.source_index, size)
    hours = strata.hours if is_whole else summed(strata.hours, strata.source_index, size)
    return MixtureTable(sources, hours, shares, num_videos, tuple(np.array(sources)[is_rehearsal].tolist()))
