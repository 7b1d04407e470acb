"""Do probabilities mean what they say?

In: labels, probabilities of classes, how often each row counts. Out: one number for each set of weights. It is its own file because it is
about the numbers beside a prediction, not the prediction: an encoder can be right more often and know less when it is wrong.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Binning = Literal["adaptive", "equal width"]


def brier(labels: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Array:
    """Half the mean squared distance of probabilities (n, C) from the truth, between 0 and 1 (Brier 1950, who does not halve).

    Halved, it is for two classes the score of the probability of one of them. Weights (..., n); result (...).
    """
    truth, values, counted = _checked(labels, probabilities, weights)
    distance = (values**2).sum(1) - 2 * values[np.arange(len(truth)), truth] + 1
    return (counted @ distance) / (2 * counted.sum(-1))


def calibration_error(
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    num_bins: int = 15,
    binning: Binning = "adaptive",
) -> Array:
    """Expected calibration error of the predicted class: mean over bins of |share that is right - mean probability|, by rows.

    Bins hold equally many rows ("adaptive", Nguyen & O'Connor 2015, arXiv 1508.05154; most rows of a good classifier are near 1, where
    bins of equal width would be one) or are equally wide (Guo et al. 2017, arXiv 1706.04599). They are those of all rows, whatever
    the weights (..., n). A perfect classifier of few rows is not at 0, since chance alone moves each share: compare on the same rows.
    """
    truth, values, counted = _checked(labels, probabilities, weights)
    confidence, is_right = values.max(1), values.argmax(1) == truth
    bins = bins_of(confidence, num_bins, binning)
    in_bin = np.eye(num_bins)[bins]
    gap = np.abs(counted @ (in_bin * (is_right - confidence)[:, None]))
    return gap.sum(-1) / counted.sum(-1)


def bins_of(confidence: Array, num_bins: int, binning: Binning = "adaptive") -> npt.NDArray[np.int64]:
    """The bin 0..num_bins-1 of each row (n,); rows of the same confidence share one."""
    if binning == "equal width":
        ends = np.arange(1, num_bins + 1) / num_bins  # each belongs to the bin below it; 0.7 * 10 would be above 7
        return np.minimum(np.searchsorted(ends, confidence, side="left"), num_bins - 1)
    place = np.searchsorted(np.sort(confidence), confidence, side="left")  # of the first row that is as sure
    return place * num_bins // len(confidence)


def _checked(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.int64], Array, Array]:
    truth, values = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or truth.shape != values.shape[:1]:
        raise ValueError(f"labels {truth.shape} need probabilities (n, C), got {values.shape}")
    if not np.allclose(values.sum(1), 1, atol=1e-4) or values.min() < 0:
        raise ValueError("probabilities must not be negative, and those of a row must sum to 1")
    return truth, values, np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
