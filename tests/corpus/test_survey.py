"""A survey of a file: what it holds, that it comes back whole, and what damaged footage does to it."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus import survey as survey_module
from surgrec.corpus.measures import Measures
from surgrec.corpus.stills import Stills
from surgrec.corpus.survey import SAMPLES_PER_SECOND, Survey, read_survey, survey_video, write_survey
from surgrec.video.decode import Frames
from surgrec.video.errors import VideoError
from tests.corpus.filters.pictures import moving, survey_of

FPS, SECONDS = 8, 4


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A round view of four seconds."""
    path = tmp_path_factory.mktemp("survey") / "a.mp4"
    frames = moving(FPS * SECONDS, height=128, width=160)
    rows, columns = np.mgrid[0:128, 0:160]
    frames *= (np.hypot(rows - 63.5, columns - 79.5) < 60)[..., None].astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": "8"})
        stream.height, stream.width, stream.pix_fmt = 128, 160, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def assert_equal(first: Survey, second: Survey) -> None:
    for entry in dataclasses.fields(Survey):
        a, b = getattr(first, entry.name), getattr(second, entry.name)
        if isinstance(a, Stills):
            for part in dataclasses.fields(Stills):
                np.testing.assert_array_equal(getattr(a, part.name), getattr(b, part.name))
        elif isinstance(a, Measures | np.ndarray):
            a, b = (value.table if isinstance(value, Measures) else value for value in (a, b))
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        else:
            assert a == b, entry.name


def test_a_survey_has_a_row_for_every_quarter_of_a_second(video: Path) -> None:
    survey = survey_video(video, float(SECONDS))
    assert len(survey) == len(survey.measures) == SECONDS * SAMPLES_PER_SECOND and survey.is_readable.all()
    assert survey.circle is not None and survey.circle.radius == pytest.approx(60 / 128, abs=0.02)
    assert survey.box.left < survey.inscribed.left < survey.inscribed.right < survey.box.right
    np.testing.assert_allclose(survey.measures["frame_seconds"], survey.times_seconds, atol=1e-3)
    assert survey.stills.spans(4.0) == [(0.0, 4.0)] and survey.stills.num_frames.tolist() == [24]


def test_long_videos_have_stretches(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "_LONG_SECONDS", 3.0)
    stills = survey_video(video, float(SECONDS)).stills
    assert (
        stills.spans(4.0) == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)] and stills.num_frames.tolist() == [12] * 4
    )


def test_what_is_written_comes_back(video: Path, tmp_path: Path) -> None:
    for number, survey in enumerate((survey_video(video, float(SECONDS)), survey_of(moving(6)))):
        path = tmp_path / f"{number}.npz"
        write_survey(survey, path)
        assert_equal(read_survey(path), survey)


def test_a_damaged_or_older_file_is_no_survey(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_survey(survey_of(moving(6)), path)
    whole = path.read_bytes()
    for content in (whole[:-100], whole[: len(whole) // 3], b"", b"PK\x03\x04" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="run the command again"):
            read_survey(path)
    path.write_bytes(whole)
    with np.load(path) as file:
        np.savez_compressed(path, **{**file, "version": np.array(survey_module.VERSION + 1)})
    with pytest.raises(UserError, match="another version"):
        read_survey(path)


class Faulty:
    """A reader that cannot read from `bad` seconds on for a second."""

    def __init__(self, reader, bad: float) -> None:  # type: ignore[no-untyped-def]
        self.reader, self.bad = reader, bad

    def read(self, times: np.ndarray) -> Frames:
        if any(self.bad <= time < self.bad + 1 for time in np.atleast_1d(times)):
            raise VideoError("corrupt")
        return self.reader.read(times)

    def __enter__(self) -> Faulty:
        self.reader.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.reader.__exit__(*error)


def test_damaged_moments_are_marked_and_the_rest_is_as_ever(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, real = survey_video(video, float(SECONDS)), survey_module.open_video
    monkeypatch.setattr(survey_module, "open_video", lambda *a, **k: Faulty(real(*a, **k), 1.5))
    survey = survey_video(video, float(SECONDS))
    is_bad = (survey.times_seconds >= 1.5) & (survey.times_seconds < 2.5)
    assert (survey.is_readable == ~is_bad).all() and (survey.measures.table[is_bad] == 0).all()
    np.testing.assert_allclose(survey.measures["bright"][~is_bad], whole.measures["bright"][~is_bad], atol=3)
    assert np.isnan(survey.measures["change"][10]), "nothing is known of what changed over the gap"
    monkeypatch.setattr(survey_module, "open_video", lambda *a, **k: Faulty(real(*a, **k), -1e9))
    monkeypatch.setattr(Faulty, "read", lambda *_: (_ for _ in ()).throw(VideoError("corrupt")))
    with pytest.raises(VideoError, match="no_frames"):
        survey_video(video, float(SECONDS))
