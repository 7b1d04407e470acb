"""Spans: a label a frame, sampled again, is the label of that moment."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec.evaluation.tasks.spans import Span, joined, long_enough, of_frames, sampled, without


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(-1, 3), min_size=1, max_size=200), fps=st.sampled_from([1.0, 25.0, 30.0, 60.0]))
def test_frames_and_samples_agree(labels: list[int], fps: float) -> None:
    spans = of_frames(range(len(labels)), labels, fps)
    times, found = sampled(spans, fps, len(labels) / fps)
    assert np.array_equal(found, labels) and np.allclose(times, np.arange(len(labels)) / fps)
    assert all(before.end_seconds <= after.start_seconds for before, after in pairwise(spans))


def test_sparse_frames_hold_until_the_next() -> None:
    assert of_frames([0, 6, 12, 18], [0, 0, 1, -1], 60.0) == [Span(0.0, 0.2, 0), Span(0.2, 0.3, 1)]
    with pytest.raises(ValueError, match="ascend"):
        of_frames([0, 6, 6], [0, 0, 1], 60.0)


def test_moments_outside_of_spans_have_no_label() -> None:
    times, labels = sampled([Span(1.0, 3.0, 2)], 1.0, 4.5)
    assert times.tolist() == [0, 1, 2, 3, 4] and labels.tolist() == [-1, 2, 2, -1, -1]


def test_spans_of_a_class_that_touch_are_one() -> None:
    given = [Span(5, 6, 1), Span(0, 2, 1), Span(2, 3, 1), Span(3, 4, 0), Span(6.5, 7, 1)]
    assert joined(given) == [Span(0, 3, 1), Span(3, 4, 0), Span(5, 6, 1), Span(6.5, 7, 1)]


def test_holes_are_cut_out() -> None:
    pieces = without([Span(0, 10, 0), Span(10, 20, 1)], [Span(2, 3, 9), Span(8, 12, 9), Span(19, 25, 9)])
    assert pieces == [Span(0, 2, 0), Span(3, 8, 0), Span(12, 19, 1)]


def test_a_stretch_under_a_second_is_no_clip() -> None:
    assert long_enough([Span(0, 0.9, 0), Span(1, 2, 1), Span(2, 2 + 29.99 / 30, 1)]) == [
        Span(1, 2, 1),
        Span(2, 2 + 29.99 / 30, 1),
    ]
