"""Nearest fingerprints among millions: which moments of one set look like which of another.

In: two sets of unit vectors as signed bytes. Out: for every vector of the second set, its nearest few in the first. It is its own file
because it is the part whose cost grows with the product of two corpora. The first set, the smaller one, is sorted into the leaves of a
tree of two levels of spherical k-means (Nister & Stewenius 2006, "Scalable recognition with a vocabulary tree"); vectors of the second
are compared with the leaves nearest to them, and may come from a disk, a block at a time. Small sets have one leaf and are compared
exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgrec.corpus.fingerprint import as_floats, lengths

BUDGET = 3e10  # products of two vectors that one set is worth: up to so many, everything is compared with everything
_MAX_BRANCHES = 128  # of the tree's root and of each of its children
_ROUNDS = 6  # of k-means
_SAMPLES_PER_LEAF = 20
PROBES = (2, 2)  # branches, and leaves of each, that a vector is compared with
BLOCK = 1 << 19  # vectors of the second set at a time
_TILE = 1 << 10  # rows and columns of a product, which then stays in the processor's cache
_OTHER_BITS, _SCORE_BITS = 20, 24  # of a key to sort by: number in the block, and what the cosine lacks of 1

Vectors = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of vectors that look alike, (n,) each: index into the second set (ascending), index into the first, cosine."""

    other: Integers
    mine: Integers
    scores: Floats


_ARRAYS = ("vectors", "lengths", "order", "edges", "root", "children", "child_edges")


class Cells:
    """The first set, sorted into leaves.

    `vectors` (n, 99) leaf after leaf, their `lengths` (n,) and places in the set, `order` (n,); leaf i begins at `edges[i]`.
    `root` (b, 99): centres of the branches; `children` (c, 99): centres of the leaves, those of branch i from `child_edges[i]`.
    """

    def __init__(
        self, vectors: Vectors, lengths: Floats, order: Integers, edges: Integers, root: Floats, children: Floats,
        child_edges: Integers,
    ) -> None:  # fmt: skip
        self._vectors, self._lengths, self._order, self._edges = vectors, lengths, order, edges
        self._root, self._children, self._child_edges = root, children, child_edges
        self._mine_bits = max(1, len(vectors).bit_length())
        self._score_bits = min(_SCORE_BITS, 63 - _OTHER_BITS - self._mine_bits)
        self._other_shift = self._mine_bits + self._score_bits

    @classmethod
    def of(cls, vectors: Vectors, num_others: int) -> Cells:
        """Sort `vectors`. `num_others`: how many vectors they will be compared with; the more, the more leaves."""
        num_pairs = float(len(vectors)) * num_others
        is_small = num_pairs <= BUDGET
        branches = 1 if is_small else min(_MAX_BRANCHES, math.ceil(math.sqrt(math.prod(PROBES) * num_pairs / BUDGET)))
        root, children = _tree(vectors, branches)
        child_edges = np.cumsum([0, *map(len, children)])
        empty = np.zeros(0, np.int64)
        routing = cls(vectors[:0], np.zeros(0, np.float32), empty, empty, root, np.concatenate(children), child_edges)
        leaf, long = np.zeros(len(vectors), np.int64), np.zeros(len(vectors), np.float32)
        for start in range(0, len(vectors), BLOCK):
            block = vectors[start : start + BLOCK].astype(np.float32)
            long[start : start + BLOCK] = np.maximum(lengths(block), 1e-6)
            for number, members in routing._visits(block, 1, 1):
                leaf[start + members] = number
        order = np.argsort(leaf.astype(np.uint16), kind="stable")
        edges = np.searchsorted(leaf[order], np.arange(child_edges[-1] + 1))
        return cls(vectors[order], long[order], order, edges, root, routing._children, child_edges)

    def save(self, folder: Path) -> None:
        """A file of each array, for `load`."""
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, f"_{name}"))

    @classmethod
    def load(cls, folder: Path) -> Cells:
        """What `save` wrote, mapped."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS))

    def search(self, others: Vectors, count: int, floor: float) -> Pairs:
        """Of each of `others` the `count` nearest, of those above the cosine `floor` (0 or more); at most a block of them at a time."""
        floats = as_floats(others)
        pieces = [
            keys
            for cell, chosen in self._visits(floats, *PROBES)
            for keys in self._compare(cell, floats, chosen, floor)
        ]
        keys = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
        keys.sort()  # one number, which is all that is known of a pair, is sorted many times as fast as an order is found
        other = keys >> self._other_shift
        best = np.ones(len(keys), np.bool_)
        best[count:] = other[count:] != other[:-count]
        keys = keys[best]
        falling = (keys >> self._mine_bits) & ((1 << self._score_bits) - 1)
        mine = keys & ((1 << self._mine_bits) - 1)
        return Pairs(other[best], self._order[mine], (1 - falling / 2.0**self._score_bits).astype(np.float32))

    def _visits(self, floats: Floats, num_branches: int, num_leaves: int) -> Iterator[tuple[int, Integers]]:
        """(leaf, which of the vectors are near it): of the nearest branches, the nearest leaves of each."""
        for branch, members in _nearest(floats, self._root, num_branches):
            first, last = self._child_edges[branch : branch + 2]
            for leaf, chosen in _nearest(floats[members], self._children[first:last], num_leaves):
                yield int(first) + leaf, members[chosen]

    def _compare(self, cell: int, floats: Floats, chosen: Integers, floor: float) -> Iterator[Integers]:
        """Keys of pairs above `floor`, to sort by: which of the vectors, how far its cosine is below 1, and which of the leaf's."""
        for start in range(self._edges[cell], self._edges[cell + 1], _TILE):
            tile = slice(start, min(start + _TILE, self._edges[cell + 1]))
            mine, long = self._vectors[tile].astype(np.float32).T, self._lengths[tile]
            for first in range(0, len(chosen), _TILE):
                others = chosen[first : first + _TILE]
                products = floats[others] @ mine
                hits = np.flatnonzero(products > floor * long)  # far quicker than by two indices at once
                if len(hits):
                    row, column = np.divmod(hits, len(long))
                    below = np.maximum(1 - products.ravel()[hits] / long[column], 0) * 2.0**self._score_bits
                    falling = np.minimum(below.astype(np.int64), (1 << self._score_bits) - 1)
                    yield (others[row] << self._other_shift) | (falling << self._mine_bits) | (start + column)


def _nearest(floats: Floats, centres: Floats, count: int) -> Iterator[tuple[int, Integers]]:
    """(centre, which of the vectors have it among their `count` nearest), for centres that have any."""
    if count >= len(centres):
        yield from ((number, np.arange(len(floats))) for number in range(len(centres)))
        return
    narrow = np.uint8 if len(centres) <= 256 else np.int64  # bytes are sorted by counting
    chosen = np.empty((count, len(floats)), narrow)
    for start in range(0, len(floats), 2 * _TILE):
        rows = slice(start, start + 2 * _TILE)
        scores = floats[rows] @ centres.T
        for place in range(count):  # a maximum at a time: twice is still quicker than sorting in part
            chosen[place, rows] = best = scores.argmax(axis=1)
            scores[np.arange(len(best)), best] = -np.inf
    order = np.argsort(chosen.ravel(), kind="stable")
    edges = np.r_[0, np.cumsum(np.bincount(chosen.ravel(), minlength=len(centres)))]
    for number in np.flatnonzero(np.diff(edges)):
        yield int(number), order[edges[number] : edges[number + 1]] % len(floats)


def _tree(vectors: Vectors, branches: int) -> tuple[Floats, list[Floats]]:
    """Centres of the branches (b, 99), and of the leaves of each."""
    if branches <= 1:
        centre = np.zeros((1, vectors.shape[-1]), np.float32)
        return centre, [centre]
    random = np.random.default_rng(0)
    sample = as_floats(vectors[np.sort(random.permutation(len(vectors))[: branches**2 * _SAMPLES_PER_LEAF])])
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
