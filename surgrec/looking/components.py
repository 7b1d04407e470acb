"""Principal components of the tokens of a whole video, and the colours that show them.

In: tokens. Out: `Components`, one set for all frames. It is its own file because that is the point of it: components of each frame by
itself would give the same tissue another colour in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MAX_ROWS = 20_000
_CUT = 0.02  # of the values at both ends are outside of what the colours can tell apart

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Components:
    """`mean` (D,); `axes` (K, D), orthonormal, the strongest first; `shares` (K,) of the variance, which sum to at most 1."""

    mean: Numbers
    axes: Numbers
    shares: Numbers

    def scores(self, values: Numbers) -> Numbers:
        """Values (..., D) along the axes: (..., K)."""
        return np.asarray((values - self.mean) @ self.axes.T, np.float32)


def principal(values: Numbers, count: int) -> Components:
    """The first `count` components of values (n, D), or as many as there can be. Of many rows, `_MAX_ROWS` evenly chosen ones decide."""
    rows = values[:: max(1, -(-len(values) // _MAX_ROWS))].astype(np.float64)
    mean = rows.mean(0)
    centred = rows - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    order = np.argsort(-variances)[: min(count, values.shape[1])]
    axes = vectors[:, order].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1)
    axes = axes * np.where(
        largest < 0, -1.0, 1.0
    )  # an eigenvector's sign is arbitrary; fixed, so that a page can be made again
    shares = variances[order].clip(0) / max(float(variances.clip(0).sum()), np.finfo(np.float64).tiny)
    return Components(mean.astype(np.float32), axes.astype(np.float32), shares.astype(np.float32))


def colours(scores: Numbers) -> npt.NDArray[np.uint8]:
    """The first three scores (..., K) as red, green and blue, uint8 (..., 3), each scaled over all values together. Missing ones are
    grey."""
    first = scores[..., :3]
    flat = first.reshape(-1, first.shape[-1])
    low, high = np.quantile(flat, _CUT, axis=0), np.quantile(flat, 1 - _CUT, axis=0)
    spread = high - low
    parts = np.where(spread > 1e-12, (first - low) / np.maximum(spread, 1e-12), 0.5)
    whole = np.full((*first.shape[:-1], 3), 0.5)
    whole[..., : first.shape[-1]] = parts.clip(0, 1)
    return (whole * 255).round().astype(np.uint8)
