"""Nearest fingerprints among millions: which moments of one set look like which of another.

In: two sets of unit vectors as signed bytes. Out: for every line of the first, its nearest few in the second. It is its own file
because it is the part whose cost grows with the product of two corpora. Vectors of the first set are sorted into cells of a spherical
k-means, and each of the second is compared with the cells nearest to it (an inverted file, Sivic & Zisserman 2003, "Video Google");
small sets have one cell and are compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.corpus.fingerprint import as_floats

EXACT = 3e10  # pairs up to which everything is compared with everything
_MAX_CELLS = 4096
_ROUNDS = 6  # of k-means
_SAMPLES_PER_CELL = 40
_BLOCK = 1 << 16  # vectors of the second set at a time
_TILE = 1 << 12  # rows and columns of a product

Vectors = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Nearest:
    """The best few of every line of the first set so far: `scores` and `rows` of the second set, (lines, count).

    Scores are cosines, unordered within a line; where `rows` is -1 nothing was found above the floor.
    """

    scores: Floats
    rows: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, num_lines: int, count: int, floor: float) -> Nearest:
        """Nothing found yet; only what is above `floor` will be."""
        return cls(np.full((num_lines, count), floor, np.float32), np.full((num_lines, count), -1, np.int64))

    def offer(self, at: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], scores: Floats) -> None:
        """Keep those of the pairs (`at`, `rows`) that beat the worst kept; `at` may repeat."""
        order = np.argsort(-scores)
        at, rows, scores = at[order], rows[order], scores[order]
        while len(at):
            is_better = scores > self.scores[at].min(axis=1)
            at, rows, scores = at[is_better], rows[is_better], scores[is_better]
            lines, first = np.unique(at, return_index=True)  # of each line the best pair that is left
            slot = self.scores[lines].argmin(axis=1)
            self.scores[lines, slot], self.rows[lines, slot] = scores[first], rows[first]
            at, rows, scores = np.delete(at, first), np.delete(rows, first), np.delete(scores, first)


class Cells:
    """The first set, sorted into cells.

    `num_others`: how many vectors it will be compared with, which decides how many cells. `per_line`: so many vectors in a row
    share a line of a `Nearest`.
    """

    def __init__(self, vectors: Vectors, num_others: int, per_line: int = 1) -> None:
        is_small = len(vectors) * num_others <= EXACT
        count = 1 if is_small else min(_MAX_CELLS, max(1, int(2 * len(vectors) ** 0.5)))
        self._centres = _centres(vectors, count)
        nearest = [(as_floats(block) @ self._centres.T).argmax(axis=1) for _, block in _blocks(vectors)]
        cell = np.concatenate([np.zeros(0, np.int64), *nearest])
        order = np.argsort(cell, kind="stable")
        self._vectors, self._lines = vectors[order], order // per_line
        self._edges = np.searchsorted(cell[order], np.arange(count + 1))

    def search(self, others: Vectors, rows: npt.NDArray[np.int64], into: Nearest, num_probes: int) -> None:
        """Compare `others`, which are the vectors `rows` of the second set, with their `num_probes` nearest cells."""
        for start, block in _blocks(others):
            floats = as_floats(block)
            for cell, chosen in self._visits(floats, num_probes):
                self._compare(cell, floats[chosen], rows[start + chosen], into)

    def _visits(self, floats: Floats, num_probes: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """(cell, which of the vectors are to be compared with it)."""
        count = len(self._centres)
        if num_probes >= count:
            yield from ((cell, np.arange(len(floats))) for cell in range(count))
            return
        cells = np.argpartition(floats @ self._centres.T, count - num_probes, axis=1)[:, count - num_probes :].ravel()
        order = np.argsort(cells, kind="stable")
        edges = np.searchsorted(cells[order], np.arange(count + 1))
        for cell in range(count):
            if edges[cell] < edges[cell + 1]:
                yield cell, order[edges[cell] : edges[cell + 1]] // num_probes

    def _compare(self, cell: int, others: Floats, rows: npt.NDArray[np.int64], into: Nearest) -> None:
        for start in range(self._edges[cell], self._edges[cell + 1], _TILE):
            tile = slice(start, min(start + _TILE, self._edges[cell + 1]))
            lines, mine = self._lines[tile], as_floats(self._vectors[tile])
            bar = into.scores[lines].min(axis=1)
            for first in range(0, len(others), _TILE):
                scores = mine @ others[first : first + _TILE].T
                at, other = np.nonzero(scores > bar[:, None])
                if len(at):
                    into.offer(lines[at], rows[first + other], scores[at, other])
                    bar = into.scores[lines].min(axis=1)


def _blocks(vectors: Vectors) -> Iterator[tuple[int, Vectors]]:
    for start in range(0, len(vectors), _BLOCK):
        yield start, vectors[start : start + _BLOCK]


def _centres(vectors: Vectors, count: int) -> Floats:
    """Spherical k-means on a sample."""
    if count <= 1:
        return np.zeros((1, vectors.shape[-1]), np.float32)
    random = np.random.default_rng(0)
    sample = as_floats(vectors[random.permutation(len(vectors))[: count * _SAMPLES_PER_CELL]])
    centres = sample[:count].copy()
    for _ in range(_ROUNDS):
        cell = (sample @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, cell, sample)
        sizes = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(sizes > 1e-6, sums / np.maximum(sizes, 1e-6), centres).astype(np.float32)
    return centres
