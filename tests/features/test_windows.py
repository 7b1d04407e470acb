"""Windows cover a video, agree with its frame times, and say where it ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgrec.core.errors import UserError
from surgrec.features.windows import WindowPlan


def plan(stride: float = 0.8) -> WindowPlan:
    return WindowPlan(num_frames=4, frame_interval_seconds=0.2, stride_seconds=stride)


def test_windows_abut_and_the_last_one_repeats_the_last_frame() -> None:
    windows = plan().over(3.0)
    assert windows.start_seconds.tolist() == [0.0, 0.8, 1.6, 2.4]
    assert windows.end_seconds.tolist() == [0.8, 1.6, 2.4, 3.0]
    assert windows.is_padded.tolist() == [False, False, False, True]
    assert windows.times_seconds[1].tolist() == [0.8, 1.0, 1.2, 1.4]
    assert windows.times_seconds[3].tolist() == [2.4, 2.6, 2.8, 3.0]


def test_a_video_of_whole_windows_has_no_padded_one() -> None:
    windows = plan().over(2.4)
    assert len(windows) == 3 and not windows.is_padded.any()


def test_a_short_video_is_one_padded_window() -> None:
    windows = plan().over(0.3)
    assert windows.times_seconds.tolist() == [[0.0, 0.2, 0.3, 0.3]] and windows.is_padded.tolist() == [True]
    assert windows.end_seconds.tolist() == [0.3]
    assert plan().is_short(0.3) and plan().is_short(0.6) and not plan().is_short(0.61)


def test_a_stride_longer_than_a_window_starts_no_window_past_the_end() -> None:
    assert plan(5.0).over(10.0).start_seconds.tolist() == [0.0, 5.0]
    assert plan(5.0).over(10.1).start_seconds.tolist() == [0.0, 5.0, 10.0]


def test_a_stride_that_does_not_move_is_an_error() -> None:
    for stride in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="--stride-seconds"):
            plan(stride)


@given(st.floats(0.0, 500.0), st.floats(0.05, 3.0))
def test_any_video_is_covered(duration: float, stride: float) -> None:
    windows = plan(stride).over(duration)
    assert len(windows) == plan(stride).count(duration) >= 1
    assert (np.diff(windows.times_seconds, axis=1) >= 0).all() and (windows.times_seconds <= duration + 1e-6).all()
    assert windows.start_seconds[0] == 0 and (windows.start_seconds[1:] < duration).all()
    if stride <= 0.8:
        assert duration - windows.end_seconds[-1] < 0.2 + 1e-5
        assert (windows.is_padded[:-2] <= (windows.end_seconds[:-2] >= duration - 0.2 - 1e-5)).all()
