"""The law of open readers: what stays open, and in which order it is read, changes no pixel."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.video.decode import BACKENDS, Region, open_video
from surgrec.video.errors import VideoError
from surgrec.video.open_readers import OpenReaders
from surgrec.video.transcode import CopySpec
from tests.video.make_videos import CODED, indices_in
from tests.video.test_transcode import copy

PathOf = Callable[[str], Path]
TITLES = [*CODED, "copy", "pack"]
PLENTY = 10**9


@pytest.fixture(scope="module")
def video(coded: PathOf, tmp_path_factory: pytest.TempPathFactory) -> PathOf:
    folder = tmp_path_factory.mktemp("copies")

    def path_of(title: str) -> Path:
        kind = {"copy": "video", "pack": "frames"}.get(title)
        return copy(coded("h264 with B frames"), folder / "a.mp4", CopySpec(kind)) if kind else coded(title)

    return path_of


def _can_be_read(path: Path, backend: str) -> bool:
    try:
        open_video(path, backend).close()
    except VideoError as error:
        assert error.reason == "unsupported_codec"
        return False
    except UserError as error:
        pytest.skip(str(error))
    return True


_USUAL = [("h264 with B frames", "torchcodec"), ("h264 with B frames", "decord")]
_USUAL += [(title, "pyav") for title in ("h264 with B frames", "h264, open groups", "h264, ts", "copy", "pack")]
_ALL = [
    pytest.param(title, backend, marks=() if (title, backend) in _USUAL else pytest.mark.slow)
    for title in TITLES
    for backend in BACKENDS
]


@pytest.mark.parametrize(("title", "backend"), _ALL)
def test_what_is_kept_open_changes_no_pixel(title: str, backend: str, video: PathOf) -> None:
    """Reads in two random orders with a cache, against a video opened for each."""
    path = video(title)
    if not _can_be_read(path, backend):
        return
    random = np.random.default_rng(5)
    clips = [random.uniform(0, 12) + np.arange(4) * random.choice([0.04, 0.16, 1.0]) for _ in range(6)]
    with OpenReaders(0, backend) as fresh, OpenReaders(PLENTY, backend) as kept:
        expected = [fresh.read(path, times) for times in clips]
        for number in [*random.permutation(6), *random.permutation(6)]:
            frames = kept.read(path, clips[number])
            np.testing.assert_array_equal(frames.pixels, expected[number].pixels)
            np.testing.assert_array_equal(frames.times_seconds, expected[number].times_seconds)
        assert len(fresh) == 0


def _given(region: Region, height: int, width: int) -> Region:
    return region


@pytest.mark.parametrize("title", ["h264 with B frames", "h264, on its side", "copy", "pack"])
@pytest.mark.parametrize("short_side", [None, 48])
def test_a_rectangle_is_that_of_the_whole_frames(title: str, short_side: int | None, video: PathOf) -> None:
    path, random = video(title), np.random.default_rng(1)
    for backend in BACKENDS:
        if not _can_be_read(path, backend):
            continue
        with open_video(path, backend, short_side) as reader:
            times = [0.0, 0.04, 0.04, 7.1, 11.9]
            whole = reader.read(times)
            assert whole.region == (0, 0, *whole.pixels.shape[1:3])
            height, width = whole.pixels.shape[1:3]
            for _ in range(6):
                size = int(random.integers(1, height + 1)), int(random.integers(1, width + 1))
                top, left = (int(random.integers(0, room + 1)) for room in (height - size[0], width - size[1]))
                region = Region(top, left, *size)
                part = reader.read(times, partial(_given, region))
                assert (part.frame_size, part.region) == ((height, width), region)
                np.testing.assert_array_equal(part.pixels, whole.pixels[:, top : top + size[0], left : left + size[1]])
            with pytest.raises(ValueError, match="does not lie in"):
                reader.read(times, lambda height, width: Region(0, 1, height, width))


def test_the_limit_holds_and_the_video_used_last_stays(coded: PathOf, tmp_path: Path) -> None:
    path = copy(coded("h264 with B frames"), tmp_path / "a.mp4")
    paths = [tmp_path / f"{number}.mp4" for number in range(6)]
    for other in paths:
        other.write_bytes(path.read_bytes())
    with open_video(path) as reader:
        reader.read([0.0])
        each = reader.held_bytes
    readers = OpenReaders(int(3.5 * each))
    for other in paths:
        readers.read(other, [1.0])
        readers.read(paths[0], [2.0])
        assert readers.held_bytes <= readers.limit_bytes
    assert list(readers._open) == [paths[4], paths[5], paths[0]]
    reader = readers._open[paths[0]].reader
    readers.read(paths[0], [3.0])
    assert readers._open[paths[0]].reader is reader
    readers.close()
    assert (len(readers), readers.held_bytes) == (0, 0)
    assert readers.read(paths[0], [0.0]).pixels.shape[0] == 1  # opens anew


@pytest.mark.parametrize("title", ["h264 with B frames", "copy", "pack"])
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_what_was_evicted_holds_no_file(title: str, video: PathOf) -> None:
    path = video(title)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    readers = OpenReaders(PLENTY)
    readers.read(path, [1.0])
    assert len(os.listdir("/proc/self/fd")) > before  # noqa: PTH208
    readers.limit_bytes = 0
    readers.read(path, [1.0])
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_file_that_changed_is_opened_anew(coded: PathOf, tmp_path: Path) -> None:
    path, other = tmp_path / "a.mp4", coded("h264, upside down")
    path.write_bytes(coded("h264, one keyframe").read_bytes())
    with OpenReaders(PLENTY) as readers:
        assert indices_in(readers.read(path, [4.0]).pixels) == [100]
        path.write_bytes(other.read_bytes()[:5000])
        with pytest.raises(VideoError):
            readers.read(path, [4.0])
        assert len(readers) == 0
        path.write_bytes(other.read_bytes())
        assert indices_in(readers.read(path, [4.0]).pixels) == [100]
        path.unlink()
        with pytest.raises(VideoError, match="missing"):
            readers.read(path, [4.0])
        assert len(readers) == 0
