"""Proposals: which videos of two sets have moments that look alike at one shift in time.

In: the fingerprints of two sets. Out: `Candidate`s, the most promising first, for surgrec/corpus/shared_footage.py to decide on. It is its
own file because it is where two corpora meet as a whole: the larger set is gone through once, a piece at a time, since it may be larger
than memory, and pieces are shared out over processes. (Threads of one process wait for each other's turn at the interpreter: what they
do between two products of matrices takes as long as the products.)
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from surgrec.core.errors import UserError
from surgrec.corpus.fingerprint import HOP_SECONDS, WINDOWS, Fingerprint, mirrored
from surgrec.corpus.isolated import Failed, map_isolated
from surgrec.corpus.neighbours import BLOCK, Cells, Pairs

_FLOOR = 0.62  # cosine below which a moment is no candidate
# moments of the first set that one of the second may look like, for each relation of the two pictures, and those of all
# moments: where there are few, a moment of still footage finds all copies, not only the closest
_NEAREST = (8, 128)
_ALL_NEAREST = 2e6
_EVERY_HALF_SECOND = 1e9  # pairs of moments above which only those of whole seconds of the larger set are compared
_VOTE_ABOVE = 0.6  # a hit counts with what its cosine exceeds this by
_MIN_VOTES, _MIN_VOTES_A_MOMENT = 0.3, 0.06  # the lesser counts: a video of few moments has few votes
_PIECE = BLOCK  # moments of the second set
_MOMENT_SECONDS, _MAX_STRETCH_SECONDS = 2.0, 30.0

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


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

    def taken(self, rows: npt.NDArray[np.int64]) -> Moments:
        """Those of `rows`, in memory."""
        return Moments(np.asarray(self.vectors[rows]), self.times_seconds[rows], self.video[rows])

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


def by_first_video(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """The candidates of each video of the first set, by its number; within one, in the order given."""
    groups: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.first, []).append(candidate)
    return [groups[number] for number in sorted(groups)]


# -- pieces of the second set


def propose(first: Moments, second: Moments, num_workers: int = 1, progress: Progress | None = None) -> list[Candidate]:
    """Pairs of videos with several moments that look alike at one shift in time; the most promising first.

    The second set is gone through once, some videos at a time, since it may be larger than memory: in `num_workers` processes where it
    is more than one piece, else in as many threads. What it proposes does not depend on them.
    """
    if len(first.times_seconds) == 0 or len(second.times_seconds) == 0:
        return []
    is_whole_second = np.rint(second.times_seconds / HOP_SECONDS).astype(np.int64) % 2 == 0
    is_small = len(first.times_seconds) * len(second.times_seconds) <= _EVERY_HALF_SECOND
    rows = np.flatnonzero(is_whole_second | is_small)
    pieces = [rows[piece] for piece in _pieces(second.video[rows])]
    with threadpool_limits(1, "blas"):  # threads of one small product only wait for each other
        if num_workers > 1 and len(pieces) > 1:
            groups = _in_processes(first, second, pieces, num_workers, progress or _silent)
        else:
            index = _Index.of(first, len(rows))
            with ThreadPoolExecutor(num_workers) as threads:
                groups = [_candidates(index, second.taken(piece), threads) for piece in pieces]
    return sorted((one for group in groups for one in group), key=lambda one: -one.votes)


def _pieces(video: npt.NDArray[np.int32]) -> Iterator[slice]:
    """Slices of about a block of moments; no video is in two."""
    start = 0
    while start < len(video):
        stop = min(start + _PIECE, len(video))
        stop = int(np.searchsorted(video, video[stop - 1], side="right"))
        yield slice(start, stop)
        start = stop


def _candidates(index: _Index, second: Moments, threads: Executor) -> list[Candidate]:
    return _vote(index.hits(second, threads), index.first, second)


@dataclass(frozen=True)
class _Piece:
    """What a worker process is given: the folder of the index, the file of the second set's vectors (where in it, and of which shape), and
    of the piece its rows, times and videos."""

    index: Path
    vectors: Path
    offset: int
    shape: tuple[int, ...]
    rows: npt.NDArray[np.int64]
    times_seconds: npt.NDArray[np.float32]
    video: npt.NDArray[np.int32]


def _in_processes(
    first: Moments, second: Moments, pieces: Sequence[npt.NDArray[np.int64]], num_workers: int, progress: Progress
) -> list[list[Candidate]]:
    """The candidates of every piece. Workers map the files of index and vectors, so that these are in memory but once."""
    groups: list[list[Candidate]] = [[] for _ in pieces]
    with tempfile.TemporaryDirectory(prefix="surgrec_") as name:
        folder = Path(name)
        _Index.of(first, sum(map(len, pieces))).save(folder)
        vectors, offset = _file_of(second.vectors, folder / "vectors.bin")
        jobs = [
            _Piece(folder, vectors, offset, second.vectors.shape, rows, second.times_seconds[rows], second.video[rows])
            for rows in pieces
        ]
        with progress("looking for likenesses", len(jobs)) as advance:
            for number, result in map_isolated(_of_piece, jobs, num_workers):
                if isinstance(result, Failed):
                    raise UserError(
                        f"comparing fingerprints failed: {result.as_error()}; with fewer --workers it needs less memory"
                    )
                groups[number] = result
                advance()
    return groups


@contextmanager
def _silent(description: str, total: int) -> Iterator[Callable[..., None]]:
    yield lambda *args: None


def _file_of(vectors: npt.NDArray[np.int8], spare: Path) -> tuple[Path, int]:
    """The file that vectors are mapped from and where in it they begin; what is not mapped as a whole is written to `spare`."""
    if isinstance(vectors, np.memmap) and isinstance(vectors.base, mmap.mmap) and vectors.filename:
        return Path(vectors.filename), int(vectors.offset)
    vectors.tofile(spare)
    return spare, 0


def _of_piece(piece: _Piece) -> list[Candidate]:
    """Runs in a worker process."""
    vectors = np.memmap(piece.vectors, np.int8, "r", piece.offset, piece.shape)
    second = Moments(np.asarray(vectors[piece.rows]), piece.times_seconds, piece.video)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(1) as threads:
        return _candidates(_opened(piece.index), second, threads)


@lru_cache(maxsize=1)
def _opened(folder: Path) -> _Index:
    return _Index.load(folder)


# -- hits


_HIT = np.dtype(
    [("pair", np.int64), ("bin", np.int32), ("moment", np.int32), ("score", np.float32), ("scale", np.float32)]
)


@dataclass(frozen=True)
class _Index:
    """The moments of the first set and their mirror images, to be searched for: as they are (`whole`), and a crop of each (`windows`).
    `first` has no vectors any more; `nearest`: how many a moment of the second may look like."""

    first: Moments
    whole: Cells
    windows: Cells
    nearest: int

    @classmethod
    def of(cls, first: Moments, num_others: int) -> _Index:
        """`num_others`: the moments of the second set."""
        both = np.concatenate([first.vectors, mirrored(first.vectors)])
        whole = Cells.of(both[:, 0], num_others * len(WINDOWS))
        windows = Cells.of(both[:, 1:].reshape(-1, both.shape[-1]), num_others)
        bare = Moments(first.vectors[:0], first.times_seconds, first.video)
        return cls(bare, whole, windows, int(np.clip(_ALL_NEAREST / num_others, *_NEAREST)))

    def save(self, folder: Path) -> None:
        """Files for `load`."""
        np.savez(
            folder / "index.npz", times_seconds=self.first.times_seconds, video=self.first.video, nearest=self.nearest
        )
        for name in ("whole", "windows"):
            (folder / name).mkdir()
            getattr(self, name).save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> _Index:
        """What `save` wrote; large arrays are mapped."""
        with np.load(folder / "index.npz") as file:
            bare = Moments(np.zeros((0, len(WINDOWS), 0), np.int8), file["times_seconds"], file["video"])
            nearest = int(file["nearest"])
        return cls(bare, Cells.load(folder / "whole"), Cells.load(folder / "windows"), nearest)

    def hits(self, second: Moments, threads: Executor) -> npt.NDArray[np.void]:
        """One record for every moment of the first that looks like one of the second."""
        starts = range(0, len(second.times_seconds), BLOCK)  # of one video there may be more
        return np.concatenate([hits for start in starts for hits in self._hits(second, start, threads)])

    def _hits(self, second: Moments, start: int, threads: Executor) -> Iterator[npt.NDArray[np.void]]:
        """For: same picture; the first a crop of the second; the second a crop of the first."""
        rows = slice(start, start + BLOCK)
        num_windows, crop = len(WINDOWS) - 1, WINDOWS[1][2]
        crops = [(crop, self.whole, window, 1) for window in range(1, num_windows + 1)]
        relations = [(1.0, self.whole, 0, 1), *crops, (1 / crop, self.windows, 0, num_windows)]

        def records(relation: tuple[float, Cells, int, int]) -> npt.NDArray[np.void]:
            scale, cells, window, per_moment = relation
            pairs = cells.search(second.vectors[rows, window], self.nearest, _FLOOR)
            return self._records(scale, pairs, per_moment, second, start)

        return threads.map(records, relations)

    def _records(
        self, scale: float, pairs: Pairs, per_moment: int, second: Moments, start: int
    ) -> npt.NDArray[np.void]:
        """Which pair of videos (and mirrored or not), which shift in hops."""
        is_mirrored, moment = np.divmod(pairs.mine // per_moment, len(self.first.times_seconds))
        row = start + pairs.other
        hits = np.empty(len(row), _HIT)
        num_seconds = int(second.video[-1]) + 1
        hits["pair"] = 2 * (self.first.video[moment].astype(np.int64) * num_seconds + second.video[row]) + is_mirrored
        hits["bin"] = np.rint((second.times_seconds[row] - self.first.times_seconds[moment]) / HOP_SECONDS)
        hits["moment"], hits["score"], hits["scale"] = moment, pairs.scores, scale
        return hits


# -- votes


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
