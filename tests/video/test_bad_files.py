"""Files that are no videos, or not whole: a reason that can be counted, and no name or path in the message."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.video.decode import open_video
from surgrec.video.errors import REASONS, VideoError
from surgrec.video.probe import VideoInfo, probe
from tests.video.make_videos import CODED, Coded, indices_in, remux, write

PathOf = Callable[[str], Path]


def reason_of(path: Path) -> str:
    """Why `path` is refused; checks that the message does not name it."""
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert path.stem not in str(caught.value)
    return caught.value.reason


def shortened(source: Path, target: Path, share: float = 0.7) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(share * len(data))])
    return target


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "a_name.mp4").touch()
    assert reason_of(tmp_path / "a_name.mp4") == "empty"


def test_no_file(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "a_name.mp4") == "missing"


@pytest.mark.parametrize("content", [np.random.default_rng(0).bytes(50_000), b"notes\n" * 500, b"\xff" * 5000])
def test_garbage(content: bytes, tmp_path: Path) -> None:
    for suffix in (".mp4", ".avi", ".txt"):
        (tmp_path / f"a_name{suffix}").write_bytes(content)
        assert reason_of(tmp_path / f"a_name{suffix}") in ("not_a_video", "no_video_stream")


def test_pictures_and_sound(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a_name.png")
    assert reason_of(tmp_path / "a_name.png") == "not_a_video"
    assert reason_of(write_sound(tmp_path / "a_name.mp4")) == "no_video_stream"


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("title", ["h264 with B frames", "h264, mkv", "vp9, webm", "h264, avi", "mpeg4, avi"])
def test_cut_short(title: str, share: float, coded: PathOf, tmp_path: Path) -> None:
    assert reason_of(shortened(coded(title), tmp_path / "a_name.mp4", share)) == "truncated"


def test_cut_short_with_the_index_in_front(faststart: Path, tmp_path: Path) -> None:
    path = shortened(faststart, tmp_path / "a_name.mp4")
    assert reason_of(path) == "truncated"
    with open_video(path) as video:  # what is there can be read, what is not is an error and not another frame
        assert indices_in(video.read([1.0, 2.0]).pixels) == [25, 50]


def test_a_transport_stream_has_no_declared_end(coded: PathOf, tmp_path: Path) -> None:
    info = probe(shortened(coded("h264, ts"), tmp_path / "short.ts"))
    assert 100 < info.num_frames < 300


def test_damage_in_the_middle_is_never_returned(coded: PathOf, tmp_path: Path) -> None:
    """Overwritten packets give an error or the right frame; what lies before and after can be read."""
    noise = np.random.default_rng(0)

    def damage(packet: av.Packet) -> bool:
        if 100 <= packet.pts // 512 < 130:
            packet.update(noise.bytes(packet.size))
        return True

    path = remux(coded("h264 with B frames"), tmp_path / "damaged.mp4", damage)
    assert probe(path).num_frames == 300
    with open_video(path) as video:
        with pytest.raises(VideoError) as caught:
            video.read(np.arange(96, 140) / 25)
        assert caught.value.reason == "corrupt"
        assert indices_in(video.read([1.0, 3.0]).pixels) == [25, 75]  # after an error the reader goes on
        assert indices_in(video.read([8.0]).pixels) == [200]


FORMATS = {  # num_frames, width, height, codec, rotation_degrees
    "av1_video.mkv": (125, 640, 360, "av1", 0),
    "bt709_full_range.mp4": (30, 1280, 720, "h264", 0),
    "dog.mp4": (150, 256, 256, "mpeg4", 0),
    "flipping_a_pancake.mkv": (310, 426, 240, "h264", 0),
    "goat.mp4": (150, 256, 256, "mpeg4", 0),
    "h264_10bits.mp4": (30, 200, 200, "h264", 0),
    "h265_10bits.mp4": (30, 200, 200, "hevc", 0),
    "h265_video.mp4": (10, 128, 128, "hevc", 0),
    "nasa_13013.mp4": (390, 480, 270, "h264", 0),
    "unordered.mov": (4, 50, 50, "h264", 0),
    "video_0.mov": (3, 568, 320, "h264", 0),
    "video_90.mov": (3, 320, 568, "h264", 270),
    "video_180.mov": (3, 568, 320, "h264", 180),
    "video_270.mov": (3, 320, 568, "h264", 90),
}


@pytest.mark.parametrize("name", FORMATS)
def test_awkward_files_are_read_whole(name: str, clips: Path) -> None:
    """Every frame of each, at its own time, against decoding from beginning to end."""
    path = clips / "formats" / name
    info = probe(path)
    assert (info.num_frames, info.width, info.height, info.codec, info.rotation_degrees) == FORMATS[name]
    with av.open(str(path)) as container:
        times = np.array([frame.time for frame in container.decode(container.streams.best("video"))])
    assert len(times) == info.num_frames
    step = 1 + len(times) // 40
    with open_video(path, short_side_pixels=32) as video:
        read = video.read((times - times[0])[::step])
    np.testing.assert_allclose(read.times_seconds, (times - times[0])[::step], atol=1e-6)


def test_a_damaged_file_is_an_error_where_the_damage_is(clips: Path) -> None:
    path = clips / "formats" / "corrupted.mp4"
    assert isinstance(probe(path), VideoInfo)  # the packets are all there
    with open_video(path) as video:
        with pytest.raises(VideoError) as caught:
            video.read([0.0, 4.9])
        assert caught.value.reason == "corrupt"
        assert video.read([0.0, 0.5]).pixels.shape == (2, 720, 1280, 3)


def test_unknown_backend_names_those_that_exist(coded: PathOf) -> None:
    with pytest.raises(UserError, match="pyav, torchcodec, decord"):
        open_video(coded("h264 with B frames"), "opencv")


@pytest.mark.parametrize("times", [[], [1.0, 0.5], [np.nan], [[0.0]]])
def test_impossible_times_are_a_programming_error(times: list, coded: PathOf) -> None:
    with open_video(coded("h264 with B frames")) as video, pytest.raises(ValueError, match="ascending"):
        video.read(times)


def test_times_before_and_after_the_video_give_its_first_and_last_frame(coded: PathOf) -> None:
    for title in ("h264 with B frames", "h264, mkv", "mpeg2, mpg", "h264, ts", "h264, avi"):
        with open_video(coded(title)) as video:
            assert indices_in(video.read([-3.0, 0.0, 1e3, 1e5]).pixels) == [0, 0, 299, 299], title


def test_errors_survive_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(VideoError("corrupt", "at 2 s")))
    assert (error.reason, error.detail, str(error)) == ("corrupt", "at 2 s", "corrupt: at 2 s")
    assert VideoError("empty").detail == REASONS["empty"]
    with pytest.raises(ValueError, match="unknown reason"):
        VideoError("no_such_reason")


def test_every_coded_video_has_its_own_name() -> None:
    assert len({video.name for video in CODED.values()}) == len(CODED)


def test_a_matroska_header_may_end_where_the_head_does(coded: PathOf, tmp_path: Path) -> None:
    """The Segment's id in the last four of the bytes that are looked at, its size behind them; and every place near it."""
    data = coded("h264, mkv").read_bytes()
    segment = data.index(b"\x18S\x80g")
    for place in (4080, 4091, 4092, 4093, 4095, 4096):
        num_void = place - segment - 4  # one byte more for the header's size, three for the void's id and size
        void = b"\xec" + (0x4000 | num_void).to_bytes(2, "big") + bytes(num_void)  # EBML: an element that means nothing
        header_size = data[4] & 0x7F
        assert data[4] & 0x80 and segment == 5 + header_size
        longer = (0x4000 | header_size + len(void)).to_bytes(2, "big")
        path = tmp_path / f"a_name_{place}.mkv"
        path.write_bytes(data[:4] + longer + data[5:segment] + void + data[segment:])
        assert path.read_bytes()[place : place + 4] == b"\x18S\x80g"
        assert probe(path).num_frames == 300


FIVE_DAYS = 5 * 24 * 3600


@pytest.mark.parametrize(
    ("times", "is_true"),
    [
        ([i / 10 + (FIVE_DAYS if i > 40 else 0) for i in range(52)], False),
        ([0, 0.1, FIVE_DAYS], False),
        ([0, FIVE_DAYS], False),
        ([i / 10 for i in range(20)] + [200 + i / 10 for i in range(20)], False),
        ([i / 10 + (120 if i >= 1000 else 0) for i in range(2500)], True),  # a recorder that paused for two minutes
        ([float(i) for i in range(30)], True),
        ([120.0 * i for i in range(30)], True),  # time lapse
    ],
)
def test_a_jump_of_the_timestamps_is_no_footage(times: list[float], is_true: bool, tmp_path: Path) -> None:
    moments = [Fraction(time).limit_denominator(1000) for time in times]
    coded = Coded("a_name.mkv", times=moments, shown=[i % 4096 for i in range(len(times))], ticks_per_second=1000)
    path = write(tmp_path, coded)
    if is_true:
        assert probe(path).num_frames == len(times)
    else:
        assert reason_of(path) == "corrupt"
