"""Packs of JPEGs: the same frames at the same moments as the mp4, and no damaged one is returned."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from surgrec.video.decode import BACKENDS, open_video
from surgrec.video.errors import VideoError
from surgrec.video.pack import PackReader, write_pack
from surgrec.video.probe import probe
from surgrec.video.transcode import CopySpec
from tests.video.make_videos import indices_in, picture_of
from tests.video.test_transcode import copy

PathOf = Callable[[str], Path]


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    write_pack(tmp_path / "a.frames", map(picture_of, range(50)), np.arange(50) / 25, 2.0, quality=90)
    return tmp_path / "a.frames"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pack_is_read_by_time_whatever_the_backend(backend: str, pack: Path) -> None:
    times = [-1.0, 0.0, 0.039, 0.04, 1.0, 1.0, 1.5, 99.0]
    with open_video(pack, backend) as video:
        frames = video.read(times)
    assert indices_in(frames.pixels) == [0, 0, 0, 1, 25, 25, 37, 49]
    np.testing.assert_allclose(frames.times_seconds, np.array([0, 0, 0, 1, 25, 25, 37, 49]) / 25)
    info = probe(pack)
    assert (info.num_frames, info.duration_seconds, info.fps, info.codec) == (50, 2.0, 25.0, "jpeg-pack")


def test_shrinking(pack: Path) -> None:
    with open_video(pack, short_side_pixels=48) as video:
        assert video.read([0.4]).pixels.shape == (1, 48, 64, 3)


@pytest.mark.parametrize("title", ["h264 with B frames", "h264 variable rate", "h264, on its side"])
@pytest.mark.parametrize("fps", [0.0, 4.0])
def test_both_formats_show_the_same(title: str, fps: float, coded: PathOf, tmp_path: Path) -> None:
    video = copy(coded(title), tmp_path / "a.mp4", CopySpec("video", fps, crf=16))
    frames = copy(coded(title), tmp_path / "a.mp4", CopySpec("frames", fps))
    times = np.linspace(0, probe(video).duration_seconds, 31)
    with open_video(video) as one, open_video(frames) as other:
        a, b = one.read(times), other.read(times)
    np.testing.assert_allclose(a.times_seconds, b.times_seconds, atol=1e-6)
    assert indices_in(a.pixels) == indices_in(b.pixels)
    assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 4


def test_real_footage_within_the_tolerance_of_jpeg(clips: Path, tmp_path: Path) -> None:
    source = clips / "laparoscopy" / "cholecystectomy_720p25.mp4"
    spec = {"fps": 4.0, "short_side_pixels": 128}
    video = copy(source, tmp_path / "a.mp4", CopySpec("video", **spec, crf=12))
    frames = copy(source, tmp_path / "a.mp4", CopySpec("frames", **spec, jpeg_quality=95))
    times = np.arange(0, 10, 0.7)
    with open_video(video) as one, open_video(frames) as other:
        a, b = one.read(times), other.read(times)
    np.testing.assert_allclose(a.times_seconds, b.times_seconds, atol=1e-6)
    assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 3


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99, 0.9999])
def test_a_pack_that_was_cut_short_is_no_pack(share: float, pack: Path) -> None:
    data = pack.read_bytes()
    pack.write_bytes(data[: int(share * len(data))])
    with pytest.raises(VideoError) as caught:
        open_video(pack)
    assert caught.value.reason in ("truncated", "empty")


def test_damage_is_an_error_and_nothing_else(pack: Path, tmp_path: Path) -> None:
    """Flipped bytes anywhere, seeded: a reason or a picture of the right size, as JPEG has no checksums."""
    data, random = pack.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(data)
        for at in random.integers(0, len(data), 20):
            damaged[at] ^= int(random.integers(1, 256))
        (tmp_path / "b.frames").write_bytes(damaged)
        try:
            with PackReader(tmp_path / "b.frames") as reader:
                assert reader.read(np.arange(50) / 25).pixels.shape == (50, 96, 128, 3)
        except VideoError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("duration_seconds", [0.0, -1.0, float("nan"), float("inf"), 1.0, 1e7])
def test_a_pack_whose_times_cannot_be_true_is_refused(duration_seconds: float, tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    write_pack(path, map(picture_of, range(50)), np.arange(50) / 25, duration_seconds, quality=90)
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert caught.value.reason == "corrupt"


def test_a_pack_of_giant_pictures_is_refused(pack: Path) -> None:
    data = bytearray(pack.read_bytes())
    data[-40:-32] = struct.pack("<2I", 1 << 31, 1 << 31)
    pack.write_bytes(data)
    with pytest.raises(VideoError, match="too_large"):
        probe(pack)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="missing"):
        open_video(tmp_path / "none.frames")


def test_long_packs_are_read_by_parts_of_their_index(tmp_path: Path) -> None:
    """Moments on both sides of where the parts meet; damage in a part is an error where that is read, and only there."""
    path, times = tmp_path / "long.frames", np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 600))
    times -= times[0]
    write_pack(path, map(picture_of, range(600)), times, float(times[-1] + 0.1), quality=75)
    wanted = np.array([-1, 0, 254.5, 255, 256, 256.5, 511, 512, 599, 9999])
    shown = np.clip(np.floor(wanted), 0, 599).astype(int)
    seconds = np.where(wanted > 599, 1e6, np.interp(wanted, np.arange(600), times))
    with PackReader(path) as reader:
        frames = reader.read(seconds)
        assert indices_in(frames.pixels) == shown.tolist()
        np.testing.assert_array_equal(frames.times_seconds, times[shown])
        assert len(reader._summary) == 3
        rows_at = reader._rows_at
    data = bytearray(path.read_bytes())
    data[rows_at + 16 * 300] ^= 1
    path.write_bytes(data)
    with PackReader(path) as reader:
        assert indices_in(reader.read([0.0, times[100]]).pixels) == [0, 100]
        with pytest.raises(VideoError, match="the index is damaged"):
            reader.read([times[400]])
