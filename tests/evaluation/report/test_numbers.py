"""Numbers as text: rounding never tells another story than the number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgrec.evaluation.report.means import mean_score
from surgrec.evaluation.report.numbers import interval, measured, number, p_value, together
from surgrec.evaluation.results import Score

SHARES = st.floats(-1, 1, allow_nan=False).map(lambda value: round(value, 9))


@given(st.lists(SHARES, min_size=1, max_size=4))
def test_what_differs_is_shown_as_different_and_in_its_order(values: list[float]) -> None:
    shown = [float(text) for text in together(values)]
    for value, text in zip(values, shown, strict=True):
        assert abs(value - text) <= 0.0005
        assert (text == 0) == (value == 0) and (text == 1) == (value == 1)
        for other, other_text in zip(values, shown, strict=True):
            assert (value < other) == (text < other_text)


def test_an_interval_beside_zero_does_not_read_as_if_it_held_zero() -> None:
    assert interval(0.0004, 0.05) == "[0.0004, 0.0500]"
    assert interval(-0.0001, 0.05) == "[-0.0001, 0.0500]"
    assert interval(-0.0, 0.05) == "[0.000, 0.050]"


def test_almost_all_is_not_all() -> None:
    assert measured(0.99996, 0.9, 1.0) == ("0.99996", "[0.90000, 1.00000]")
    assert number(0.5) == "0.500" and measured(0.5, None, None) == ("0.500", "no interval")


def test_three_numbers_have_the_same_digits() -> None:
    assert measured(0.71234, 0.7121, 0.8) == ("0.7123", "[0.7121, 0.8000]")


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.04999, "0.04999"),
        (0.05, "0.05"),
        (0.0500001, "0.0500001"),
        (1.0, "1"),
        (0.9999, "0.9999"),
        (1 / 30001, "3.33e-05"),
    ],
)
def test_a_p_stays_on_its_side_of_the_threshold(p: float, shown: str) -> None:
    assert p_value(p) == shown


# -- means


def score(
    estimate: float, low: float | None, high: float | None, metric: str = "accuracy", level: float = 0.95
) -> Score:
    return Score(metric, estimate, low, high, level, "generated")


def test_the_mean_of_normal_scores_has_the_interval_of_the_mean() -> None:
    errors, estimates = [0.02, 0.05, 0.03], [0.5, 0.7, 0.6]
    scores = [
        score(mean, mean - 1.96 * error, mean + 1.96 * error) for mean, error in zip(estimates, errors, strict=True)
    ]
    mean = mean_score(scores)
    half = 1.96 * math.sqrt(sum(error**2 for error in errors)) / 3
    assert mean is not None and mean.low is not None and mean.high is not None
    assert (mean.estimate, mean.low, mean.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says() -> None:
    rng, truths, errors = np.random.default_rng(0), np.array([0.4, 0.6, 0.8]), np.array([0.02, 0.08, 0.04])
    held = 0
    for estimates in rng.normal(truths, errors, (2000, 3)):
        mean = mean_score(
            [score(e, e - 1.96 * error, e + 1.96 * error) for e, error in zip(estimates, errors, strict=True)]
        )
        assert mean is not None and mean.low is not None and mean.high is not None
        held += mean.low <= truths.mean() <= mean.high
    assert 0.935 <= held / 2000 <= 0.965


def test_the_interval_of_a_mean_of_tasks_on_the_same_videos_holds_the_truth_too() -> None:
    """Two tasks of the same patients err alike, a third by itself; taken for three samples, the interval would be too narrow."""
    rng, errors = np.random.default_rng(1), np.array([0.05, 0.05, 0.02])
    held = dict.fromkeys(("told", "not told"), 0)
    for common, own in rng.normal(0, 1, (2000, 2)):
        made = [
            score(0.5 + e * z, 0.5 + e * (z - 1.96), 0.5 + e * (z + 1.96))
            for e, z in zip(errors, (common, common, own), strict=True)
        ]
        for name, apart in (("told", ("a", "a", "b")), ("not told", ())):
            mean = mean_score(made, apart)
            assert mean is not None and mean.low is not None and mean.high is not None
            held[name] += mean.low <= 0.5 <= mean.high
    assert 0.935 <= held["told"] / 2000 <= 0.965 and held["not told"] / 2000 < 0.9


@pytest.mark.parametrize(
    "other", [score(0.5, None, None), score(0.5, 0.4, 0.6, "macro_f1"), score(0.5, 0.4, 0.6, level=0.9)]
)
def test_there_is_no_mean_of_what_does_not_belong_together(other: Score) -> None:
    assert mean_score([score(0.5, 0.4, 0.6), other]) is None
    assert mean_score([]) is None
