"""Copies are found whatever was done to them, with their times; what is not a copy is not."""

from __future__ import annotations

import numpy as np
import pytest

from surgrec.corpus.alignment import Pictures, align, pictures_of
from surgrec.corpus.fingerprint import fingerprint
from surgrec.corpus.shared_footage import Candidate, Moments, Verdict, find_copies, judge
from tests.corpus.moving import HEIGHT, TRANSFORMATIONS, WIDTH, cropped, survey_of


def copies(first, second):
    moments = [Moments.of([fingerprint(survey) for survey in surveys]) for surveys in (first, second)]
    return find_copies(*moments, first.__getitem__, second.__getitem__)


CORPUS = [survey_of(seed, 16) for seed in range(10)]


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_changed_excerpt_is_found_where_it_is(name):
    excerpt = survey_of(3, 6, start=5.1, change=TRANSFORMATIONS[name])
    (copy,) = copies([excerpt], CORPUS)
    assert (copy.second, copy.is_mirrored) == (3, "mirrored" in name)
    np.testing.assert_allclose(copy.first_seconds, (0, 6), atol=0.8)
    np.testing.assert_allclose(copy.second_seconds, (5.1, 11.1), atol=0.8)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_corpus_that_holds_a_changed_copy_is_found_too(name):
    """The same, the other way around: here the corpus has the crop."""
    corpus = [*CORPUS[:3], survey_of(3, 7, start=4.0, change=TRANSFORMATIONS[name]), *CORPUS[4:]]
    (copy,) = copies([CORPUS[3]], corpus)
    assert (copy.second, copy.is_mirrored) == (3, "mirrored" in name)
    np.testing.assert_allclose(copy.first_seconds, (4.0, 11.0), atol=0.8)


def test_a_few_seconds_within_a_long_video_are_found_at_their_place():
    compilation = survey_of(20, 30)
    compilation.luma[60:84] = survey_of(4, 6, start=7.0).luma
    (copy,) = copies([CORPUS[4]], [compilation])
    np.testing.assert_allclose(copy.first_seconds, (7.0, 13.0), atol=1.1)
    np.testing.assert_allclose(copy.second_seconds, (15.0, 21.0), atol=1.1)


@pytest.mark.parametrize("seconds", [1.5, 2.2])
def test_brief_copies_of_brief_videos_are_found(seconds):
    brief = [survey_of(seed, 3) for seed in range(30, 36)]
    (copy,) = copies([survey_of(33, seconds, start=0.4, change=cropped)], brief)
    assert copy.second == 3


@pytest.mark.parametrize("per_second", [4, 16])
def test_movement_too_quick_for_any_other_shift_is_found_at_its_own(per_second):
    """Every picture is new, so a shift by one picture leaves nothing in common."""
    luma = np.random.default_rng(0).integers(0, 256, (40, 32, 32)).astype(np.uint8)
    found = align(Pictures(luma[8:32], per_second), Pictures(luma, per_second), 8 / per_second, 1.0)
    assert found is not None and found.change > 0.95
    assert found.shift_seconds == pytest.approx(8 / per_second, abs=0.01)


def test_other_footage_is_no_copy():
    assert copies([survey_of(seed, 12) for seed in range(100, 112)], CORPUS) == []


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [7, 12])
def test_a_black_gap_in_the_round_view_of_two_endoscopes_is_no_common_footage(seconds):
    """What appears after it is first of all the view, the same in both, and nothing in a video changes as much."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1.33 : 1.33 : WIDTH * 1j]
    view = (y**2 + x**2 < 1)[..., None]

    def seen(frames):
        frames = np.where(view, frames, 2).astype(np.uint8)
        frames[len(frames) // 2 : 2 * len(frames) // 3] = 2 + 4 * view
        return frames

    surveys = [survey_of(seed, seconds, change=seen) for seed in range(40, 46)]
    assert copies(surveys[:3], surveys[3:]) == []
    for one in surveys[:3]:  # whatever the fingerprints may propose
        for other in surveys[3:]:
            pictures = pictures_of(one, other)
            for shift in np.arange(-2, 2.1, 0.5).tolist():
                candidate = Candidate(0, 0, False, shift, seconds / 2 - 1, seconds / 2 + 1, 1.0, 1.0)
                assert judge(candidate, *pictures, Verdict()) is None


def test_a_still_picture_is_a_copy_of_nothing_that_moves():
    still = survey_of(3, 8)
    still.luma[:] = still.luma[4]
    assert copies([still], [CORPUS[5], CORPUS[6]]) == []


def test_alignment_recovers_crop_and_shift():
    whole = survey_of(7, 12)
    part = survey_of(7, 6, start=3.2, change=cropped)
    found = align(Pictures(part.luma), Pictures(whole.luma), shift_seconds=3.0, scale=0.85)
    assert found is not None
    np.testing.assert_allclose(found.shift_seconds, 3.2, atol=0.1)
    np.testing.assert_allclose((found.top, found.left, found.height, found.width), (0.12, 0.05, 0.8, 0.8), atol=0.05)
    assert found.change > 0.8
    assert found.structure > 0.6


@pytest.mark.slow
def test_every_one_of_many_copies_of_a_moment_is_found():
    """A clip that a corpus holds forty times: what is left after taking out what was found must be clean."""
    kinds = [survey_of(40, 3, change=TRANSFORMATIONS[name]) for name in ("none", "brightened")]
    corpus = 20 * kinds
    found = copies([survey_of(40, 3)], corpus)
    assert {copy.second for copy in found} == set(range(40))


@pytest.mark.slow
def test_every_turn_of_a_loop_is_found():
    loop = survey_of(41, 60)
    for turn in range(12):
        loop.luma[20 * turn : 20 * (turn + 1)] = survey_of(42, 5).luma
    seconds = np.zeros(60, bool)
    for copy in copies([survey_of(42, 5)], [loop]):
        seconds[int(np.ceil(copy.second_seconds[0])) : int(copy.second_seconds[1])] = True
    assert seconds.mean() > 0.9
