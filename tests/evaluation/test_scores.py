"""Scores by name over seeds, and the alarms beside them."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.frozen import HeldOut
from surgrec.evaluation.scores import (
    LOWER_IS_BETTER,
    OF_COUNTS,
    OF_PROBABILITIES,
    alarms,
    cautions,
    constant_answers,
    difference,
    score,
    statistic_of,
)

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


def test_right_answers_that_are_nearly_all_one_class_raise_no_alarm() -> None:
    """Where 99.5 % of the truth is one class, an encoder that is always right nearly always answers it; always is another thing."""
    labels = np.zeros(400, dtype=np.int64)
    labels[[3, 250]] = 1
    groups = np.array([f"case-{row // 20:02d}" for row in range(400)])
    right = HeldOut(labels, labels, groups, 2)
    constant = HeldOut(labels, labels * 0, groups, 2)
    assert constant_answers([right], ["a", "b"]) == []
    assert constant_answers([constant], ["a", "b"]) == ["seed 0 answers class a on 100% of rows"]


def test_nearly_constant_answers_do_not_read_as_constant_ones() -> None:
    answers = np.where(np.arange(360) < 1, 1, 2)
    (said,) = constant_answers([HeldOut(LABELS, answers, GROUPS, 3)], ["a", "b", "c"])
    assert said == "seed 0 answers class c on 99.7% of rows"


def test_one_test_group_is_told_and_is_no_error() -> None:
    one = np.full(360, "case-0")
    good, bad = (HeldOut(LABELS, answers, one, 3) for answers in (LABELS, LABELS * 0))
    assert "1 test group; intervals were tried with 10 and more" in cautions(LABELS, one, 3, ["a", "b", "c"])
    assert alarms([good], bad) == []
    assert any("is not above the majority's" in said for said in alarms([bad], bad))


def test_a_metric_that_one_group_alone_defines_has_no_interval() -> None:
    """All rows of the second class are of one group: without it there is no AUROC."""
    labels = np.zeros(60, dtype=np.int64)
    labels[:10] = 1
    groups = np.repeat([f"case-{number}" for number in range(6)], 10)
    chance = np.linspace(0.1, 0.9, 60)
    found = HeldOut(labels, labels * 0, groups, 2, np.stack([chance, 1 - chance], 1))
    assert np.isfinite(statistic_of([found], "AUROC").estimate())
    for interval in (lambda: score([found], "AUROC"), lambda: difference([found], [found], "AUROC")):
        with pytest.raises(UserError, match="not defined without one of the test groups"):
            interval()


def test_what_is_no_better_than_the_majority_is_told() -> None:
    (said,) = alarms([result(0.0, seed) for seed in range(3)], always(int(np.bincount(LABELS).argmax())))
    assert said.startswith("accuracy is not above that of the majority row beyond chance")


def test_few_seeds_groups_and_groups_of_a_class_are_told() -> None:
    few = np.array([f"case-{row // 60}" for row in range(360)])
    labels = np.where(few == "case-0", LABELS, LABELS % 2)  # class 2 in one case only
    said = " / ".join(cautions(labels, few, 1, ["a", "b", "c"]))
    assert (
        "1 seed; 3 are needed" in said and "6 test groups" in said and "class c come from fewer than 3 groups" in said
    )
    many = np.array([f"case-{row // 30}" for row in range(360)])
    assert cautions(LABELS, many, 3, ["a", "b", "c"]) == []
