"""Moments: evenly over the video, and with the tokens that the encoder gives their window alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec.core.errors import UserError
from surgrec.features import frames
from surgrec.features.extractor import Extractor
from surgrec.hub.load import LoadedModel
from surgrec.looking.moments import PICTURE_PIXELS, look_at, plan_moments
from surgrec.video.decode import open_video
from surgrec.video.errors import VideoError
from tests.hub.build import PREPROCESS

VideoOf = Callable[[float], Path]


@settings(deadline=None, max_examples=200)
@given(duration=st.floats(0.0, 20000.0), wanted=st.integers(1, 120))
def test_moments_are_distinct_even_and_within_the_video(duration: float, wanted: int) -> None:
    plan = plan_moments(duration, PREPROCESS, 2, wanted)
    steps = np.round(plan.seconds / plan.step_seconds).astype(int)
    assert len(plan) == min(wanted, plan.num_steps)
    assert (np.diff(steps) >= 1).all() and steps[0] >= 0 and steps[-1] < plan.num_steps
    ideal = (np.arange(len(plan)) + 0.5) * plan.num_steps / len(plan)
    assert (np.abs(steps + 0.5 - ideal) <= 0.5 + 1e-6).all()
    assert (plan.times_seconds >= 0).all() and (plan.times_seconds <= duration + 1e-6).all()
    assert (np.diff(plan.times_seconds, axis=1) >= 0).all() and (np.diff(plan.times_seconds, axis=0) >= 0).all()
    own = plan.times_seconds[np.arange(len(plan)), 2 * plan.places]
    np.testing.assert_allclose(own, np.minimum(plan.seconds, duration), atol=2e-6)


def test_a_window_lies_around_its_moment_where_the_video_allows() -> None:
    plan = plan_moments(20.0, PREPROCESS, 2, 50)  # 50 steps of 0.4 seconds, two in a window
    assert len(plan) == 50 and plan.places.tolist() == [0] + 49 * [1]


@pytest.mark.parametrize("seconds", [0.4, 3.0])
def test_tokens_are_those_of_the_window_alone(model: LoadedModel, video: VideoOf, seconds: float) -> None:
    plan = plan_moments(seconds, model.preprocess, 2, 5)
    seen = look_at(model.encoder, model.preprocess, video(seconds), plan, batch_size=2)
    assert len(seen) == len(plan) and seen.frames.shape[1:] == (PICTURE_PIXELS, PICTURE_PIXELS, 3)
    assert seen.num_missing == 0
    with open_video(video(seconds)) as reader:
        for number, times in enumerate(plan.times_seconds):
            tokens = model.encoder(model.preprocess(reader.read(times).pixels))
            own = rearrange(tokens, "1 (t h w) d -> t h w d", t=2, h=4, w=4)[plan.places[number]]
            np.testing.assert_allclose(seen.tokens[number], own, atol=1e-6)
            np.testing.assert_allclose(seen.pooled[number], tokens[0].mean(0), atol=1e-6)
    np.testing.assert_allclose(seen.embeddings, seen.tokens.reshape(len(seen), 16, -1).mean(1), atol=1e-6)


def test_a_windows_mean_is_the_feature_that_extraction_writes(model: LoadedModel, video: VideoOf) -> None:
    plan = plan_moments(3.0, model.preprocess, 2, 8)
    seen = look_at(model.encoder, model.preprocess, video(3.0), plan)
    extractor = Extractor(model.encoder, model.preprocess, stride_seconds=0.4)
    (batch,) = extractor.extract(video(3.0), 3.0)
    rows = {round(float(start), 3): row for row, start in enumerate(batch.start_seconds)}
    assert len(seen) == 8
    for start, pooled in zip(seen.starts, seen.pooled, strict=True):
        np.testing.assert_allclose(pooled, batch.features[rows[round(float(start), 3)]], atol=1e-6)


def test_the_frame_shown_is_that_of_the_moment(model: LoadedModel, video: VideoOf) -> None:
    plan = plan_moments(4.0, model.preprocess, 2, 4)
    seen = look_at(model.encoder, model.preprocess, video(4.0), plan)
    with open_video(video(4.0)) as reader:
        pixels = reader.read(plan.seconds).pixels
    spec = model.preprocess.pixels
    for shown, frame in zip(seen.frames, pixels, strict=True):
        side = round(96 * spec.crop_pixels / spec.short_side_pixels)
        top, left = (96 - side) // 2, (128 - side) // 2
        cut = torch.from_numpy(frame[top : top + side, left : left + side]).permute(2, 0, 1)[None].float()
        wanted = torch.nn.functional.interpolate(cut, (PICTURE_PIXELS, PICTURE_PIXELS), mode="bilinear")
        assert np.abs(shown - wanted[0].permute(1, 2, 0).numpy()).mean() < 6  # of 255; another frame differs by 60


def test_moments_beside_damage_are_left_out_and_counted(
    model: LoadedModel, video: VideoOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = frames.FrameStream.blocks

    def damaged(stream, times):  # type: ignore[no-untyped-def]
        done = 0
        for block in whole(stream, times):
            yield [None if 1.3 < times[done + index] < 1.7 else frame for index, frame in enumerate(block)]
            done += len(block)

    plan = plan_moments(4.0, model.preprocess, 2, 10)
    entire = look_at(model.encoder, model.preprocess, video(4.0), plan)
    monkeypatch.setattr(frames.FrameStream, "blocks", damaged)
    seen = look_at(model.encoder, model.preprocess, video(4.0), plan)
    is_whole = ~((plan.times_seconds > 1.3) & (plan.times_seconds < 1.7)).any(1)
    assert 0 < is_whole.sum() < 10 and seen.num_missing == 10 - is_whole.sum()
    np.testing.assert_array_equal(seen.seconds, plan.seconds[is_whole])
    np.testing.assert_array_equal(seen.frames, entire.frames[is_whole])
    np.testing.assert_allclose(seen.tokens, entire.tokens[is_whole], atol=1e-6)
    assert all(0 <= number < len(seen) for number in seen.clips)


def test_a_video_without_a_whole_window_is_an_error(
    model: LoadedModel, video: VideoOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_moments(4.0, model.preprocess, 2, 3)
    monkeypatch.setattr(frames.FrameStream, "blocks", lambda _, times: iter([[None] * len(times)]))
    with pytest.raises(UserError, match="no window"):
        look_at(model.encoder, model.preprocess, video(4.0), plan)
    with pytest.raises(VideoError):
        look_at(model.encoder, model.preprocess, Path("nothing.mp4"), plan)
