"""Embeddings of moments in two dimensions, and how fast they change.

In: pooled embeddings. Out: points, and a name for each axis. It is its own file because UMAP, which many know such maps from, is an
optional package, and its maps show neighbourhoods only: distances in them mean nothing, so PCA is the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.looking.components import principal

Projection = Literal["pca", "umap"]
Numbers = npt.NDArray[np.float32]
_MIN_FOR_UMAP = 10


@dataclass(frozen=True)
class Embedded:
    """`points` (n, 2); `scores` (n, 3) along the first components, for colours; `said`: what the axes are."""

    points: Numbers
    scores: Numbers
    said: str


def embed(pooled: Numbers, projection: Projection) -> Embedded:
    """Embeddings (n, D) of the moments as points. Raises `UserError` where UMAP is not installed or has too little to work with."""
    components = principal(pooled, 3)
    scores = _padded(components.scores(pooled), 3)
    if projection == "umap":
        return Embedded(_umap(pooled), scores, "UMAP: near points are alike; how far apart others lie means nothing")
    shares = [f"{100 * share:.0f} %" for share in _padded(components.shares[None], 2)[0, :2]]
    return Embedded(
        scores[:, :2],
        scores,
        f"first principal component across ({shares[0]} of the variance), second upwards ({shares[1]})",
    )


def change(pooled: Numbers) -> Numbers:
    """1 less the cosine similarity of each embedding with the one before (n,); 0 for the first."""
    unit = pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
    steps = 1 - (unit[1:] * unit[:-1]).sum(1)
    changes: Numbers = np.concatenate(([0.0], steps)).clip(0).astype(np.float32)
    return changes


def _umap(pooled: Numbers) -> Numbers:
    if len(pooled) < _MIN_FOR_UMAP:
        raise UserError(f"--projection umap needs at least {_MIN_FOR_UMAP} moments, there are {len(pooled)}; use pca")
    try:
        from umap import UMAP
    except ImportError:
        raise UserError("--projection umap needs the package umap-learn: pip install 'surgrec[umap]'") from None
    reducer = UMAP(n_components=2, n_neighbors=min(15, len(pooled) - 1), metric="cosine", random_state=0, n_jobs=1)
    points: Numbers = np.asarray(reducer.fit_transform(pooled), np.float32)
    return points


def _padded(values: Numbers, count: int) -> Numbers:
    """Rows with zeros behind, up to `count` columns."""
    missing = max(0, count - values.shape[1])
    return np.pad(values, ((0, 0), (0, missing)))
