"""Clips of any length meet encoders of any geometry: evenly in time, and the true frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from surgrec.core.errors import UserError
from surgrec.evaluation.clips import KeptClips, Room, VideoClips, ViewedClips, clip_times, shuffled
from surgrec.video.decode import open_video
from surgrec.video.probe import probe
from tests.video.make_videos import Coded, write


class Numbered:
    """Frames whose pixels are their numbers."""

    def read(self, row: int, num_frames: int) -> np.ndarray:
        return np.broadcast_to(np.arange(num_frames, dtype=np.uint8)[:, None, None, None], (num_frames, 2, 2, 3))


def numbers(frames: np.ndarray) -> list[int]:
    return frames[:, 0, 0, 0].tolist()


def test_a_clip_as_long_as_the_window_has_its_moments_and_others_are_stretched() -> None:
    np.testing.assert_allclose(clip_times(3.0, 3.0 + 16 * 0.25, 16), 3.0 + 0.25 * np.arange(16))
    np.testing.assert_allclose(clip_times(10.0, 610.0, 4), [10, 160, 310, 460])
    np.testing.assert_allclose(clip_times(0.0, 0.2, 4), [0, 0.05, 0.1, 0.15])
    for start, end in ((1.0, 1.0), (2.0, 1.0), (-1.0, 1.0)):
        with pytest.raises(ValueError, match="is empty"):
            clip_times(start, end, 4)


def test_views() -> None:
    for num_frames in (1, 2, 8):
        assert numbers(ViewedClips(Numbered(), "all frames").read(0, num_frames)) == list(range(num_frames))
        assert numbers(ViewedClips(Numbered(), "middle frame").read(0, num_frames)) == [num_frames // 2] * num_frames
    seen = [
        tuple(numbers(ViewedClips(Numbered(), "shuffled frames", seed).read(row, 8)))
        for seed in (0, 1)
        for row in range(20)
    ]
    assert all(sorted(order) == list(range(8)) != list(order) for order in seen) and len(set(seen)) > 35
    assert numbers(ViewedClips(Numbered(), "shuffled frames", 1).read(3, 8)) == list(seen[23])
    assert all(shuffled(0, row, 2).tolist() == [1, 0] for row in range(9)) and shuffled(0, 0, 1).tolist() == [0]


def test_what_there_is_room_for_is_read_once() -> None:
    class Counted(Numbered):
        num_read = 0

        def read(self, row: int, num_frames: int) -> np.ndarray:
            self.num_read += 1
            return super().read(row, num_frames)

    source = Counted()
    clips = KeptClips(source, Room(2 * 4 * 12))  # two clips of four frames
    for _ in range(3):
        assert [numbers(clips.read(row, 4)) for row in (0, 1, 2)] == [[0, 1, 2, 3]] * 3
    assert source.num_read == 2 + 3
    assert numbers(clips.read(0, 2)) == [0, 1]


def test_videos_are_read_at_these_moments(tmp_path: Path) -> None:
    path = write(tmp_path, Coded("a.mp4"))
    duration = probe(path).duration_seconds
    clips = VideoClips(
        [tmp_path / "gone.mp4", path, path, path], [0.0, 0.2, 0.4, 99.0], [1.0, 0.8, None, None], [None] * 4
    )
    with open_video(path) as video:
        expected = [video.read(clip_times(0.2, 0.8, 3)).pixels]
    with open_video(path) as video:
        expected.append(video.read(clip_times(0.4, duration, 3)).pixels)
    for row, frames in zip((1, 2), expected, strict=True):
        np.testing.assert_array_equal(clips.read(row, 3), frames)
    for row, said in ((0, "missing"), (3, r"out_of_range.*begins at 99\.000 s")):
        with pytest.raises(UserError, match=f"clip {row} of the task cannot be read .*{said}") as refused:
            clips.read(row, 3)
        assert str(tmp_path) not in str(refused.value) and "gone" not in str(refused.value)
    named = replace(clips, video_ids=["mine_0", "mine_1", "mine_1", "mine_1"])
    with pytest.raises(UserError, match="clip 3 of the task, of mine_1, cannot be read"):
        named.read(3, 3)


def test_pictures_in_a_folder_are_a_video(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((8, 10, 3), number * 20, dtype=np.uint8)).save(folder / f"frame{number}.png")
    (folder / "notes.txt").write_text("no picture")
    clips = VideoClips([folder] * 3, [0.0, 1.0, 5.0], [None, 2.0, 9.0], [2.0] * 3)
    assert [value // 20 for value in numbers(clips.read(0, 6))] == [0, 2, 4, 6, 8, 10]
    assert [value // 20 for value in numbers(clips.read(1, 4))] == [2, 2, 3, 3]
    assert [value // 20 for value in numbers(clips.read(2, 4))] == [10, 11, 11, 11]
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(folder / "frame4.png")
    with pytest.raises(UserError, match=r"clip 0 .*its pictures are of several sizes"):
        clips.read(0, 6)
    (folder / "frame4.png").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"clip 0 .*a picture of it cannot be read"):
        clips.read(0, 6)
    (tmp_path / "none").mkdir()
    for name, said in (("none", "has no pictures"), ("gone", "not where it should be")):
        with pytest.raises(UserError, match=said):
            VideoClips([tmp_path / name], [0.0], [None], [2.0]).read(0, 2)
