"""A training copy shows the source's pictures at the source's moments, is cheap to read, and carries nothing else."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.video.decode import PACK_SUFFIX, Frames, open_video
from surgrec.video.errors import VideoError
from surgrec.video.probe import VideoInfo, probe
from surgrec.video.transcode import (
    CopySpec,
    PixelBox,
    Timeline,
    copy_size,
    even_size,
    timeline,
    write_frames,
    write_video,
)
from surgrec.video.verify import verify_pack, verify_video
from tests.video.make_videos import CODED, Coded, indices_in, picture_of, write

PathOf = Callable[[str], Path]
# The four that time alone tells apart, two rotations, AVI (times in decoding order), streams cut anywhere.
FEW = ("h264 variable rate", "h264 at 29.97", "h264 that starts at 5 s", "h264, on its side", "h264, avi", "h264, ts")


def copy(
    source: Path, target: Path, spec: CopySpec | None = None, box: PixelBox | None = None, is_checked: bool = True
) -> Path:
    spec = spec or CopySpec()
    info = probe(source)
    if spec.format == "frames":
        target = target.with_suffix(PACK_SUFFIX)
        write_frames(source, target, info, spec, box)
        verify_pack(target, timeline(info, spec.fps), copy_size(info, spec, box))
        return target
    write_video(source, target, info, spec, box)
    if is_checked:
        verify_video(target, timeline(info, spec.fps), copy_size(info, spec, box), spec.group_frames)
    return target


def all_frames(path: Path) -> Frames:
    info = probe(path)
    with open_video(path) as video:
        return video.read(np.arange(info.num_frames) / info.fps)


@pytest.mark.parametrize("title", [*FEW, *(pytest.param(t, marks=pytest.mark.slow) for t in CODED if t not in FEW)])
def test_every_frame_of_a_constant_rate_and_every_moment_of_a_variable_one(
    title: str, coded: PathOf, tmp_path: Path
) -> None:
    source = coded(title)
    info, path = probe(source), copy(source, tmp_path / "copy.mp4")
    frames = all_frames(path)
    if not info.is_variable_rate:
        assert indices_in(frames.pixels) == list(range(300))
    else:
        with open_video(source) as video:
            assert indices_in(frames.pixels) == indices_in(video.read(frames.times_seconds).pixels)
    assert abs(probe(path).duration_seconds - info.duration_seconds) <= 1 / info.fps
    assert np.ptp(np.diff(frames.times_seconds)) < 1e-9


@pytest.mark.parametrize("fps", [1.0, 4.0, 6.25, 9.0])
def test_fewer_frames_are_those_on_display_at_their_times(fps: float, coded: PathOf, tmp_path: Path) -> None:
    for title in ("h264 with B frames", "h264 variable rate"):
        source = coded(title)
        path = copy(source, tmp_path / f"{title}.mp4", CopySpec(fps=fps))
        frames = all_frames(path)
        with open_video(source) as video:
            assert indices_in(frames.pixels) == indices_in(video.read(np.arange(len(frames.pixels)) / fps).pixels)
        assert probe(path).fps == pytest.approx(fps)


def test_the_rate_is_never_raised(coded: PathOf, tmp_path: Path) -> None:
    assert probe(copy(coded("h264 with B frames"), tmp_path / "a.mp4", CopySpec(fps=60))).fps == 25


@pytest.mark.parametrize(
    ("fps", "num_frames", "rate"),
    [
        (25.0, 300, Fraction(25)),
        (29.97003, 300, Fraction(30000, 1001)),
        (29.9719, 300, Fraction(30000, 1001)),  # as a mean of times in milliseconds
        (23.976, 90000, Fraction(24000, 1001)),
        (27.83, 300, Fraction(2783, 100)),
        (0.0, 1, Fraction(1)),
        (1.0, 12, Fraction(1)),
    ],
)
def test_the_rate_behind_a_measured_one(fps: float, num_frames: int, rate: Fraction) -> None:
    duration = num_frames / fps if fps else 0.0
    info = VideoInfo(num_frames, duration, fps, 128, 96, "h264", 0, 0.0, is_variable_rate=False)
    times = timeline(info, 0)
    assert (times.rate, times.num_frames) == (rate, num_frames)


@pytest.mark.parametrize("title", ["h264 with B frames", "h264, on its side", "h264, upside down"])
def test_the_content_box_is_cut_from_the_upright_picture(title: str, coded: PathOf, tmp_path: Path) -> None:
    """Its lower right two thirds by three quarters: 8 of the 12 squares... and what they show is unchanged."""
    source = coded(title)
    path = copy(source, tmp_path / "copy.mp4", CopySpec(short_side_pixels=64), PixelBox(32, 32, 128, 96))
    assert (probe(path).width, probe(path).height) == (96, 64)
    with open_video(path) as video, open_video(source) as original:
        cut, whole = video.read([2.0]).pixels, original.read([2.0]).pixels
    assert np.abs(cut[0].astype(int) - whole[0, 32:96, 32:128]).mean() < 6


def test_a_box_outside_the_picture_is_refused(coded: PathOf, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="content box"):
        copy(coded("h264 with B frames"), tmp_path / "a.mp4", box=PixelBox(0, 0, 129, 96))


@pytest.mark.parametrize(
    ("height", "width", "copied"),
    [(720, 1280, (288, 512)), (241, 427, (240, 426)), (1, 1, (2, 2)), (569, 321, (510, 288))],
)
def test_sizes_are_even_and_never_enlarged(height: int, width: int, copied: tuple[int, int]) -> None:
    assert even_size(height, width, 288) == copied


def test_nothing_but_pictures_is_left(tmp_path: Path) -> None:
    """Sound, names, dates, chapters, a time code and what the encoders say of themselves are gone."""
    source = tmp_path / "source.mov"
    with av.open(str(source), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(title="Jane_Doe", comment="ward 7", creation_time="2019-03-04T05:06:07Z")
        container.metadata["timecode"] = "01:02:03:04"
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        video.metadata.update(handler_name="Jane_Doe", timecode="01:02:03:04")
        sound = container.add_stream("aac", rate=8000, layout="mono")
        container.set_chapters(
            [{"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "Jane_Doe"}}]
        )
        for number in range(50):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture_of(number), format="rgb24")))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.rate = 8000
        container.mux(sound.encode(samples))
        container.mux([*video.encode(None), *sound.encode(None)])
    original = source.read_bytes()
    assert all(word in original for word in (b"Jane_Doe", b"x264", b"Lavf", b"tmcd"))
    path = copy(source, tmp_path / "copy.mp4")
    data = path.read_bytes()
    for word in (b"Jane_Doe", b"ward 7", b"x264", b"Lavf", b"Lavc", b"tmcd", b"mp4a", b"chap"):
        assert word not in data, word
    at = data.index(b"mvhd")
    assert data[at + 8 : at + 16] == bytes(8)  # when it was made and changed
    assert copy(source, tmp_path / "again.mp4").read_bytes() == data


def test_groups_are_closed_and_regular(coded: PathOf, tmp_path: Path) -> None:
    """From any keyframe on, what is decoded does not depend on what came before."""
    path = copy(coded("h264, open groups"), tmp_path / "copy.mp4", CopySpec(group_frames=8))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, 300, 8))
    assert sorted(packet.pts for packet in packets) == list(range(0, 300 * 512, 512))
    with open_video(path) as video:
        forward = video.read(np.arange(300) / 25).pixels
    for start in (8, 80, 296):
        with open_video(path) as video:
            np.testing.assert_array_equal(video.read([start / 25]).pixels[0], forward[start])


def test_the_check_finds_what_is_wrong(coded: PathOf, tmp_path: Path) -> None:
    source, spec = coded("h264 with B frames"), CopySpec()
    info = probe(source)
    right = (timeline(info, 0), (96, 128), spec.group_frames)
    path = copy(source, tmp_path / "copy.mp4")
    verify_video(path, *right)
    for wrong in (
        (Timeline(Fraction(25), 299, 0.0), *right[1:]),
        (Timeline(Fraction(24), 300, 0.0), *right[1:]),
        (right[0], (96, 126), 16),
        (*right[:2], 8),
    ):
        with pytest.raises(VideoError) as caught:
            verify_video(path, *wrong)
        assert caught.value.reason == "bad_copy"
    with pytest.raises(VideoError):
        verify_video(source, *right)  # B frames, notes, the index at the end
    data = path.read_bytes()
    for damaged in (data[:-100], data[: len(data) // 2], data[:-3000] + bytes(3000)):
        (tmp_path / "damaged.mp4").write_bytes(damaged)
        with pytest.raises(VideoError):
            verify_video(tmp_path / "damaged.mp4", *right)


@pytest.mark.parametrize("name", ["formats/bt709_full_range.mp4", "formats/h264_10bits.mp4", "formats/h265_10bits.mp4"])
@pytest.mark.parametrize("kind", ["video", "frames"])
def test_colours_are_those_of_the_source(name: str, kind: str, clips: Path, tmp_path: Path) -> None:
    """Full range, ten bits, BT.709: through the same reader, the mean of each channel within two levels."""
    source = clips / name
    path = copy(source, tmp_path / "copy.mp4", CopySpec(kind, short_side_pixels=128, crf=16, jpeg_quality=95))
    with open_video(source, short_side_pixels=128) as original, open_video(path) as made:
        a, b = original.read([0.0, 0.4]).pixels.astype(int), made.read([0.0, 0.4]).pixels.astype(int)
    assert np.abs(a.mean((1, 2)) - b.mean((1, 2))).max() < 2
    assert np.abs(a - b).mean() < 8  # two are saturated test cards, whose colours have a quarter of the pixels


def test_a_stream_that_changes_its_size_is_brought_to_one(tmp_path: Path) -> None:
    """Two transport streams of different sizes, one after the other, as recorders write them when the input changes."""
    parts = []
    for number, (width, height) in enumerate(((128, 96), (256, 192))):
        with av.open(str(tmp_path / f"{number}.ts"), "w") as container:
            stream = container.add_stream("mpeg2video", rate=25, options={"g": "12"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for index in range(25 * number, 25 * number + 25):
                frame = av.VideoFrame.from_ndarray(picture_of(index), format="rgb24").reformat(width, height, "yuv420p")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append((tmp_path / f"{number}.ts").read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    path = copy(tmp_path / "both.ts", tmp_path / "copy.mp4")
    frames = all_frames(path)
    assert frames.pixels.shape[1:3] == (96, 128)
    assert set(indices_in(frames.pixels)) >= {0, 10, 30, 45}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"format": "webm"}, "video, frames"),
        ({"fps": -1}, "fps"),
        ({"short_side_pixels": 287}, "even"),
        ({"crf": 99}, "crf"),
        ({"jpeg_quality": 100}, "jpeg_quality"),
        ({"group_frames": 0}, "group_frames"),
    ],
)
def test_impossible_copies_are_refused(values: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        CopySpec(**values)


def test_the_last_frames_of_a_second_are_not_lost(tmp_path: Path) -> None:
    """One, two and three frames: the shortest videos."""
    for num in (1, 2, 3):
        source = write(tmp_path, Coded(f"{num}.mp4", times=[Fraction(i, 25) for i in range(num)]))
        frames = all_frames(copy(source, tmp_path / f"copy_{num}.mp4"))
        assert indices_in(frames.pixels) == list(range(num))
