"""Simulated test sets for `coverage.py`: patients of unequal size and difficulty, and two encoders that answer their rows.

In: what kind of patients, how the encoders differ, a generator. Out: confusion matrices of each patient, and the values that a metric has
in the population. It is its own file because a claim on coverage is a claim on these patients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from surgrec.core.rng import generator
from surgrec.evaluation.metrics import Metric, accuracy, balanced_accuracy, macro_f1

Array = npt.NDArray[np.float64]
METRICS: dict[str, Metric] = {"accuracy": accuracy, "balanced accuracy": balanced_accuracy, "macro-F1": macro_f1}
POPULATION = 180_000


@dataclass(frozen=True)
class Kind:
    """`prevalence` of classes; `evenness`: how alike the mixes of patients are; median rows of a patient, and the deviation of their log;
    log-odds of being right by class; deviations of a patient's difficulty, overall and by class."""

    prevalence: tuple[float, ...]
    evenness: float
    rows: float
    spread: float
    log_odds: tuple[float, ...]
    of_patient: float
    of_class: float


KINDS = {
    "phases": Kind(
        (0.30, 0.22, 0.16, 0.12, 0.10, 0.06, 0.04), 10, 33, 0.6, (1.6, 1.2, 0.8, 0.6, 0.4, 0.2, 0.0), 0.6, 0.6
    ),
    "findings": Kind((0.5, 0.25, 0.15, 0.1), 1.5, 17, 0.9, (1.5, 0.8, 0.5, 0.2), 0.8, 0.5),
    "easy": Kind((0.7, 0.3), 4, 25, 0.6, (3.0, 2.2), 0.8, 0.4),
}


@dataclass(frozen=True)
class Pair:
    """How the second encoder differs: better by `shift` log-odds, patients' effects on it larger by `scale`; both share `shared` of these.
    `num_seeds` trainings, whose deviations are `of_seed` for all patients alike and `of_meeting` for each patient."""

    shift: float = 0.0
    scale: float = 1.0
    shared: float = 0.7
    num_seeds: int = 1
    of_seed: float = 0.0
    of_meeting: float = 0.0


def draw(draws: np.random.Generator, kind: Kind, pair: Pair, num_experiments: int, num_groups: int) -> Array:
    """Confusion matrices (2, S, X, G, C, C) of two encoders on the same rows."""
    shape, num_classes = (num_experiments, num_groups), len(kind.prevalence)
    prevalence = np.array(kind.prevalence)
    sizes = np.maximum(3, np.rint(kind.rows * np.exp(kind.spread * draws.standard_normal(shape)))).astype(np.int64)
    mix = draws.standard_gamma(prevalence * kind.evenness, (*shape, num_classes)) + 1e-12
    of_class = draws.multinomial(sizes, mix / mix.sum(-1, keepdims=True))
    wrong = np.tile(prevalence, (num_classes, 1)) * (1 - np.eye(num_classes))
    wrong /= wrong.sum(1, keepdims=True)

    def effects() -> Array:
        whole = kind.of_patient * draws.standard_normal((*shape, 1))
        return whole + kind.of_class * draws.standard_normal((*shape, num_classes))

    common = effects()
    encoders = []
    for number in range(2):
        own = np.sqrt(pair.shared) * common + np.sqrt(1 - pair.shared) * effects()
        base = np.array(kind.log_odds) + number * pair.shift + (pair.scale if number else 1.0) * own
        seeds = []
        for _ in range(pair.num_seeds):
            luck = pair.of_seed * draws.standard_normal((num_experiments, 1, 1))
            luck = luck + pair.of_meeting * draws.standard_normal((*shape, 1))
            right = draws.binomial(of_class, 1 / (1 + np.exp(-(base + luck))))
            counts = draws.multinomial(of_class - right, wrong)
            counts[..., range(num_classes), range(num_classes)] = right
            seeds.append(counts)
        encoders.append(seeds)
    return np.array(encoders, dtype=np.float64)


@lru_cache
def population(kind: Kind, pair: Pair) -> Array:
    """Values (2, metrics) of `POPULATION` patients; of all seeds, as the mean over their deviation by Gauss and Hermite's rule."""
    nodes, shares = np.polynomial.hermite_e.hermegauss(9 if pair.of_seed else 1)
    draws, values = generator(0, "population"), np.zeros((2, len(METRICS)))
    for node, share in zip(pair.of_seed * nodes, shares / shares.sum(), strict=True):
        moved = replace(kind, log_odds=tuple(value + node for value in kind.log_odds))
        still = replace(pair, num_seeds=1, of_seed=0.0)
        rounds = POPULATION // 10_000 // len(nodes)
        total = sum(draw(draws, moved, still, 1, 10_000)[:, 0, 0].sum(1) for _ in range(rounds))
        values += share * np.stack([metric(total) for metric in METRICS.values()], -1)  # type: ignore[arg-type]
    return values


def equally_accurate(kind: Kind, scale: float, shared: float) -> Pair:
    """A second encoder that differs in kind and has the accuracy of the first."""
    low, high = -1.0, 1.0
    for _ in range(12):
        pair = Pair((low + high) / 2, scale, shared)
        first, second = draw(generator(0, "equally accurate"), kind, pair, 1, 20_000)[:, 0, 0].sum(1)
        low, high = (pair.shift, high) if accuracy(second) < accuracy(first) else (low, pair.shift)
    return pair
