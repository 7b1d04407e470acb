"""Where else in a corpus it looks like this.

In: embeddings of some moments, and the features that `surgrec extract` wrote with the same weights. Out: the nearest windows of other
videos. It is its own file because features of another model, or of other preprocessing, have the same shape and no meaning here: they are
refused.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from surgrec.core.console import progress
from surgrec.core.errors import UserError
from surgrec.features.store import FeatureStore, open_store

_BINS = 1000  # of similarities from 0 to 1

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True, order=True)
class Neighbour:
    """A window of another video, and the cosine similarity of its mean token to that of the query."""

    similarity: float
    video_id: str
    start_seconds: float
    end_seconds: float

    @property
    def middle_seconds(self) -> float:
        return (self.start_seconds + self.end_seconds) / 2


def open_features(path: Path, model_sha256: str, preprocessing: dict[str, Any]) -> FeatureStore:
    """The store in `path`. Raises `UserError` where its features come from other weights, another preprocessing, or not from the
    encoder's output."""
    store = open_store(path)
    differing = [
        name
        for name, mine in (("model_sha256", model_sha256), ("preprocessing", preprocessing))
        if getattr(store.origin, name) != mine
    ]
    if differing:
        raise UserError(
            f"--features {path} holds features of another model ({', '.join(differing)} differ); "
            "run surgrec extract with this release into another folder"
        )
    num_axes = len(store.origin.feature_shape)
    if num_axes != (1 if store.origin.layout == "pooled" else 2):
        raise UserError(
            f"--features {path} holds features of named layers; run surgrec extract without naming any, into another folder"
        )
    return store


@dataclass(frozen=True)
class Nearest:
    """`rows`: for each query its nearest windows, the most similar first; `num_windows` of `num_videos` were compared; `median` of all
    these similarities, to the thousandth: what is above it by little is not near."""

    rows: list[list[Neighbour]]
    num_windows: int
    num_videos: int
    median: float


def nearest(store: FeatureStore, queries: Numbers, count: int, without: Collection[str] = ()) -> Nearest:
    """For each query (q, D) the `count` most similar windows, one a video at most, of videos not in `without`. Windows that are not valid
    are passed over. One video is in memory at a time.
    """
    unit = _unit(queries)
    best: list[list[Neighbour]] = [[] for _ in queries]
    histogram = np.zeros(2 * _BINS + 1, np.int64)
    names = sorted(store.video_ids() - set(without))
    num_windows = num_videos = 0
    with progress("comparing videos", len(names)) as advance:
        for name in names:
            found = store.read(name)
            valid = np.flatnonzero(found.is_valid)
            advance()
            if not len(valid):
                continue
            num_windows, num_videos = num_windows + len(valid), num_videos + 1
            similarities = unit @ _unit(_pooled(found.features[valid], queries.shape[1])).T
            bins = np.round((similarities.clip(-1, 1) + 1) * _BINS).astype(np.int64)
            histogram += np.bincount(bins.ravel(), minlength=len(histogram))
            for heap, row in zip(best, similarities, strict=True):
                window = valid[int(row.argmax())]
                start, end = float(found.start_seconds[window]), float(found.end_seconds[window])
                heapq.heappush(heap, Neighbour(float(row.max()), name, start, end))
                if len(heap) > count:
                    heapq.heappop(heap)
    middle = int(np.searchsorted(histogram.cumsum(), histogram.sum() / 2))
    rows = [sorted(heap, key=lambda one: (-one.similarity, one.video_id)) for heap in best]
    return Nearest(rows, num_windows, num_videos, middle / _BINS - 1)


def _pooled(features: npt.NDArray[np.floating], width: int) -> Numbers:
    """Features (n, ..., D) of any layout to the mean over all but the width (n, D)."""
    if features.shape[-1] != width:
        raise UserError(
            f"--features hold {features.shape[-1]} values a token, the encoder makes {width}; extract them anew"
        )
    pooled: Numbers = features.astype(np.float32).reshape(len(features), -1, width).mean(1)
    return pooled


def _unit(vectors: Numbers) -> Numbers:
    unit: Numbers = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return unit
