"""The arrays that a draw is looked up in, in memory or in files that all processes of a machine share.

In: the videos of each stratum with their weights and usable intervals, in order. Out: a `DrawTable`. It is its own file because it is a
layout: a draw of a corpus of any size touches a handful of cache lines, whatever the shares are. Files are mapped into memory, so a
process that opens them allocates nothing that grows with the number of videos.

A video is found by its place in a running sum of weights, through a guide: for every bucket of the sum, the video at its beginning (Chen
& Asau 1974). Buckets are as wide as a power of two, so that finding one's bucket is exact in floating point.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.core.atomic import atomic_path, sync_path
from surgrec.data.shares import Floats, Integers

_SUM, _ROW, _INTERVAL, _SECONDS = range(4)  # columns of `videos`
_LEFT_BEHIND_SECONDS = 24 * 3600
SUM, START, SLACK = range(3)  # columns of what `windows` returns; a fourth fills the cache line


@dataclass(frozen=True)
class DrawTable:
    """V videos of G strata, I usable intervals, ordered by stratum, then video id, then time. A video may be in several strata.

    `videos` (V + 1, 4): running sum of weights, manifest row, first interval, usable seconds; the last one closes sum and intervals.
    `spans` (I, 2): start and end seconds. `guide` (M,): for each bucket of `width` of the sum, the video at its beginning.
    `first_video` (G + 1,): of each stratum. `folder`: where the files are, if they are.
    """

    videos: Floats
    spans: Floats
    guide: npt.NDArray[np.int32]
    width: float
    first_video: Integers
    folder: Path | None = None
    _sums: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sums", np.asarray(self.videos[self.first_video, _SUM]))

    @classmethod
    def build(
        cls, rows: Integers, weights: Floats, first_video: Integers, first_interval: Integers, spans: Floats
    ) -> DrawTable:
        """From what is in order: rows and weights (V,), first intervals (V + 1,), spans (I, 2)."""
        videos = np.zeros((len(rows) + 1, 4))
        np.cumsum(weights, out=videos[1:, _SUM])
        videos[:-1, _ROW], videos[:, _INTERVAL] = rows, first_interval
        if len(rows):
            videos[:-1, _SECONDS] = np.add.reduceat(spans[:, 1] - spans[:, 0], first_interval[:-1])
        total = videos[-1, _SUM]
        width = float(2.0 ** np.ceil(np.log2(max(total, 1e-300) / max(len(rows), 1))))
        edges = np.arange(int(total / width) + 2) * width
        guide = np.searchsorted(videos[:-1, _SUM].copy(), edges, side="right") - 1
        return cls(videos, spans, guide.astype(np.int32), width, first_video)

    # -- files

    @classmethod
    def open(cls, folder: Path) -> DrawTable:
        """The table that `save` wrote."""
        mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("videos", "spans", "guide")}
        small = np.load(folder / "strata.npz")
        return cls(**mapped, width=float(small["width"]), first_video=small["first_video"], folder=folder)

    def save(self, folder: Path) -> None:
        """Write the files into `folder`, which is not yet where anybody looks for it."""
        for name in ("videos", "spans", "guide"):
            np.save(folder / f"{name}.npy", getattr(self, name))
            sync_path(folder / f"{name}.npy")
        np.savez(folder / "strata.npz", width=np.array(self.width), first_video=self.first_video)

    def __reduce__(self) -> tuple[object, ...]:
        """A table in files travels to another process as the name of their folder."""
        if self.folder is not None:
            return (DrawTable.open, (self.folder,))
        return (DrawTable, (self.videos, self.spans, self.guide, self.width, self.first_video))

    # -- videos

    def find(self, strata: Integers, uniform: Floats) -> Integers:
        """The videos (n,) at the points `uniform` in [0, 1) of the weights of their strata; one of weight 0 is never found."""
        begin, end = self._sums[strata], self._sums[strata + 1]
        target = np.minimum(
            begin + uniform * (end - begin), np.nextafter(end, -np.inf)
        )  # rounding must not reach the end
        bucket = (target / self.width).astype(np.int64)  # exact: the width is a power of two
        low = self.guide[bucket].astype(np.int64)
        high = self.guide[bucket + 1].astype(np.int64) + 1
        return _bisect(self.videos, low, high, target)

    def rows(self, videos: Integers) -> Integers:
        """Manifest rows."""
        return self.videos[videos, _ROW].astype(np.int64)

    def intervals(self, videos: Integers) -> tuple[Integers, Integers]:
        """The first interval of each video, and the first after its last."""
        bounds = self.videos[:, _INTERVAL]
        return bounds[videos].astype(np.int64), bounds[videos + 1].astype(np.int64)

    def weights(self, stratum: int) -> Floats:
        """Of the videos of one stratum."""
        first, stop = self.first_video[stratum], self.first_video[stratum + 1]
        return np.diff(self.videos[first : stop + 1, _SUM])

    # -- moments

    def windows(self, clip_seconds: float) -> Floats:
        """(I + 1, 4): running sum of the room for starts of a clip, start of the interval, how far into it a clip may start.

        A video none of whose intervals is as long as the clip has its intervals' lengths as room, and no way into them. In files, they
        are written once for every length of clip.
        """
        if self.folder is None:
            return self._windows(clip_seconds)
        file = self.folder / f"windows_{float(clip_seconds).hex()}.npy"
        if not file.is_file():
            with atomic_path(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, self._windows(clip_seconds))
        return np.asarray(np.load(file, mmap_mode="r"))

    def _windows(self, clip_seconds: float) -> Floats:
        lengths = self.spans[:, 1] - self.spans[:, 0]
        room = np.maximum(lengths - clip_seconds, 0.0)
        first = self.videos[:, _INTERVAL].astype(np.int64)
        has_room = np.repeat(np.add.reduceat(room, first[:-1]) > 0, np.diff(first))
        windows = np.zeros((len(lengths) + 1, 4))
        np.cumsum(np.where(has_room, room, lengths), out=windows[1:, SUM])
        windows[:-1, START], windows[:-1, SLACK] = self.spans[:, 0], np.where(has_room, room, 0.0)
        return windows


def moments(windows: Floats, first: Integers, stop: Integers, uniform: Floats) -> Floats:
    """The start seconds (n,) at the points `uniform` of the room of the intervals first .. stop - 1."""
    at_first = windows[first]
    begin, end = at_first[:, SUM], windows[stop, SUM]
    target = np.minimum(begin + uniform * (end - begin), np.nextafter(end, -np.inf))
    several = np.flatnonzero(stop - first > 1)
    if len(several):
        at_first[several] = windows[_bisect(windows, first[several], stop[several], target[several])]
    return at_first[:, START] + np.minimum(target - at_first[:, SUM], at_first[:, SLACK])


def _bisect(table: Floats, low: Integers, high: Integers, target: Floats) -> Integers:
    """The last index in [low, high) whose running sum is at most the target; that of `low` is."""
    found = low.copy()
    active = np.flatnonzero(high - low > 1)
    low, high, target = low[active], high[active], target[active]
    while len(active):
        middle = (low + high) // 2
        is_below = table[middle, SUM] <= target
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        is_open = high - low > 1
        if not is_open.all():
            found[active] = low
            active, low, high, target = active[is_open], low[is_open], high[is_open], target[is_open]
    return found


def publish(partial: Path, folder: Path) -> None:
    """Give a folder of files its name, unless another process was faster."""
    sync_path(partial)
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(partial)
    sync_path(folder.parent)


def partial_folder(folder: Path) -> Path:
    """An empty folder of this process beside `folder`; what killed processes left of it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(".*.partial"):
        if time.time() - leftover.stat().st_mtime > _LEFT_BEHIND_SECONDS:  # its writer may be on another machine
            shutil.rmtree(leftover, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial
