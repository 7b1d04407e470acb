"""Laws of fingerprints: what they must not notice, and what they must."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from surgrec.corpus.fingerprint import DIMENSIONS, HOP_SECONDS, WINDOWS, as_floats, fingerprint, mirrored
from tests.corpus.moving import brightened, overlaid, survey_of


def likeness(one, other) -> np.ndarray:
    return np.sum(as_floats(one.vectors) * as_floats(other.vectors), axis=-1)


def test_a_fingerprint_has_a_unit_vector_for_every_half_second_and_window():
    found = fingerprint(survey_of(1, 10))
    assert found.vectors.shape == (17, len(WINDOWS), DIMENSIONS)  # two seconds each, so the last begins at 8
    np.testing.assert_allclose(np.diff(found.times_seconds), HOP_SECONDS)
    lengths = np.linalg.norm(found.vectors.astype(np.float32), axis=-1) / 256
    np.testing.assert_allclose(lengths, 1, atol=0.03)  # what rounding to bytes leaves


def test_the_mirrored_video_has_the_mirrored_fingerprint():
    survey = survey_of(2, 6)
    turned = fingerprint(replace(survey, luma=survey.luma[:, :, ::-1]))
    difference = turned.vectors.astype(int) - mirrored(fingerprint(survey).vectors)
    assert np.abs(difference).max() <= 1  # a rounding


def test_brightness_is_not_noticed_and_a_still_overlay_hardly():
    original = fingerprint(survey_of(3, 8))
    assert likeness(original, fingerprint(survey_of(3, 8, change=brightened)))[:, 0].min() > 0.95
    assert np.median(likeness(original, fingerprint(survey_of(3, 8, change=overlaid)))[:, 0]) > 0.7


def test_a_bright_logo_on_dim_footage_is_hardly_noticed():
    def dimmed(frames):
        return (frames * 0.3).astype(np.uint8)

    def with_logo(frames):
        changed = dimmed(frames)
        changed[:, 1:10, 60:79] = 235
        return changed

    for seed in range(8):
        likenesses = likeness(
            fingerprint(survey_of(seed, 8, change=dimmed)), fingerprint(survey_of(seed, 8, change=with_logo))
        )
        assert np.median(likenesses[:, 0]) > 0.9


def test_other_footage_is_far():
    originals = [fingerprint(survey_of(seed, 8)) for seed in range(8)]
    for number, one in enumerate(originals):
        for other in originals[number + 1 :]:
            everything = as_floats(one.vectors[:, 0]) @ as_floats(other.vectors[:, 0]).T
            assert everything.max() < 0.75


def test_moments_that_cannot_be_read_or_show_nothing_are_left_out():
    survey = survey_of(4, 10)
    survey.luma[30:] = 128
    survey.is_readable[5] = False
    starts = set(np.rint(fingerprint(survey).times_seconds * 4).astype(int).tolist())
    assert starts == {start for start in range(0, 33, 2) if not start <= 5 < start + 8 and start + 8 <= 30}


@pytest.mark.parametrize("seconds", [0.3, 0.7, 1.9])
def test_a_brief_video_stands_still_at_its_end(seconds):
    assert len(fingerprint(survey_of(5, seconds))) == 1
