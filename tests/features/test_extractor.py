"""The features of a window are those of its frames alone, whatever is shared, batched or broken around it."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.features import frames as frames_module
from surgrec.features.clips import ClipReader
from surgrec.features.extractor import Extractor
from surgrec.features.windows import WindowFeatures
from surgrec.hub.load import LoadedModel
from surgrec.models.rotary import Rotary
from surgrec.video.decode import Frames, open_video
from surgrec.video.errors import VideoError
from surgrec.video.probe import probe
from tests.video.make_videos import Coded, indices_in, variable_times, write

VideoOf = Callable[[float], Path]


def run(model: LoadedModel, path: Path, seconds: float, **options: Any) -> WindowFeatures:
    batches = list(Extractor(model.encoder, model.preprocess, **options).extract(path, seconds))
    return WindowFeatures(*(np.concatenate([vars(batch)[name] for batch in batches]) for name in vars(batches[0])))


def alone(model: LoadedModel, path: Path, start: float) -> torch.Tensor:
    """Tokens (N, D) of one window by the public interface."""
    with open_video(path) as reader:
        pixels = reader.read(start + np.arange(4) * 0.2).pixels
    return model.encoder(model.preprocess(pixels))[0]


@pytest.mark.parametrize("stride", [0.8, 0.2, 0.33, 2.0])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_windows_equal_those_computed_alone(model: LoadedModel, video: VideoOf, stride: float, batch_size: int) -> None:
    path = video(4.2)
    result = run(model, path, 4.2, stride_seconds=stride, batch_size=batch_size)
    assert result.is_valid.all() and len(result) == len(result.features)
    for window in range(len(result)):
        expected = alone(model, path, window * stride).mean(0)
        np.testing.assert_allclose(result.features[window], expected, atol=1e-6, rtol=0)
    assert np.abs(np.diff(result.features, axis=0)).max() > 1e-3, "windows differ, so the comparison says something"


def test_token_layouts_agree(model: LoadedModel, video: VideoOf) -> None:
    path = video(4.2)
    every = run(model, path, 4.2, layout="all").features
    assert every.shape == (6, 2 * 4 * 4, 48)
    np.testing.assert_allclose(every[1], alone(model, path, 0.8), atol=1e-6)
    by_time = every.reshape(6, 2, 16, 48).mean(2)
    np.testing.assert_allclose(run(model, path, 4.2, layout="time").features, by_time, atol=1e-6)
    np.testing.assert_allclose(run(model, path, 4.2).features, by_time.mean(1), atol=1e-6)
    with pytest.raises(UserError, match="no token layout"):
        run(model, path, 4.2, layout="some")


def test_twice_is_the_same_bit_for_bit(model: LoadedModel, video: VideoOf) -> None:
    one, two = (run(model, video(4.2), 4.2, stride_seconds=0.5) for _ in range(2))
    assert np.array_equal(one.features, two.features)


def test_a_short_video_repeats_its_last_frame_and_says_so(model: LoadedModel, video: VideoOf) -> None:
    result = run(model, video(0.4), 0.4)
    assert result.is_padded.tolist() == [True] and result.is_valid.tolist() == [True]
    with open_video(video(0.4)) as reader:
        pixels = reader.read([0.0, 0.2, 0.36]).pixels
    assert indices_in(pixels) == [0, 5, 9]
    expected = model.encoder(model.preprocess(pixels[[0, 1, 2, 2]]))[0].mean(0)
    np.testing.assert_allclose(result.features[0], expected, atol=1e-6)


class Damaged:
    """A reader that fails over a stretch, and, as real decoders do, gives nonsense once it has failed."""

    opened = decoded = 0

    def __init__(self, path: Path, bad: tuple[float, float]) -> None:
        Damaged.opened += 1
        self._reader, self._bad, self._has_failed = open_video(path), bad, False

    def read(self, times: Any) -> Frames:
        if self._has_failed or any(self._bad[0] <= time < self._bad[1] for time in times):
            self._has_failed = True
            raise VideoError("corrupt")
        Damaged.decoded += len(times)
        return self._reader.read(times)

    def close(self) -> None:
        self._reader.close()


@pytest.fixture
def damage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float, float], None]]:
    def between(start: float, end: float) -> None:
        monkeypatch.setattr(frames_module, "open_video", lambda path, *_, **__: Damaged(path, (start, end)))

    Damaged.opened = Damaged.decoded = 0
    yield between
    Damaged.opened = Damaged.decoded = 0


def test_every_frame_is_decoded_once_also_where_windows_overlap(
    model: LoadedModel, video: VideoOf, damage: Callable[[float, float], None]
) -> None:
    damage(-2.0, -1.0)
    result = run(model, video(4.2), 4.2, stride_seconds=0.2)
    assert len(result) == 18 and Damaged.opened == 1
    assert Damaged.decoded == 21, "0.0, 0.2, ... 4.0"


def test_around_a_corrupt_stretch_everything_is_right(
    model: LoadedModel, video: VideoOf, damage: Callable[[float, float], None]
) -> None:
    expected = run(model, video(4.2), 4.2, stride_seconds=0.4)
    damage(1.3, 1.7)
    result = run(model, video(4.2), 4.2, stride_seconds=0.4)
    is_hit = np.array(
        [
            ((0.4 * i + np.arange(4) * 0.2 >= 1.3) & (0.4 * i + np.arange(4) * 0.2 < 1.7)).any()
            for i in range(len(result))
        ]
    )
    assert is_hit.any() and not is_hit.all()
    assert np.array_equal(result.is_valid, ~is_hit)
    assert np.isnan(result.features[is_hit]).all()
    np.testing.assert_allclose(result.features[~is_hit], expected.features[~is_hit], atol=1e-6)


def test_bytes_overwritten_in_the_middle_do_not_reach_the_other_windows(
    model: LoadedModel, video: VideoOf, tmp_path: Path
) -> None:
    """A real damaged file: one group of pictures, from 1.92 to 2.40 seconds, is filled with noise."""
    path = tmp_path / "damaged.mp4"
    content = bytearray(video(4.2).read_bytes())
    with av.open(str(video(4.2))) as container:
        packets = [(float(p.pts * p.time_base), p.pos, p.size) for p in container.demux(video=0) if p.size]
    for seconds, position, size in packets:
        if 1.91 < seconds < 2.39 and size > 12:
            content[position + 8 : position + size] = os.urandom(size - 8)
    path.write_bytes(content)
    expected, result = run(model, video(4.2), 4.2), run(model, path, 4.2)
    hit = [2]  # from 1.6 to 2.4 seconds
    assert not result.is_valid[hit].any()
    clean = [0, 1, 4, 5]
    assert result.is_valid[clean].all()
    np.testing.assert_allclose(result.features[clean], expected.features[clean], atol=1e-6)


def test_a_file_that_cannot_be_opened_is_an_error(model: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="missing"):
        run(model, tmp_path / f"{'a' * 300}.mp4", 1.0)  # where the system refuses even to look
    (tmp_path / "garbage.mp4").write_bytes(b"no video" * 100)
    for name, reason in (("garbage.mp4", "not_a_video"), ("absent.mp4", "missing")):
        with pytest.raises(VideoError) as caught:
            run(model, tmp_path / name, 4.2)
        assert caught.value.reason == reason


def test_memory_is_bounded(model: LoadedModel, video: VideoOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more preprocessed frames are alive than two blocks and what the next window has of older ones."""
    frames: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    alive: list[int] = []
    prepare = ClipReader._prepare

    def counted(reader: ClipReader, block: Any) -> Any:
        alive.append(len(frames))
        prepared = prepare(reader, block)
        frames.update(prepared)
        return prepared

    monkeypatch.setattr(ClipReader, "_prepare", counted)
    result = run(model, video(12.0), 12.0, stride_seconds=0.1, batch_size=2)
    assert len(result) == 112 and len(alive) == 8
    assert max(alive) <= frames_module.FRAMES_PER_READ + 7


@pytest.mark.parametrize("stride", [0.04, 0.1, 0.37])
def test_of_a_variable_rate_the_windows_equal_those_computed_alone(
    model: LoadedModel, tmp_path: Path, stride: float
) -> None:
    times = variable_times(60)
    path = write(tmp_path, Coded("variable.mp4", times=times, ticks_per_second=1000))
    result = run(model, path, float(times[-1]), stride_seconds=stride)
    assert result.is_valid.all() and len(result) > 10
    for window in range(0, len(result), 5):
        if not result.is_padded[window]:
            expected = alone(model, path, window * stride).mean(0)
            np.testing.assert_allclose(result.features[window], expected, atol=1e-6, rtol=0)


def test_layers_are_those_of_the_name(model: LoadedModel, video: VideoOf) -> None:
    names = ("blocks.0", "blocks.1", "norm")
    result = run(model, video(2.0), 2.0, layout="all", layers=names).features
    assert result.shape == (3, 3, 32, 48)
    with open_video(video(2.0)) as reader:
        tokens = model.preprocess(reader.read(np.arange(4) * 0.2).pixels)
    first = model.encoder.embed(tokens)
    rotary = Rotary.at(model.encoder.grid_of(tokens), 24, model.encoder.rope_style, None, tokens.device, None)
    for block, kept in zip(model.encoder.blocks, result[0], strict=False):
        first = block(first, rotary, ())
        np.testing.assert_allclose(kept, first[0], atol=1e-6)
    np.testing.assert_array_equal(result[:, 2], run(model, video(2.0), 2.0, layout="all").features)
    pooled = run(model, video(2.0), 2.0, layers=names).features
    np.testing.assert_allclose(pooled, result.mean(2), atol=1e-6)
    for wrong in ("blocks.7", "", "embed.projection"):
        with pytest.raises(UserError, match=r"has no layer .* it has .*blocks\.0"):
            run(model, video(2.0), 2.0, layers=(wrong,))
    with pytest.raises(UserError, match=r"name a whole block|one width"):
        run(model, video(2.0), 2.0, layers=("blocks.0.attention.qkv", "blocks.0"))


def test_half_precision_is_near(model: LoadedModel, video: VideoOf) -> None:
    exact, near = (run(model, video(2.0), 2.0, precision=precision).features for precision in ("float32", "bfloat16"))
    assert near.dtype == np.float32 and not np.array_equal(exact, near)
    np.testing.assert_allclose(near, exact, atol=0.05)


def test_a_real_operation(model: LoadedModel, clips: Path) -> None:
    path = clips / "laparoscopy" / "cholecystectomy_720p25.mp4"
    result = run(model, path, probe(path).duration_seconds, stride_seconds=2.0)
    assert len(result) == 5 and result.is_valid.all() and np.isfinite(result.features).all()
    np.testing.assert_allclose(result.features[3], alone(model, path, 6.0).mean(0), atol=1e-6)
