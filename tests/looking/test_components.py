"""Components: those of the field's own implementation, and one set of colours for all frames."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.looking.components import colours, principal
from surgrec.looking.embedding import change, embed


def values(count: int = 500, width: int = 12, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (draw.normal(size=(count, width)) @ draw.normal(size=(width, width)) + 3).astype(np.float32)


def test_components_are_those_of_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = values()
    ours, theirs = principal(x, 5), decomposition.PCA(5, svd_solver="full").fit(x)
    np.testing.assert_allclose(ours.shares, theirs.explained_variance_ratio_, rtol=1e-4)
    signs = np.sign((ours.axes * theirs.components_).sum(1))
    np.testing.assert_allclose(ours.axes * signs[:, None], theirs.components_, atol=1e-3)
    np.testing.assert_allclose(ours.scores(x) * signs, theirs.transform(x), atol=1e-2)


def test_components_do_not_depend_on_the_sign_that_a_solver_chose() -> None:
    axes = principal(values(), 12).axes
    assert (np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1) > 0).all()


def test_a_feature_has_one_colour_in_all_frames() -> None:
    scores = values(6 * 16, 3).reshape(6, 4, 4, 3)
    scores[5, 2, 1] = scores[0, 3, 3]
    made = colours(scores)
    assert made.dtype == np.uint8 and (made[5, 2, 1] == made[0, 3, 3]).all()
    alone = np.stack([colours(frame) for frame in scores])
    assert (alone[5, 2, 1] != alone[0, 3, 3]).any()  # what colours of each frame by itself would do


def test_colours_of_nothing_are_grey_and_of_few_components_too() -> None:
    assert (colours(np.zeros((2, 4, 4, 3), np.float32)) == 128).all()
    made = colours(values(16, 2).reshape(4, 4, 2))
    assert made.shape == (4, 4, 3) and (made[..., 2] == 128).all() and np.ptp(made[..., 0]) > 100


def test_change_is_between_neighbours() -> None:
    x = np.array([[1, 0], [2, 0], [0, 1], [0, -1]], np.float32)
    np.testing.assert_allclose(change(x), [0, 0, 1, 2], atol=1e-6)
    assert change(x[:1]).tolist() == [0.0]


def test_an_embedding_of_one_moment_is_a_point() -> None:
    made = embed(values(1), "pca")
    assert made.points.shape == (1, 2) and made.scores.shape == (1, 3) and np.isfinite(made.points).all()


def test_umap_needs_moments_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="at least"):
        embed(values(3), "umap")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match="umap-learn"):
        embed(values(30), "umap")


@pytest.mark.slow
def test_umap_keeps_what_is_apart_apart() -> None:
    pytest.importorskip("umap")
    draw = np.random.default_rng(0)
    ends = np.eye(12, dtype=np.float32)[[0, 5]]
    x = (np.repeat(ends, 20, axis=0) + draw.normal(size=(40, 12), scale=0.05)).astype(np.float32)
    points = embed(x, "umap").points
    first, second = points[:20], points[20:]
    within = max(np.linalg.norm(group - group.mean(0), axis=1).max() for group in (first, second))
    assert np.linalg.norm(first.mean(0) - second.mean(0)) > within
    np.testing.assert_array_equal(points, embed(x, "umap").points)
