"""Text, overlays and insets are found where they are; a moving or a standing picture alone has none."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus.content_box import ContentBox
from surgrec.corpus.filters.find import OF_REGIONS, find, usable_intervals
from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.filters.thresholds import Thresholds
from surgrec.synthetic import blemishes
from tests.corpus.filters.pictures import NARROW_BAND, moving, survey_of

NUM = 24
HEIGHT, WIDTH = 128, 176
CORNERS = [(0, 0), (1, 0), (0, 1), (1, 1)]


def regions(frames: np.ndarray) -> list[Finding]:
    return [one for one in find(survey_of(frames), len(frames) / 4, Thresholds()) if one.reason in OF_REGIONS]


def changed(before: np.ndarray, after: np.ndarray) -> ContentBox:
    where = (np.abs(after[0].astype(int) - before[0]).max(axis=-1) > 20) & (before[0] > -1).all(axis=-1)
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return ContentBox(columns[0] / WIDTH, rows[0] / HEIGHT, (columns[-1] + 1) / WIDTH, (rows[-1] + 1) / HEIGHT)


def shared(a: ContentBox, b: ContentBox) -> float:
    """Intersection over union."""
    width, height = min(a.right, b.right) - max(a.left, b.left), min(a.bottom, b.bottom) - max(a.top, b.top)
    both = max(0.0, width) * max(0.0, height)
    return both / (sum((box.right - box.left) * (box.bottom - box.top) for box in (a, b)) - both)


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("num_lines", [1, 3])
def test_text(corner: tuple[int, int], num_lines: int) -> None:
    before = moving(NUM, height=HEIGHT, width=WIDTH)
    after = blemishes.captioned(before, 0, NUM, corner, num_lines, 0.07)
    found = regions(after)
    assert 1 <= len(found) <= num_lines  # lines near each other may be one region
    assert {(one.reason, one.start_seconds, one.end_seconds) for one in found} == {("text", 0.0, NUM / 4)}
    boxes = [one.region for one in found if one.region is not None]
    whole = ContentBox(
        min(box.left for box in boxes), min(box.top for box in boxes),
        max(box.right for box in boxes), max(box.bottom for box in boxes),
    )  # fmt: skip
    assert shared(whole, changed(before, after)) > 0.6


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("opacity", [1.0, 0.75])
def test_overlay(corner: tuple[int, int], opacity: float) -> None:
    before = moving(NUM, height=HEIGHT, width=WIDTH)
    after = blemishes.logo(before, 0, NUM, corner, 0.18, opacity)
    (one,) = regions(after)
    assert one.reason == "overlay" and one.region is not None and shared(one.region, changed(before, after)) > 0.6


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("border", [0, 2])
def test_picture_in_picture(corner: tuple[int, int], border: int) -> None:
    before = moving(NUM, height=HEIGHT, width=WIDTH)
    after = blemishes.inset(before, 0, NUM, moving(NUM, NARROW_BAND, HEIGHT, WIDTH, seed=4), corner, 0.3, border)
    (one,) = regions(after)
    assert (
        one.reason == "picture_in_picture"
        and one.region is not None
        and shared(one.region, changed(before, after)) > 0.8
    )


def test_text_in_a_bar() -> None:
    frames = blemishes.letterboxed(moving(NUM, height=HEIGHT, width=WIDTH), 24, 0)
    (one,) = regions(blemishes.captioned(frames, 0, NUM, (0, 1), 1, 0.06))
    assert one.reason == "text" and one.region is not None and one.region.top > 0.85


@pytest.mark.parametrize("colour", [(190, 80, 70), NARROW_BAND])
def test_a_moving_picture_has_none(colour: tuple[int, int, int]) -> None:
    assert regions(moving(NUM, colour, HEIGHT, WIDTH)) == []


def test_of_a_standing_picture_nothing_is_said() -> None:
    assert regions(np.repeat(moving(1, height=HEIGHT, width=WIDTH), NUM, axis=0)) == []
    assert regions(moving(4, height=HEIGHT, width=WIDTH)) == []  # too few frames to tell


def test_text_for_a_moment_is_no_burned_in_text() -> None:
    frames = moving(NUM, height=HEIGHT, width=WIDTH)
    assert regions(blemishes.captioned(frames, 0, 5, (0, 0), 2, 0.07)) == []


def test_regions_take_no_time_away() -> None:
    frames = blemishes.captioned(moving(NUM, height=HEIGHT, width=WIDTH), 0, NUM, (0, 0), 2, 0.07)
    findings = find(survey_of(frames), NUM / 4, Thresholds())
    assert findings and usable_intervals(findings, NUM / 4, Thresholds().usable) == [(0.0, NUM / 4)]
