"""Hierarchical k-means: clusters of vectors, clusters of their centres, and so on up.

In: vectors and the number of clusters of each level. Out: the path of every vector, from the top level down. It is its own file because
it is mathematics alone; which moments the vectors are of, and where paths are kept, is `clusters`'.

Vo et al. 2024 ("Automatic data curation for self-supervised learning: a clustering-based approach", arXiv 2405.15613): k-means follows
density, so common things would have most clusters. The centres are therefore moved several times by k-means on the few vectors nearest to
each of them, of which every cluster has the same number whatever its size, which spreads centres evenly over what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.core.rng import generator

Vectors = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
ITERATIONS = 25  # of Lloyd's algorithm, at most
ROUNDS, NEAREST = 5, 10  # of moving the centres, by so many vectors of each
_AT_ONCE = 1 << 14  # vectors whose distances to all centres are held in memory


def cluster_paths(
    vectors: Vectors, sizes: Sequence[int], seed: int = 0, tell: Callable[[str], object] = lambda line: None
) -> Integers:
    """The number of its cluster at each level (n, L), the top one first.

    Args:
        vectors: (n, D), taken at unit length.
        sizes: clusters of each level, the lowest and largest first, falling; each at least 1.
        seed: of the beginnings.
        tell: is told what is being done.

    Raises:
        UserError: sizes that do not fall, or more clusters than vectors.
    """
    if not sizes or min(sizes) < 1 or any(above >= below for below, above in pairwise(sizes)):
        raise UserError(f"clusters {list(sizes)} must fall from level to level, such as --clusters 1000 100 10")
    if sizes[0] > len(vectors):
        raise UserError(
            f"{sizes[0]} clusters cannot be made of {len(vectors)} moments; give smaller --clusters, or extract more videos"
        )
    points = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    labels: list[Integers] = []
    for level, size in enumerate(sizes):
        tell(f"level {level + 1} of {len(sizes)}: {size} clusters of {len(points)}")
        points, of_point = _spread(points.astype(np.float32), size, generator(seed, "k-means", level))
        labels.append(of_point)
    paths = [labels[0]]
    for above in labels[1:]:
        paths.append(above[paths[-1]])
    return np.stack(paths[::-1], axis=1)


def _spread(points: Vectors, size: int, chance: np.random.Generator) -> tuple[Vectors, Integers]:
    """Centres (size, D) and the nearest of each point (n,): k-means, then k-means on the vectors nearest to each centre, repeatedly."""
    centres = _lloyd(points, _begin(points, size, chance))
    for _ in range(ROUNDS if len(points) > NEAREST * size else 0):
        nearest, distance = _assign(points, centres)
        order = np.lexsort((distance, nearest))
        place = np.arange(len(order)) - np.searchsorted(nearest[order], nearest[order])
        centres = _lloyd(points[order[place < NEAREST]], centres)
    nearest, _ = _assign(points, centres)
    used, nearest = np.unique(nearest, return_inverse=True)
    return centres[used], nearest.reshape(-1).astype(np.int64)


def _begin(points: Vectors, size: int, chance: np.random.Generator) -> Vectors:
    """k-means++ (Arthur & Vassilvitskii 2007): each centre is a point, drawn by the square of its distance to those before."""
    chosen = [int(chance.integers(len(points)))]
    distance = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    for _ in range(size - 1):
        running = np.cumsum(distance, dtype=np.float64)
        point = (
            int(np.searchsorted(running, chance.random() * running[-1], side="right"))
            if running[-1] > 0
            else len(chosen)
        )
        chosen.append(min(point, len(points) - 1))
        np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1), out=distance)
    return points[chosen]


def _lloyd(points: Vectors, centres: Vectors) -> Vectors:
    """Centres at the mean of what is nearest to them; one that nothing is nearest to goes to the point farthest from its own."""
    before = None
    for _ in range(ITERATIONS):
        nearest, distance = _assign(points, centres)
        if before is not None and np.array_equal(nearest, before):
            break
        before = nearest
        counts = np.bincount(nearest, minlength=len(centres))
        order = np.argsort(nearest, kind="stable")
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        is_full = counts > 0
        moved = centres.copy()
        moved[is_full] = np.add.reduceat(points[order], first[is_full], axis=0) / counts[is_full][:, None]
        empty = np.flatnonzero(~is_full)
        farthest = np.argsort(-distance, kind="stable")[
            : len(empty)
        ]  # fewer where there are few points: then the rest stay
        moved[empty[: len(farthest)]] = points[farthest]
        centres = moved
    return centres


def _assign(points: Vectors, centres: Vectors) -> tuple[Integers, Vectors]:
    """The nearest centre of each point (n,), and the square of its distance."""
    nearest, distance = np.empty(len(points), dtype=np.int64), np.empty(len(points), dtype=np.float32)
    squares = (centres**2).sum(axis=1)
    for first in range(0, len(points), _AT_ONCE):
        part = points[first : first + _AT_ONCE]
        scores = squares - 2.0 * part @ centres.T
        nearest[first : first + _AT_ONCE] = best = scores.argmin(axis=1)
        distance[first : first + _AT_ONCE] = np.take_along_axis(scores, best[:, None], axis=1)[:, 0] + (part**2).sum(
            axis=1
        )
    return nearest, np.maximum(distance, 0.0)
