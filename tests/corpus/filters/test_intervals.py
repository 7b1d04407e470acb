"""From samples to spans."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus.filters.intervals import findings_of, hysteresis, spans
from surgrec.corpus.filters.thresholds import Timing


def bools(text: str) -> np.ndarray:
    return np.array([letter == "x" for letter in text])


def test_hysteresis_goes_on_but_does_not_begin_at_the_lower_threshold() -> None:
    found = hysteresis(bools("...x......x"), bools(".xxxx.xxx.."))
    assert (found == bools(".xxxx.....x")).all()
    assert not hysteresis(bools("..."), bools("xxx")).any()


@pytest.mark.parametrize(
    ("text", "timing", "expected"),
    [
        (".xx..xx.", Timing(0.5, 0.25), [(1, 3), (5, 7)]),
        (".xx..xx.", Timing(0.5, 0.5), [(1, 7)]),
        (".x...xx.", Timing(0.5, 0.25), [(5, 7)]),
        ("xxxx", Timing(1.0, 0.0), [(0, 4)]),
        ("xxx.", Timing(1.0, 0.0), []),
        ("", Timing(0.0, 0.0), []),
    ],
)
def test_gaps_are_closed_and_short_finds_dropped(text: str, timing: Timing, expected: list) -> None:
    assert spans(bools(text), timing) == expected


def test_seconds_lie_halfway_between_samples_and_reach_the_ends() -> None:
    times, score = np.arange(8) / 4, np.arange(8.0)
    (one,) = findings_of("black", bools("..xx.x.."), score, Timing(0.25, 0.25), times, 2.1)
    assert (one.start_seconds, one.end_seconds) == (0.375, 1.375)
    assert one.score == pytest.approx((2 + 3 + 5) / 3)
    (all_,) = findings_of("black", bools("xxxxxxxx"), score, Timing(), times, 2.1)
    assert (all_.start_seconds, all_.end_seconds) == (0.0, 2.1)
