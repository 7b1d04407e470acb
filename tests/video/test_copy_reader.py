"""The reader of training copies: bitwise PyAV's frames, for the files it takes; it takes no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from surgrec.video.copy_reader import CopyReader, open_copy
from surgrec.video.decode import open_video
from surgrec.video.errors import VideoError
from surgrec.video.pyav_reader import PyavReader
from surgrec.video.transcode import CopySpec
from tests.video.make_videos import indices_in, remux
from tests.video.test_transcode import copy

PathOf = Callable[[str], Path]
SPECS = {
    "default": CopySpec(),
    "nothing skippable": CopySpec(skippable_frames=0),
    "keyframes only": CopySpec(group_frames=1),
    "odd groups": CopySpec(group_frames=7, skippable_frames=2),
    "4 fps, shrunk": CopySpec(fps=4, short_side_pixels=48),
    "broadcast": CopySpec(fps=24000 / 1001),
}


def same_as_pyav(path: Path, short_side: int | None = None, num_reads: int = 12) -> None:
    random = np.random.default_rng(2)
    with CopyReader(path, short_side) as reader, PyavReader(path, short_side) as pyav:
        for _ in range(num_reads):
            times = random.uniform(-0.5, 12.5) + np.arange(8) * random.choice([0.0, 0.02, 0.04, 0.16, 0.25, 2.0])
            one, other = reader.read(times), pyav.read(times)
            np.testing.assert_array_equal(one.times_seconds, other.times_seconds)
            np.testing.assert_array_equal(one.pixels, other.pixels)
        assert reader._other is None


@pytest.mark.parametrize("name", SPECS)
def test_the_frames_are_those_of_pyav(name: str, coded: PathOf, tmp_path: Path) -> None:
    path = copy(coded("h264 with B frames"), tmp_path / "a.mp4", SPECS[name])
    same_as_pyav(path)
    same_as_pyav(path, 40, 3)


def test_colours_that_the_copy_declares(clips: Path, tmp_path: Path) -> None:
    path = copy(clips / "formats" / "bt709_full_range.mp4", tmp_path / "a.mp4", CopySpec(short_side_pixels=96))
    same_as_pyav(path, num_reads=3)


def test_copies_and_nothing_else_are_taken(coded: PathOf, faststart: Path, tmp_path: Path) -> None:
    """A file that is not of the kind is PyAV's; which reader a file gets changes no pixel."""
    assert isinstance(open_video(copy(coded("mpeg2, mpg"), tmp_path / "a.mp4")), CopyReader)
    others = [coded(title) for title in ("h264, mkv", "h264 in fragments", "h264, on its side", "h264 variable rate")]
    for other in (*others, faststart):  # the last one has an edit list
        assert open_copy(other) is None
    (tmp_path / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    assert open_copy(tmp_path / "garbage.mp4") is None
    assert open_copy(tmp_path / "none.mp4") is None


def test_groups_that_are_not_closed_are_left_to_pyav(coded: PathOf, tmp_path: Path) -> None:
    """The index does not tell; the first packet does."""
    flags = "+faststart+negative_cts_offsets"
    path = remux(
        coded("h264, no keyframe but intra refresh"), tmp_path / "a.mp4", _always, movflags=flags, use_editlist="0"
    )
    with PyavReader(path) as pyav, open_video(path) as reader:
        expected = pyav.read([5.0, 5.5]).pixels
        assert isinstance(reader, CopyReader)
        np.testing.assert_array_equal(reader.read([5.0, 5.5]).pixels, expected)
        assert reader._other is not None


def _always(packet: av.Packet) -> bool:
    return True


def test_unwanted_frames_are_not_decoded(coded: PathOf, tmp_path: Path) -> None:
    path = copy(coded("h264 with B frames"), tmp_path / "a.mp4", CopySpec(group_frames=12, skippable_frames=3))
    with CopyReader(path) as reader:
        fed = [packet.pts for packet in reader._packets([1, 4, 26])]
    assert sorted(fed) == [0, 1, 4, 24, 26, 28]
    with CopyReader(path) as reader:
        assert indices_in(reader.read(np.array([1, 4, 26]) / 25).pixels) == [1, 4, 26]


def test_damage_is_an_error_and_no_picture(coded: PathOf, tmp_path: Path) -> None:
    """Flipped bytes anywhere in the file: a reason, or the whole frames."""
    data = bytearray(copy(coded("h264 with B frames"), tmp_path / "a.mp4").read_bytes())
    random, refused = np.random.default_rng(0), 0
    for trial in range(60):
        damaged = bytearray(data)
        for at in random.integers(0, len(data), 1 + trial % 40):
            damaged[at] ^= int(random.integers(1, 256))
        (tmp_path / "b.mp4").write_bytes(damaged)
        try:
            with open_video(tmp_path / "b.mp4") as reader:
                assert len(reader.read(np.arange(50) / 5).pixels) == 50
        except VideoError:
            refused += 1
    assert refused > 20


def test_a_copy_that_was_cut_short(coded: PathOf, tmp_path: Path) -> None:
    data = copy(coded("h264 with B frames"), tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[:-2000])
    with open_video(tmp_path / "b.mp4") as reader:
        with pytest.raises(VideoError, match="truncated"):
            reader.read([11.9])
        assert indices_in(reader.read([0.5]).pixels) == [12]
