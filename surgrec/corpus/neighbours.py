"""Nearest fingerprints among millions: which moments of one set look like which of another.

In: two sets of unit vectors as signed bytes. Out: for every line of the first, its nearest few in the second. It is its own file
because it is the part whose cost grows with the product of two corpora. The first set is sorted into the cells of a tree of two levels of
spherical k-means (Nister & Stewenius 2006, "Scalable recognition with a vocabulary tree"), and each vector of the second is compared with
the cells nearest to it. Small sets have one cell and are compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.corpus.fingerprint import as_floats

EXACT = 3e10  # pairs up to which everything is compared with everything
_MAX_BRANCHES = 64  # of the tree's root and of each of its children
_ROUNDS = 6  # of k-means
_SAMPLES_PER_CELL = 20
_PROBES = (2, 2)  # branches, and leaves of each, that a vector is compared with
_BLOCK = 1 << 18  # vectors of the second set at a time
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
        branches = 1 if is_small else min(_MAX_BRANCHES, max(1, int((2 * len(vectors) ** 0.5) ** 0.5)))
        self._root, self._children = _tree(vectors, branches)
        self._branches = branches
        cell = np.zeros(len(vectors), np.int64)
        for start, block in _blocks(vectors):
            for number, members in self._visits(as_floats(block), 1, 1):
                cell[start + members] = number
        order = np.argsort(cell, kind="stable")
        self._vectors, self._lines = vectors[order], order // per_line
        self._edges = np.searchsorted(cell[order], np.arange(branches**2 + 1))

    def search(self, others: Vectors, rows: npt.NDArray[np.int64], into: Nearest) -> None:
        """Compare `others`, which are the vectors `rows` of the second set, with the cells nearest to them."""
        for start, block in _blocks(others):
            floats = as_floats(block)
            for cell, chosen in self._visits(floats, *_PROBES):
                self._compare(cell, floats[chosen], rows[start + chosen], into)

    def _visits(
        self, floats: Floats, num_branches: int, num_leaves: int
    ) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
        """(cell, which of the vectors are near it): of the nearest branches, the nearest leaves of each."""
        for branch, members in _nearest(floats, self._root, num_branches):
            for leaf, chosen in _nearest(floats[members], self._children[branch], num_leaves):
                yield branch * self._branches + leaf, members[chosen]

    def _compare(self, cell: int, others: Floats, rows: npt.NDArray[np.int64], into: Nearest) -> None:
        for start in range(self._edges[cell], self._edges[cell + 1], _TILE):
            tile = slice(start, min(start + _TILE, self._edges[cell + 1]))
            lines, mine = self._lines[tile], as_floats(self._vectors[tile])
            bar = into.scores[lines].min(axis=1)
            for first in range(0, len(others), _TILE):
                scores = mine @ others[first : first + _TILE].T
                hits = np.flatnonzero(scores > bar[:, None])  # far quicker than by two indices at once
                if len(hits):
                    at, other = np.divmod(hits, scores.shape[1])
                    into.offer(lines[at], rows[first + other], scores[at, other])
                    bar = into.scores[lines].min(axis=1)


def _blocks(vectors: Vectors) -> Iterator[tuple[int, Vectors]]:
    for start in range(0, len(vectors), _BLOCK):
        yield start, vectors[start : start + _BLOCK]


def _nearest(floats: Floats, centres: Floats, count: int) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """(centre, which of the vectors have it among their `count` nearest), for centres that have any."""
    if count >= len(centres):
        yield from ((number, np.arange(len(floats))) for number in range(len(centres)))
        return
    scores = floats @ centres.T
    if count == 1:
        chosen = scores.argmax(axis=1)
    else:
        chosen = np.argpartition(scores, len(centres) - count, axis=1)[:, len(centres) - count :].ravel()
    order = np.argsort(chosen, kind="stable")
    edges = np.searchsorted(chosen[order], np.arange(len(centres) + 1))
    for number in np.flatnonzero(np.diff(edges)):
        yield int(number), order[edges[number] : edges[number + 1]] // count


def _tree(vectors: Vectors, branches: int) -> tuple[Floats, list[Floats]]:
    """Centres of the branches (b, 99), and of the leaves of each."""
    if branches <= 1:
        centre = np.zeros((1, vectors.shape[-1]), np.float32)
        return centre, [centre]
    random = np.random.default_rng(0)
    sample = as_floats(vectors[np.sort(random.permutation(len(vectors))[: branches**2 * _SAMPLES_PER_CELL])])
    sample = sample[random.permutation(len(sample))]
    root = _k_means(sample, branches)
    nearest = (sample @ root.T).argmax(axis=1)
    return root, [_k_means(sample[nearest == branch], branches) for branch in range(branches)]


def _k_means(sample: Floats, count: int) -> Floats:
    """Spherical k-means; fewer centres where there are fewer vectors."""
    centres = sample[:count].copy()
    for _ in range(_ROUNDS):
        for number, members in _nearest(sample, centres, 1):
            total = sample[members].sum(axis=0)
            centres[number] = total / max(float(np.linalg.norm(total)), 1e-6)
    return centres if len(centres) else np.zeros((1, sample.shape[1]), np.float32)
