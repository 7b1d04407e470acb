"""Scores by name over seeds, and the alarms beside them."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.frozen import HeldOut
from surgrec.evaluation.scores import LOWER_IS_BETTER, OF_COUNTS, OF_PROBABILITIES, alarms, difference, score

LABELS = np.random.default_rng(0).integers(0, 3, 360)
GROUPS = np.array([f"case-{row // 24:02d}" for row in range(360)])


def result(signal: float, seed: int, groups: np.ndarray = GROUPS) -> HeldOut:
    logits = np.random.default_rng(seed).normal(size=(len(LABELS), 3))
    logits[np.arange(len(LABELS)), LABELS] += signal
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return HeldOut(LABELS, probabilities.argmax(1), groups, 3, probabilities)


def always(label: int) -> HeldOut:
    return HeldOut(LABELS, np.full(len(LABELS), label), GROUPS, 3)


@pytest.mark.parametrize("name", [*OF_COUNTS, *OF_PROBABILITIES])
def test_every_metric_has_an_interval_and_tells_signal_from_noise(name) -> None:
    good, noise = ([result(signal, seed) for seed in range(3)] for signal in (2.5, 0.0))
    interval = score(good, name)
    assert 0 <= interval.low < interval.estimate < interval.high <= 1
    apart = difference(good, noise, name)
    assert apart.estimate == pytest.approx(interval.estimate - score(noise, name).estimate)
    assert (apart.high < 0) if name in LOWER_IS_BETTER else (apart.low > 0)


def test_one_seed_is_what_held_out_says() -> None:
    one = result(1.0, 0)
    metric = OF_COUNTS["macro-F1"]
    assert score([one], "macro-F1") == one.score(metric)
    assert difference([one], [always(1)], "macro-F1") == one.minus(always(1), metric)


def test_what_is_missing_or_differs_is_told() -> None:
    with pytest.raises(UserError, match="choose of accuracy"):
        score([always(0)], "acuracy")
    with pytest.raises(UserError, match="needs probabilities"):
        score([always(0)], "AUROC")
    with pytest.raises(ValueError, match="same rows"):
        score([result(1, 0), result(1, 1, np.flip(GROUPS))], "accuracy")


def test_a_good_encoder_raises_no_alarm() -> None:
    assert alarms([result(2.0, seed) for seed in range(3)], always(0)) == []


def test_a_constant_answer_raises_the_alarm() -> None:
    said = alarms([result(2.0, 0), always(2), result(2.0, 1)], always(0))
    assert said[0] == "seed 1 answers class 2 on 100% of rows"


def test_what_is_no_better_than_the_majority_is_told() -> None:
    (said,) = alarms([result(0.0, seed) for seed in range(3)], always(int(np.bincount(LABELS).argmax())))
    assert said.startswith("accuracy is not above that of the majority row beyond chance")


def test_few_seeds_groups_and_groups_of_a_class_are_told() -> None:
    few = np.array([f"case-{row // 60}" for row in range(360)])
    labels = np.where(few == "case-0", LABELS, LABELS % 2)  # class 2 in one case only
    good = HeldOut(labels, labels, few, 3)
    said = " / ".join(alarms([good], HeldOut(labels, labels * 0, few, 3)))
    assert "1 seed; 3 are needed" in said and "6 groups" in said and "class 2 come from fewer than 3 groups" in said
