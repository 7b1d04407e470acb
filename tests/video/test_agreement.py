"""Every decoder shows the same pictures at the same times; which one a run uses must not change what is learned.

H.264 and HEVC decode to the same planes everywhere, so what may differ is the conversion to RGB. For 8 bits all three libraries
have it from FFmpeg's one converter, and not a single value differs. For 10 bits that converter does not serve, and each asks
FFmpeg for another interpolation of the colours, which are stored at half the size: in the test files, which are all edges of
colour, pixels differ by 3 levels in the mean, and the mean colour of a picture by less than a level.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from surgrec.core.errors import UserError
from surgrec.video.decode import BACKENDS, CUDA_BACKEND, Frames, open_video
from surgrec.video.errors import VideoError
from surgrec.video.probe import probe
from surgrec.video.transcode import CopySpec
from tests.video.test_transcode import copy

PathOf = Callable[[str], Path]
CODED_TITLES = [
    *(
        "h264 with B frames",
        "h264 variable rate",
        "h264 variable rate, mkv",
        "h264 that starts at 5 s",
        "h264, on its side",
    ),
    *("h264, mkv", "h264, avi", "hevc"),
]
REAL = [
    *("nasa_13013.mp4", "flipping_a_pancake.mkv", "h264_10bits.mp4", "h265_10bits.mp4", "h265_video.mp4"),
    *("video_90.mov", "video_270.mov", "unordered.mov", "bt709_full_range.mp4", "av1_video.mkv"),
]
REFUSES = {  # the backends say so themselves; see surgrec/video/misreads.py
    "torchcodec": {"h264, avi"},
    "decord": {"h264, avi", "hevc", "h265_10bits.mp4", "h265_video.mp4", "av1_video.mkv"},
}


def _read(path: Path, times: npt.NDArray[np.float64], backend: str, title: str) -> Frames | None:
    try:
        with open_video(path, backend) as video:
            frames = video.read(times)
    except UserError as error:
        pytest.skip(str(error))
    except VideoError as error:
        assert (error.reason, title in REFUSES[backend]) == ("unsupported_codec", True)
        return None
    assert title not in REFUSES.get(backend, ())
    return frames


def assert_agreement(path: Path, backend: str, title: str) -> None:
    info = probe(path)
    times = np.sort(np.random.default_rng(4).uniform(0, info.duration_seconds, 8))
    ours, theirs = _read(path, times, "pyav", title), _read(path, times, backend, title)
    if ours is None or theirs is None:
        return
    np.testing.assert_array_equal(theirs.times_seconds, ours.times_seconds)
    if "10bits" not in title:
        np.testing.assert_array_equal(theirs.pixels, ours.pixels)
        return
    difference = theirs.pixels.astype(int) - ours.pixels
    assert np.abs(difference).mean() < 4
    assert np.abs(difference.mean(axis=(1, 2))).max() < 1


@pytest.mark.parametrize("backend", BACKENDS[1:])
@pytest.mark.parametrize("title", CODED_TITLES)
def test_coded_videos(title: str, backend: str, coded: PathOf) -> None:
    assert_agreement(coded(title), backend, title)


@pytest.mark.parametrize("backend", BACKENDS[1:])
@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str, backend: str, clips: Path) -> None:
    assert_agreement(clips / "formats" / name, backend, name)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_copies(backend: str, coded: PathOf, tmp_path: Path) -> None:
    """The default, and one frame a second; ours are read without FFmpeg's demuxer."""
    assert_agreement(copy(coded("h264 with B frames"), tmp_path / "a.mp4"), backend, "copy")
    assert_agreement(copy(coded("h264 with B frames"), tmp_path / "slow.mp4", CopySpec(fps=1)), backend, "slow")


def test_frames_are_the_video_within_the_rounding_of_jpeg(clips: Path, tmp_path: Path) -> None:
    """Both copies of one source. A JPEG of quality q rounds coefficient k to multiples of Q_k(q) (ITU-T T.81, annex K), at 85 mostly 3 to
    30: an error of a level or two in the mean; the video's own loss, at crf 12, is less than that."""
    source = clips / "laparoscopy" / "abdomen_540p25.mp4"
    sizes = {"fps": 5.0, "short_side_pixels": 128}
    video = copy(source, tmp_path / "a.mp4", CopySpec("video", **sizes, crf=12))
    pack = copy(source, tmp_path / "a.mp4", CopySpec("frames", **sizes))
    times = np.arange(0, 5, 0.37)
    with open_video(video) as one, open_video(pack) as other:
        a, b = one.read(times), other.read(times)
    np.testing.assert_allclose(a.times_seconds, b.times_seconds, rtol=0, atol=1e-9)
    difference = np.abs(a.pixels.astype(int) - b.pixels)
    assert difference.mean() < 3
    assert np.percentile(difference, 99.9) < 30


def test_nvdec_where_there_is_no_gpu(coded: PathOf) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=r"NVIDIA GPU|shared libraries|not installed"):
        open_video(coded("h264 with B frames"), CUDA_BACKEND)


@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="there is no GPU")
def test_nvdec_agrees_within_its_rounding_of_colours(coded: PathOf) -> None:
    times = np.arange(0, 11, 0.37)
    ours = _read(coded("h264 with B frames"), times, "pyav", "")
    theirs = _read(coded("h264 with B frames"), times, CUDA_BACKEND, "")
    assert ours is not None and theirs is not None
    np.testing.assert_array_equal(theirs.times_seconds, ours.times_seconds)
    assert np.abs(theirs.pixels.astype(int) - ours.pixels).mean() < 3
