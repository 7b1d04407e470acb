"""Nearest vectors: the exact way equals its definition, the quick way finds nearly the same."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus import neighbours
from surgrec.corpus.neighbours import Cells, Pairs


def vectors(random, count: int) -> np.ndarray:
    """Clustered, as moments of the same procedure are."""
    centres = random.normal(size=(40, 99))
    floats = centres[random.integers(0, 40, count)] + 0.7 * random.normal(size=(count, 99))
    floats /= np.linalg.norm(floats, axis=1, keepdims=True)
    return np.clip(np.rint(256 * floats), -127, 127).astype(np.int8)


def search(mine: np.ndarray, others: np.ndarray, count: int, floor: float) -> Pairs:
    return Cells.of(mine, len(others)).search(others, count, floor)


def cosines(mine: np.ndarray, others: np.ndarray) -> np.ndarray:
    one, other = (array / np.linalg.norm(array.astype(float), axis=1, keepdims=True) for array in (mine, others))
    return one @ other.T


@pytest.mark.parametrize("tile", [64, 1024])
def test_small_sets_are_compared_exactly(monkeypatch, tile):
    monkeypatch.setattr(neighbours, "_TILE", tile)
    random = np.random.default_rng(0)
    mine, others = vectors(random, 200), vectors(random, 300)
    found = search(mine, others, 5, 0.3)
    expected = cosines(mine, others)
    np.testing.assert_allclose(found.scores, expected[found.mine, found.other], atol=1e-5)
    for other in range(300):
        best = np.argsort(-expected[:, other])[:5]
        assert found.mine[found.other == other].tolist() == [row for row in best.tolist() if expected[row, other] > 0.3]


def test_the_tree_finds_nearly_all_of_what_is_really_near(monkeypatch):
    monkeypatch.setattr(neighbours, "BUDGET", 1e5)
    random = np.random.default_rng(2)
    mine, others = vectors(random, 3000), vectors(random, 4000)
    noisy = np.clip(mine[:1000] + random.normal(0, 12, (1000, 99)), -127, 127)  # cosine about 0.9
    others[2000:3000] = np.rint(noisy).astype(np.int8)
    found = search(mine, others, 8, 0.3)
    pairs = set(zip(found.other.tolist(), found.mine.tolist(), strict=True))
    assert sum((2000 + number, number) in pairs for number in range(1000)) > 950
    np.testing.assert_allclose(found.scores, cosines(mine, others)[found.mine, found.other], atol=1e-5)


def test_vectors_without_length_are_like_nothing():
    mine = np.zeros((4, 99), np.int8)
    assert len(search(mine, vectors(np.random.default_rng(3), 5), 3, 0.1).other) == 0
    assert len(search(vectors(np.random.default_rng(3), 5), mine, 3, 0.1).other) == 0


def test_nothing_to_compare_with_finds_nothing():
    empty = np.zeros((0, 99), np.int8)
    assert len(search(vectors(np.random.default_rng(3), 5), empty, 3, 0.1).other) == 0
    assert len(search(empty, vectors(np.random.default_rng(3), 5), 3, 0.1).other) == 0
