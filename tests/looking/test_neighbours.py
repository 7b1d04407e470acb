"""Neighbours: what brute force finds, of other videos, and of the same model only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.features.origin import Origin
from surgrec.features.store import FeatureStore, claim_store
from surgrec.features.windows import WindowFeatures
from surgrec.looking.neighbours import nearest, open_features

PREPROCESSING: dict[str, Any] = {"num_frames": 4}
NAMES = ("a_1", "a_2", "b_1", "b_2")
SHAPES = {"pooled": (8,), "time": (2, 8), "all": (6, 8)}


def filled(path: Path, layout: str = "pooled", model: str = "f" * 64) -> FeatureStore:
    origin = Origin(model, PREPROCESSING, layout, SHAPES[layout], 1.0, 1.0)
    store = claim_store(path, "parquet", origin)
    for number, name in enumerate(NAMES):
        count = 5 + number
        draw = np.random.default_rng(number)
        features = draw.normal(size=(count, *SHAPES[layout])).astype(np.float32) + 0.5
        is_valid = np.arange(count) != 2
        features[~is_valid] = np.nan
        start = np.arange(count, dtype=float)
        with store.writer(name, count) as writer:
            writer.append(WindowFeatures(start, start + 1, is_valid, np.zeros(count, bool), features))
    return store


def brute(store: FeatureStore, query: np.ndarray, without: set[str]) -> list[tuple[float, str, float]]:
    """The best window of each video, the most similar video first."""
    best = []
    for name in sorted(store.video_ids() - without):
        found = store.read(name)
        pairs = []
        for feature, start, is_valid in zip(found.features, found.start_seconds, found.is_valid, strict=True):
            if is_valid:
                mean = feature.reshape(-1, 8).mean(0)
                pairs.append((float(mean @ query / np.linalg.norm(mean) / np.linalg.norm(query)), name, float(start)))
        best.append(max(pairs))
    return sorted(best, reverse=True)


@pytest.mark.parametrize("layout", SHAPES)
def test_what_brute_force_finds(tmp_path: Path, layout: str) -> None:
    store = filled(tmp_path / "features", layout)
    queries = np.random.default_rng(9).normal(size=(3, 8)).astype(np.float32)
    made = nearest(store, queries, 2, without={"a_2"})
    assert made.num_videos == 3 and made.num_windows == (5 + 7 + 8) - 3
    for query, row in zip(queries, made.rows, strict=True):
        wanted = brute(store, query, {"a_2"})[:2]
        assert [(one.video_id, one.start_seconds) for one in row] == [(name, start) for _, name, start in wanted]
        np.testing.assert_allclose([one.similarity for one in row], [value for value, *_ in wanted], atol=1e-5)


def test_the_median_is_that_of_all_pairs(tmp_path: Path) -> None:
    store = filled(tmp_path / "features")
    queries = np.random.default_rng(9).normal(size=(3, 8)).astype(np.float32)
    every = []
    for name in NAMES:
        found = store.read(name)
        good = found.features[found.is_valid]
        every.append((queries @ good.T) / np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(good, axis=1)))
    assert nearest(store, queries, 1).median == pytest.approx(np.median(np.concatenate(every, axis=1)), abs=0.03)


def test_features_of_another_model_or_preprocessing_are_refused(tmp_path: Path) -> None:
    filled(tmp_path / "features")
    assert open_features(tmp_path / "features", "f" * 64, PREPROCESSING).video_ids() == set(NAMES)
    with pytest.raises(UserError, match="model_sha256"):
        open_features(tmp_path / "features", "e" * 64, PREPROCESSING)
    with pytest.raises(UserError, match="preprocessing"):
        open_features(tmp_path / "features", "f" * 64, {"num_frames": 8})
    with pytest.raises(UserError, match="holds no features"):
        open_features(tmp_path, "f" * 64, PREPROCESSING)


def test_features_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="8 values"):
        nearest(filled(tmp_path / "features"), np.ones((1, 9), np.float32), 1)


def test_features_of_named_layers_are_refused(tmp_path: Path) -> None:
    claim_store(tmp_path / "features", "parquet", Origin("f" * 64, PREPROCESSING, "pooled", (3, 8), 1.0, 1.0))
    with pytest.raises(UserError, match="named layers"):
        open_features(tmp_path / "features", "f" * 64, PREPROCESSING)
