"""Small tasks for the tests of protocols."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NUM_CLASSES = 3
NUM_CASES, PER_CASE = 20, 12
GROUPS = np.repeat([f"case{number:02d}" for number in range(NUM_CASES)], PER_CASE)
LABELS = np.random.default_rng(1).choice(NUM_CLASSES, len(GROUPS), p=(0.5, 0.3, 0.2))


def features(signal: float, seed: int = 0, width: int = 6) -> Tensor:
    """Noise (n, D), and in its first columns the label, `signal` deviations high."""
    values = np.random.default_rng(seed).normal(size=(len(LABELS), width))
    values[np.arange(len(LABELS)), LABELS] += signal
    return torch.from_numpy(values).float()
