"""The arrays that a draw is looked up in, in memory or in files that all processes of a machine share.

In: the videos of each stratum with their weights and usable intervals, in order. Out: a `DrawTable`. It is its own file because it is a
layout: a draw of a corpus of any size touches a handful of cache lines, whatever the shares are. Files are mapped into memory, so a
process that opens them allocates nothing that grows with the number of videos.

A video is found by its place in a running sum of weights, through a guide: for every bucket of the sum, the video at its beginning (Chen
& Asau 1974). Buckets are as wide as a power of two, so that finding one's bucket is exact in floating point.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.core.atomic import atomic_path, sync_path
from surgrec.data.shares import Floats, Integers

# A draw reads a few records of 16 bytes at random: what it needs of one video lies together.
VIDEO = np.dtype([("sum", "<f8"), ("row", "<i4"), ("interval", "<i4")])
WINDOW = np.dtype([("sum", "<f8"), ("start", "<f8")])
Records = npt.NDArray[np.void]


@dataclass(frozen=True)
class DrawTable:
    """V videos of G strata, I usable intervals, ordered by stratum, then video id, then time. A video may be in several strata.

    `videos` (V + 1,) of `VIDEO`: running sum of weights, manifest row, first interval; the last one closes sum and intervals.
    `spans` (I, 4): start and end seconds of where clips may begin, and of the usable interval that they must lie in. `guide` (M,): for each
    bucket of `width` of the sum, the video at its beginning. `first_video` (G + 1,): of each stratum. `folder`: where the files are, if
    they are.
    """

    videos: Records
    spans: Floats
    guide: npt.NDArray[np.int32]
    width: float
    first_video: Integers
    folder: Path | None = None
    _sums: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sums", self.videos["sum"][self.first_video])

    @classmethod
    def build(
        cls, rows: Integers, weights: Floats, first_video: Integers, first_interval: Integers, spans: Floats
    ) -> DrawTable:
        """From what is in order: rows and weights (V,), first intervals (V + 1,), spans (I, 4)."""
        videos = np.zeros(len(rows) + 1, dtype=VIDEO)
        sums = np.concatenate([[0.0], np.cumsum(weights)])
        videos["sum"], videos["row"][:-1], videos["interval"] = sums, rows, first_interval
        total = sums[-1]
        width = float(2.0 ** np.ceil(np.log2(max(total, 1e-300) / max(len(rows), 1))))
        edges = np.arange(int(total / width) + 2) * width
        guide = np.searchsorted(sums[:-1], edges, side="right") - 1
        return cls(videos, spans, guide.astype(np.int32), width, first_video)

    # -- files

    @classmethod
    def open(cls, folder: Path) -> DrawTable:
        """The table that `save` wrote."""
        mapped: dict[str, npt.NDArray] = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("videos", "spans", "guide")
        }
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
        # rounding must not reach the end
        target = np.minimum(begin + uniform * (end - begin), np.nextafter(end, -np.inf))
        bucket = (target / self.width).astype(np.int64)  # exact: the width is a power of two
        low = self.guide[bucket].astype(np.int64)
        high = self.guide[bucket + 1].astype(np.int64) + 1
        return _bisect(self.videos, low, high, target)

    def rows(self, videos: Integers) -> Integers:
        """Manifest rows."""
        return self.videos["row"][videos].astype(np.int64)

    def intervals(self, videos: Integers) -> tuple[Integers, Integers]:
        """The first interval of each video, and the first after its last."""
        first = self.videos["interval"]
        return first[videos].astype(np.int64), first[videos + 1].astype(np.int64)

    def weights(self, stratum: int) -> Floats:
        """Of the videos of one stratum."""
        first, stop = self.first_video[stratum], self.first_video[stratum + 1]
        return np.diff(self.videos["sum"][first : stop + 1])

    # -- moments

    def windows(self, clip_seconds: float) -> Records:
        """(I + 1,) of `WINDOW`: running sum of the room for starts of a clip, and the start of the interval.

        A video none of whose intervals has room for the clip has their lengths in its place, and starts with a minus sign, zero too: there
        is no way into them. In files, they are written once for every length of clip.
        """
        if self.folder is None:
            return self._windows(clip_seconds)
        file = self.folder / f"windows_{float(clip_seconds).hex()}.npy"
        if not file.is_file():
            with atomic_path(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, self._windows(clip_seconds))
        return np.asarray(np.load(file, mmap_mode="r"))

    def _windows(self, clip_seconds: float) -> Records:
        start, end, usable_from, usable_to = np.asarray(self.spans).T
        lengths = end - start
        room = np.maximum(np.minimum((usable_to - start) - clip_seconds, lengths), 0.0)
        first = self.videos["interval"].astype(np.int64)
        has_room = np.repeat(np.add.reduceat(room, first[:-1]) > 0, np.diff(first))
        fitted = np.maximum(usable_from, np.minimum(start, usable_to - clip_seconds))
        windows = np.zeros(len(lengths) + 1, dtype=WINDOW)
        windows["sum"][1:] = np.cumsum(np.where(has_room, room, lengths))
        windows["start"][:-1] = np.where(has_room, start + 0.0, -(fitted + 0.0))
        return windows


def moments(windows: Records, first: Integers, stop: Integers, uniform: Floats) -> Floats:
    """The start seconds (n,) at the points `uniform` of the room of the intervals first .. stop - 1."""
    at_first = windows[first]
    begin, end = at_first["sum"], windows["sum"][stop]
    target = np.minimum(begin + uniform * (end - begin), np.nextafter(end, -np.inf))
    several = np.flatnonzero(stop - first > 1)
    if len(several):
        at_first[several] = windows[_bisect(windows, first[several], stop[several], target[several])]
    start = at_first["start"]
    return np.where(np.signbit(start), -start, start + (target - at_first["sum"]))


def _bisect(table: Records, low: Integers, high: Integers, target: Floats) -> Integers:
    """The last index in [low, high) whose running sum is at most the target; that of `low` is."""
    sums, found = table["sum"], low.copy()
    active = np.flatnonzero(high - low > 1)
    low, high, target = low[active], high[active], target[active]
    while len(active):
        middle = (low + high) // 2
        is_below = sums[middle] <= target
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        is_open = high - low > 1
        if not is_open.all():
            found[active] = low
            active, low, high, target = active[is_open], low[is_open], high[is_open], target[is_open]
    return found
