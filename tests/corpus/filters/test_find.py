"""Each filter finds what it is for, where it is, and leaves surgery alone; what is usable is the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec.core.errors import UserError
from surgrec.corpus.filters.find import OF_TIME, REASONS, find, usable_intervals
from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.filters.out_of_body import load_model
from surgrec.corpus.filters.thresholds import OutOfBody, Thresholds, Usable
from surgrec.corpus.survey import Survey
from surgrec.synthetic import blemishes
from tests.corpus.filters.pictures import NARROW_BAND, TISSUE, moving, room, survey_of

SECONDS = 10
NUM = 4 * SECONDS
START, STOP = 12, 24  # 3 s to 6 s


def found_in(frames: np.ndarray, thresholds: Thresholds | None = None) -> list[Finding]:
    return find(survey_of(frames), len(frames) / 4, thresholds or Thresholds())


def smoky(frames: np.ndarray) -> np.ndarray:
    haze = np.linspace(0.3, 0.75, frames.shape[2])[None, None, :, None]
    return (frames * (1 - haze) + 190 * haze).astype(np.uint8)


PLANTED = {
    "black": lambda frames: blemishes.replaced(frames, START, STOP, np.full(frames.shape[1:], 4, np.uint8)),
    "frozen": lambda frames: blemishes.frozen(frames, START, STOP),
    "colour bars": lambda frames: blemishes.replaced(frames, START, STOP, blemishes.colour_bars(*frames.shape[1:3])),
    "blue screen": lambda frames: blemishes.replaced(frames, START, STOP, blemishes.blue_screen(*frames.shape[1:3])),
    "menu": lambda frames: blemishes.replaced(frames, START, STOP, blemishes.menu(*frames.shape[1:3])),
    "uniform": lambda frames: blemishes.replaced(frames, START, STOP, np.full(frames.shape[1:], 180, np.uint8)),
    "out_of_body": lambda frames: np.concatenate([frames[:START], room(STOP - START), frames[STOP:]]),
    "blur": lambda frames: blemishes.blurred(frames, START, STOP, 3.0),
}
REASON_OF = dict.fromkeys(("colour bars", "blue screen", "menu", "uniform"), "low_information")


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found_where_it_is(what: str) -> None:
    (one,) = (one for one in found_in(PLANTED[what](moving(NUM))) if one.reason in OF_TIME)
    assert one.reason == REASON_OF.get(what, what) and one.region is None
    assert abs(one.start_seconds - 3) <= 0.25 and abs(one.end_seconds - 6) <= 0.25


@pytest.mark.parametrize(
    "frames",
    [
        moving(NUM),
        moving(NUM, NARROW_BAND),
        moving(NUM, (205, 190, 180)),  # sclera
        moving(NUM, (150, 150, 152)),  # a grey bench
        moving(NUM) // 4,  # a dim console
        moving(NUM, (150, 10, 12)),  # blood
        np.concatenate([moving(START), smoky(moving(NUM - START))]),
        np.concatenate([moving(START), moving(NUM - START, NARROW_BAND)]),  # the light is switched
        np.repeat(moving(SECONDS), 4, axis=0),  # one frame a second
    ],
    ids=["tissue", "narrow band", "sclera", "bench", "dim", "blood", "smoke", "switched light", "slow"],
)
def test_surgery_stays_usable(frames: np.ndarray) -> None:
    assert [one for one in found_in(frames) if one.reason in OF_TIME] == []


def test_a_grey_room_is_found_by_what_it_lacks() -> None:
    frames = moving(NUM, (210, 60, 50))
    frames[START:STOP] = moving(STOP - START, (120, 122, 125), seed=3)
    frames[START:STOP, :48, :60] = (90, 110, 160)
    assert [one.reason for one in found_in(frames) if one.reason in OF_TIME] == ["out_of_body"]


def test_a_sample_has_one_reason() -> None:
    """Black frames also stand still, and are blurred, and show nothing."""
    frames = moving(NUM)
    frames[START:STOP] = 0
    frames[STOP : STOP + 4] = 200
    assert [one.reason for one in found_in(frames)] == ["black", "low_information"]


def test_what_cannot_be_read_is_refused() -> None:
    good = np.ones(NUM, bool)
    good[START:STOP] = False
    survey = survey_of(moving(NUM), good)
    assert [(one.reason, one.start_seconds, one.end_seconds) for one in find(survey, SECONDS, Thresholds())] == [
        ("unreadable", 2.875, 5.875)
    ]


def test_a_video_of_two_frames_is_judged() -> None:
    assert found_in(moving(2)) == []
    assert [one.reason for one in found_in(np.zeros((2, 96, 128, 3), np.uint8))] == ["black"]


def test_a_survey_without_measures_is_no_input() -> None:
    bare = survey_of(moving(2))
    with pytest.raises(ValueError, match="no measures"):
        find(Survey(bare.times_seconds, bare.luma, bare.chroma, bare.is_readable, bare.box), 0.5, Thresholds())


# -- the place for a learned model


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "toy_model.py").write_text(
        "import numpy as np\n"
        "not_a_function = 3\n"
        "def by_brightness(survey):\n    return (survey.luma.mean(axis=(1, 2)) > 120).astype(float)\n"
        "def wrong_shape(survey):\n    return np.zeros(3)\n"
        "def out_of_range(survey):\n    return np.full(len(survey), 1.5)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "toy_model"
    sys.modules.pop("toy_model", None)


def test_a_model_takes_the_place_of_the_colours(model_file: str) -> None:
    frames = np.concatenate([room(START), np.clip(moving(NUM - START, TISSUE) * 1.0 + 60, 0, 255).astype(np.uint8)])
    frames[:START] //= 2
    thresholds = Thresholds(out_of_body=OutOfBody(model=f"{model_file}:by_brightness"))
    model = load_model(thresholds.out_of_body.model)
    findings = [one for one in find(survey_of(frames), SECONDS, thresholds, model) if one.reason in OF_TIME]
    assert [(one.reason, one.score) for one in findings] == [("out_of_body", 1.0)]
    assert findings[0].start_seconds == pytest.approx(3, abs=0.2) and findings[0].end_seconds == SECONDS


@pytest.mark.parametrize("name", ["wrong_shape", "out_of_range"])
def test_a_model_must_return_probabilities(model_file: str, name: str) -> None:
    config = Thresholds(out_of_body=OutOfBody(model=f"{model_file}:{name}"))
    with pytest.raises(UserError, match="one probability from 0 to 1 per sample"):
        find(survey_of(moving(8)), 2.0, config, load_model(config.out_of_body.model))


@pytest.mark.parametrize(
    "place", ["nowhere_at_all:f", "toy_model:absent", "toy_model", ":f", "toy_model:not_a_function"]
)
def test_a_model_that_is_not_there_is_named(model_file: str, place: str) -> None:
    with pytest.raises(UserError, match=r"out_of_body\.model"):
        load_model(place)


# -- what is usable

times = st.floats(0, 20).map(lambda value: round(value, 2))
finding = st.tuples(times, times, st.sampled_from(REASONS)).map(
    lambda parts: Finding(parts[2], min(parts[:2]), max(parts[:2]), 1.0)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(finding, max_size=6))
def test_usable_and_refused_share_no_moment(findings: list[Finding]) -> None:
    config = Usable(margin_seconds=0.25, min_seconds=1.0)
    intervals = usable_intervals(findings, 20.0, config)
    assert intervals == sorted(intervals)
    refused = [one for one in findings if one.reason in OF_TIME]
    for start, end in intervals:
        assert start >= 0 and end <= 20 and end - start >= 1.0
        for one in refused:
            assert (
                end <= one.start_seconds - 0.25 + 1e-9
                or start >= one.end_seconds + 0.25 - 1e-9
                or one.start_seconds == 0 == end
            )
    moments = np.arange(0, 20, 0.05)
    is_free = np.all(
        [(moments < one.start_seconds - 0.25) | (moments > one.end_seconds + 0.25) for one in refused]
        or [moments >= 0],
        axis=0,
    )
    is_usable = np.any([(moments >= start) & (moments <= end) for start, end in intervals] or [moments < 0], axis=0)
    runs = np.flatnonzero(np.diff(is_free.astype(int), prepend=0, append=0)).reshape(-1, 2)
    for first, stop in runs:
        if stop - first > 22:  # clearly longer than the shortest that is kept
            assert is_usable[first + 1 : stop - 1].all()


def test_a_short_video_without_findings_is_usable() -> None:
    assert usable_intervals([], 0.6, Usable()) == [(0.0, 0.6)]
    assert usable_intervals([Finding("text", 0, 0.6, 1.0)], 0.6, Usable()) == [(0.0, 0.6)]
    assert usable_intervals([Finding("black", 0, 5, 1.0)], 5.0, Usable()) == []
