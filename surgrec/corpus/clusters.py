"""Which moments of which videos belong to which cluster: the file that `surgrec corpus cluster` writes and a mixture reads.

In: moments with the path of their cluster, from the top level down. Out: a Parquet file, and from it the usable footage cut by leaf. It
is its own file because it is a contract between those who cluster and those who draw: neither needs the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surgrec.core.atomic import atomic_path
from surgrec.core.errors import UserError

SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("start_seconds", pa.float64(), nullable=False),
        pa.field("end_seconds", pa.float64(), nullable=False),
        pa.field("path", pa.list_(pa.int64()), nullable=False),
    ]
)
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class ClustersError(UserError):
    """A file of clusters that is not there, damaged or contradicts itself."""


@dataclass(frozen=True)
class Clusters:
    """Moments (M,) of videos, each in one leaf. `paths` (K, L): the number of a leaf's ancestor at each level, the leaf's own last; numbers
    are unlike within a level. `name`: of the file.
    """

    video_ids: pa.Array
    start_seconds: Floats
    end_seconds: Floats
    leaves: Integers
    paths: Integers
    name: str

    @classmethod
    def of(cls, video_ids: pa.Array, start: Floats, end: Floats, paths: Integers, name: str) -> Clusters:
        """From the path (M, L) of every moment."""
        unique, leaves = np.unique(paths, axis=0, return_inverse=True)
        return cls(video_ids, start, end, leaves.reshape(-1).astype(np.int64), unique, name)

    @classmethod
    def read(cls, path: Path) -> Clusters:
        """What `write` wrote. Raises `ClustersError`."""
        if not path.is_file():
            raise ClustersError(
                f"there are no clusters at {path} (mix.clusters); make them with `surgrec corpus cluster`"
            )
        try:
            table = pq.read_table(path, partitioning=None).select(SCHEMA.names).cast(SCHEMA).combine_chunks()
            lengths = pc.list_value_length(table["path"]).to_numpy()
            paths = table["path"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        except (pa.ArrowInvalid, pa.ArrowTypeError, KeyError, OSError, ValueError):
            raise ClustersError(f"{path} is no file of clusters; make it again with `surgrec corpus cluster`") from None
        if not len(table):
            raise ClustersError(f"{path} has no moments; cluster a store with features")
        start, end = (table[name].to_numpy() for name in ("start_seconds", "end_seconds"))
        if (
            (lengths != paths.shape[1]).any()
            or paths.min() < 0
            or not (np.isfinite(start) & (start <= end) & (end < np.inf)).all()
        ):
            raise ClustersError(
                f"{path} contradicts itself: every moment has a start, a later end and a cluster at each of the same levels; make it again "
                "with `surgrec corpus cluster`"
            )
        return cls.of(table["video_id"].combine_chunks(), start, end, paths, path.name)

    def write(self, path: Path) -> None:
        """As Parquet, whole or not at all."""
        paths = self.paths[self.leaves]
        offsets = np.arange(len(paths) + 1, dtype=np.int32) * paths.shape[1]
        columns = [
            pa.array(self.video_ids, pa.string()),
            pa.array(self.start_seconds),
            pa.array(self.end_seconds),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(paths.ravel())),
        ]
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(columns, schema=SCHEMA), temporary, compression="zstd")

    def cut(self, ids: pa.ChunkedArray, row: Integers, start: Floats, end: Floats) -> tuple[Integers, Integers, Floats]:
        """Leaf and row (n,) of every part of the usable intervals (row, start, end) that lies in a moment of a cluster; and (n, 4) its
        start and end, and those of the interval.

        Moments of one leaf that follow on one another in a video are one. Where moments overlap, the earlier ends where the later begins,
        so that no second is in two leaves, and what follows on a second is what its moment shows.
        """
        moment_row = pc.index_in(self.video_ids, ids.combine_chunks()).to_numpy(zero_copy_only=False)
        is_known = np.isfinite(moment_row.astype(np.float64))
        order = np.flatnonzero(is_known)
        moment_row = moment_row[order].astype(np.int64)
        first = np.lexsort((self.start_seconds[order], moment_row))
        order, moment_row = order[first], moment_row[first]
        begin, stop, leaf = self.start_seconds[order], self.end_seconds[order].copy(), self.leaves[order]
        follows = np.flatnonzero(moment_row[1:] == moment_row[:-1]) + 1
        stop[follows - 1] = np.minimum(stop[follows - 1], begin[follows])
        moment_row, begin, stop, leaf = _joined(moment_row, begin, stop, leaf)
        return _overlaps((moment_row, begin, stop, leaf), (row, start, end))


def _joined(row: Integers, begin: Floats, stop: Floats, leaf: Integers) -> tuple[Integers, Floats, Floats, Integers]:
    """Neighbours of one row and leaf that touch, as one."""
    keep = stop > begin
    row, begin, stop, leaf = row[keep], begin[keep], stop[keep], leaf[keep]
    if not len(row):
        return row, begin, stop, leaf
    is_new = np.ones(len(row), dtype=bool)
    is_new[1:] = (row[1:] != row[:-1]) | (leaf[1:] != leaf[:-1]) | (begin[1:] > stop[:-1] + 1e-9)
    first = np.flatnonzero(is_new)
    last = np.append(first[1:], len(row)) - 1
    return row[first], begin[first], stop[last], leaf[first]


def _overlaps(
    moments: tuple[Integers, Floats, Floats, Integers], intervals: tuple[Integers, Floats, Floats]
) -> tuple[Integers, Integers, Floats]:
    """Every overlap of a moment with an interval of its row; moments are in order and do not overlap one another."""
    moment_row, begin, stop, leaf = moments
    row, start, end = intervals
    scale = 2.0 + max(float(stop.max(initial=0.0)), float(end.max(initial=0.0)))
    # the first that ends after the start
    first = np.searchsorted(moment_row * scale + stop, row * scale + start, side="right")
    last = np.searchsorted(moment_row * scale + begin, row * scale + end, side="left")
    number = np.maximum(last - first, 0)
    interval = np.repeat(np.arange(len(row)), number)
    moment = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + np.repeat(first, number)
    low, high = np.maximum(begin[moment], start[interval]), np.minimum(stop[moment], end[interval])
    is_real = high > low
    spans = np.stack([low, high, start[interval], end[interval]], axis=1)
    return leaf[moment][is_real], row[interval][is_real], spans[is_real]
