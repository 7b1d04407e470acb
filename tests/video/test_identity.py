"""The law of time: whatever the container, codec and frame rate, a time gives the frame that is on display then."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from surgrec.core.errors import UserError
from surgrec.video.decode import BACKENDS, open_video
from surgrec.video.errors import VideoError
from surgrec.video.probe import probe
from tests.video.make_videos import CODED, Coded, indices_in, remux, variable_times, write

NUM_READS = {"pyav": 30, "torchcodec": 8, "decord": 8}  # of up to 16 frames each
Times = npt.NDArray[np.float64]
PathOf = Callable[[str], Path]


def random_reads(times: Times, num_reads: int) -> list[Times]:
    """Ascending times: short clips anywhere, wider windows, sparse reads across the whole file and past its end.

    Times within 2 ms of a change of frames are left out: containers round, there either frame is right.
    """
    generator = np.random.default_rng(3)
    duration = times[-1] + 0.04
    reads = []
    for _ in range(num_reads):
        span = duration * generator.choice([0.02, 0.2, 1.1])
        wanted = np.sort(generator.uniform(0, duration - span / 2) + generator.uniform(0, span, 16))
        reads.append(wanted[np.abs(wanted[:, None] - times[None, 1:]).min(axis=1) > 0.002])
    return [wanted for wanted in reads if len(wanted)]


def on_display(times: Times, wanted: Times) -> npt.NDArray[np.int64]:
    return np.maximum(np.searchsorted(times, wanted, side="right") - 1, 0)


def assert_reads_by_time(path: Path, times: Times, shown: npt.NDArray[np.int64], backend: str = "pyav") -> None:
    """Random reads of one open video, forwards and backwards, give the frames on display and their times."""
    with open_video(path, backend) as video:
        for wanted in random_reads(times, NUM_READS[backend]):
            frames = video.read(wanted)
            order = on_display(times, wanted)
            assert indices_in(frames.pixels) == shown[order].tolist()
            np.testing.assert_allclose(frames.times_seconds, times[order], atol=0.002)


def truth(video: Coded) -> tuple[Times, npt.NDArray[np.int64]]:
    times = np.array([float(time - video.times[0]) for time in video.times])
    return times, np.array(video.shown if video.shown is not None else range(len(times)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("title", CODED)
def test_random_reads_give_the_frames_on_display(title: str, backend: str, coded: PathOf) -> None:
    path = coded(title)
    try:
        open_video(path, backend).close()
    except UserError as error:
        pytest.skip(str(error))
    except VideoError as error:
        assert backend != "pyav"
        assert error.reason == "unsupported_codec"
        return
    assert_reads_by_time(path, *truth(CODED[title]), backend)


@pytest.mark.parametrize("title", CODED)
def test_probe_counts_what_is_shown(title: str, coded: PathOf) -> None:
    times, _ = truth(CODED[title])
    info = probe(coded(title))
    assert info.num_frames == len(times)
    assert info.duration_seconds == pytest.approx(times[-1] + np.diff(times)[-1], abs=0.2)
    assert info.fps == pytest.approx((len(times) - 1) / times[-1], rel=2e-3)
    assert info.is_variable_rate == ("variable" in title)


def test_copies_of_one_video_give_the_same_moments(tmp_path: Path) -> None:
    """The original at 25 fps, a copy at 1 fps and one of variable rate, asked for the same seconds."""
    original = Coded("original.mp4", times=[Fraction(i, 25) for i in range(500)])
    slow = Coded("slow.mp4", times=[Fraction(i) for i in range(20)], shown=range(0, 500, 25))
    kept = sorted({*range(0, 500, 25), *np.random.default_rng(0).integers(0, 500, 150).tolist()})
    variable = Coded("variable.mkv", times=[Fraction(i, 25) for i in kept], shown=kept, ticks_per_second=1000)
    wanted = np.arange(20.0)
    for video in (original, slow, variable):
        for short_reads in (wanted[None], wanted[:, None]):  # in one read and in twenty
            with open_video(write(tmp_path, video)) as reader:
                shown = [index for times in short_reads for index in indices_in(reader.read(times).pixels)]
            assert shown == list(range(0, 500, 25)), video.name
    assert probe(tmp_path / "slow.mp4").fps == pytest.approx(1)


@pytest.mark.parametrize("num_hidden", [6, 30])
def test_what_an_edit_list_hides_is_never_shown(num_hidden: int, coded: PathOf, tmp_path: Path) -> None:
    """A cut without encoding: the file starts at a keyframe, its edit list some frames later."""

    def shift(packet: av.Packet) -> bool:
        packet.pts -= num_hidden * 512
        packet.dts -= num_hidden * 512
        return True

    cut = remux(coded("h264 with B frames"), tmp_path / "cut.mp4", shift, avoid_negative_ts="disabled")
    times = np.arange(300 - num_hidden) / 25
    assert probe(cut).num_frames == len(times)
    assert_reads_by_time(cut, times, np.arange(num_hidden, 300))


def test_a_stream_that_begins_between_keyframes_starts_at_the_first(coded: PathOf, tmp_path: Path) -> None:
    packets = iter(range(10**6))
    cut = remux(coded("h264, ts"), tmp_path / "cut.ts", lambda packet: next(packets) >= 30)
    times = np.arange(300 - 36) / 25
    assert probe(cut).num_frames == len(times)
    assert_reads_by_time(cut, times, np.arange(36, 300))


def test_skipping_unneeded_frames_changes_no_pixel(tmp_path: Path) -> None:
    """Every 7th frame, read with skipping, against decoding all of a stream with a pyramid of B frames."""
    options = {"g": "250", "x264-params": "bframes=5:b-pyramid=normal:b-adapt=0:scenecut=0:ref=4"}
    path = write(tmp_path, Coded("pyramid.mp4", options=options, times=[Fraction(i, 25) for i in range(200)]))
    with av.open(str(path)) as container:
        everything = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with open_video(path) as reader:
        every_seventh = reader.read(np.arange(0, 200, 7) / 25).pixels
        from_the_middle = reader.read(np.arange(93, 200, 7) / 25).pixels
    np.testing.assert_array_equal(indices_in(every_seventh), indices_in(everything[::7]))
    assert np.abs(every_seventh.astype(int) - everything[::7]).max() <= 2  # the scaler's rounding differs, nothing else
    assert np.abs(from_the_middle.astype(int) - everything[93::7]).max() <= 2


def test_ascending_reads_decode_every_frame_once(coded: PathOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that follow each other go on where the last one ended; a far jump seeks instead of decoding all between."""
    from surgrec.video.pyav_reader import PyavReader

    seeks: list[int] = []
    seek = PyavReader._seek
    monkeypatch.setattr(PyavReader, "_seek", lambda self, ticks: seeks.append(ticks) or seek(self, ticks))
    with open_video(coded("h264, one keyframe")) as reader:
        for start in np.arange(0, 11, 0.64):
            reader.read(start + np.arange(16) * 0.04)
    assert len(seeks) == 1
    seeks.clear()
    with open_video(coded("h264 with B frames")) as reader:
        for start in (0.0, 4.0, 8.0, 8.1):
            reader.read([start])
    assert len(seeks) == 3


def test_variable_times_are_what_the_name_says() -> None:
    assert len(set(np.diff([float(time) for time in variable_times(50)]).round(6))) > 20
