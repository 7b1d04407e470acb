"""Nearest vectors: the exact way equals its definition, the quick way finds nearly the same."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus import neighbours
from surgrec.corpus.neighbours import Cells, Nearest


def vectors(random, count: int) -> np.ndarray:
    """Clustered, as moments of the same procedure are."""
    centres = random.normal(size=(40, 99))
    floats = centres[random.integers(0, 40, count)] + 0.7 * random.normal(size=(count, 99))
    floats /= np.linalg.norm(floats, axis=1, keepdims=True)
    return np.clip(np.rint(256 * floats), -127, 127).astype(np.int8)


def search(mine: np.ndarray, others: np.ndarray, count: int, floor: float, per_line: int = 1) -> Nearest:
    found = Nearest.empty(len(mine) // per_line, count, floor)
    Cells(mine, len(others), per_line).search(others, np.arange(len(others)) + 1000, found)
    return found


def cosines(mine: np.ndarray, others: np.ndarray) -> np.ndarray:
    one, other = (array / np.linalg.norm(array.astype(float), axis=1, keepdims=True) for array in (mine, others))
    return one @ other.T


def test_small_sets_are_compared_exactly():
    random = np.random.default_rng(0)
    mine, others = vectors(random, 200), vectors(random, 300)
    found = search(mine, others, 5, 0.3)
    expected = cosines(mine, others)
    for line in range(200):
        rows = found.rows[line][found.rows[line] >= 0] - 1000
        best = np.argsort(-expected[line])[:5]
        assert set(rows.tolist()) == {row for row in best.tolist() if expected[line, row] > 0.3}
        np.testing.assert_allclose(found.scores[line][found.rows[line] >= 0], expected[line, rows], atol=1e-5)


def test_vectors_of_a_line_share_its_places():
    random = np.random.default_rng(1)
    mine, others = vectors(random, 60), vectors(random, 100)
    found = search(mine, others, 4, -2.0, per_line=3)
    expected = cosines(mine, others).reshape(20, -1)
    best = np.sort(expected, axis=1)[:, -4:]
    np.testing.assert_allclose(np.sort(found.scores, axis=1), best, atol=1e-5)


@pytest.mark.parametrize("pieces", [1, 7])
def test_the_tree_finds_nearly_all_of_what_is_really_near(monkeypatch, pieces):
    monkeypatch.setattr(neighbours, "EXACT", 0)
    random = np.random.default_rng(2)
    mine, others = vectors(random, 3000), vectors(random, 4000)
    noisy = np.clip(mine[:1000] + random.normal(0, 12, (1000, 99)), -127, 127)  # cosine about 0.9
    others[2000:3000] = np.rint(noisy).astype(np.int8)
    found = Nearest.empty(3000, 8, 0.3)
    cells = Cells(mine, len(others))
    for piece in np.array_split(np.arange(4000), pieces):
        cells.search(others[piece], piece, found)
    is_found = (found.rows[:1000] == (np.arange(1000) + 2000)[:, None]).any(axis=1)
    assert is_found.mean() > 0.95
    expected = cosines(mine, others)
    line, slot = np.nonzero(found.rows >= 0)
    np.testing.assert_allclose(found.scores[line, slot], expected[line, found.rows[line, slot]], atol=1e-5)


def test_nothing_to_compare_with_finds_nothing():
    empty = np.zeros((0, 99), np.int8)
    assert (search(vectors(np.random.default_rng(3), 5), empty, 3, 0.1).rows == -1).all()
    assert search(empty, vectors(np.random.default_rng(3), 5), 3, 0.1).rows.shape == (0, 3)
