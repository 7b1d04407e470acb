"""Gathering fingerprints: in the order of the rows, one video in memory at a time, damage told, and what is kept is checked."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surgrec.core.console import progress
from surgrec.corpus import fingerprints
from surgrec.corpus.fingerprint import fingerprint
from surgrec.corpus.fingerprints import Gathered, gather
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.survey import Survey, read_survey, write_survey
from surgrec.corpus.surveys import default_surveys, survey_path
from tests.corpus.moving import survey_of
from tests.corpus.test_contamination import manifest_of, row

SECONDS = (9, 12, 10)


def three(folder: Path) -> Path:
    return manifest_of(
        folder,
        "corpus",
        [row(f"v-{number}", seconds) for number, seconds in enumerate(SECONDS)],
        {f"v-{number}": survey_of(number, seconds) for number, seconds in enumerate(SECONDS)},
    )


def gathered(path: Path) -> Gathered:
    manifest = Manifest.read([path])
    return gather(manifest, range(len(manifest)), default_surveys(path), 0, progress)


def damaged(survey: Survey, rows: list[int]) -> Survey:
    is_readable = survey.is_readable.copy()
    is_readable[rows] = False
    return replace(survey, is_readable=is_readable)


def test_moments_are_those_of_the_surveys_in_the_order_of_the_rows(tmp_path, monkeypatch):
    path = three(tmp_path)

    def backwards(function, jobs, num_workers, limits_of):
        return iter([(number, function(jobs[number])) for number in reversed(range(len(jobs)))])

    monkeypatch.setattr(fingerprints, "map_isolated", backwards)
    moments = gathered(path).moments
    expected = [fingerprint(read_survey(survey_path(default_surveys(path), f"v-{number}"))) for number in range(3)]
    assert np.array_equal(moments.vectors, np.concatenate([one.vectors for one in expected]))
    assert np.array_equal(moments.times_seconds, np.concatenate([one.times_seconds for one in expected]))
    assert np.bincount(moments.video).tolist() == [len(one) for one in expected]


def test_one_fingerprint_is_held_at_a_time(tmp_path, monkeypatch):
    path = three(tmp_path)
    alive: weakref.WeakSet = weakref.WeakSet()
    most = []

    def counted(survey):
        most.append(len(alive))
        made = fingerprint(survey)
        alive.add(made)
        return made

    monkeypatch.setattr(fingerprints, "fingerprint", counted)
    monkeypatch.setattr(fingerprints.Fingerprint, "__hash__", object.__hash__)  # so that a weak set takes it
    gathered(path)
    assert most == [0, 0, 0]


@pytest.mark.parametrize("rows", [range(6, 36), range(2, 36, 6)], ids=["a lost end", "holes all over"])
def test_a_video_of_which_much_cannot_be_decoded_was_not_looked_at(tmp_path, rows):
    path = three(tmp_path)
    survey = survey_path(default_surveys(path), "v-0")
    write_survey(damaged(read_survey(survey), list(rows)), survey)
    for _ in range(2):  # as it is read, and as it was kept
        (failed,) = gathered(path).failures.items()
        assert failed[0] == 0
        assert (failed[1].reason, "of 9.0 s could not be decoded" in failed[1].detail) == ("corrupt", True)


def test_a_picture_or_two_that_cannot_be_decoded_are_no_matter(tmp_path):
    path = three(tmp_path)
    survey = survey_path(default_surveys(path), "v-0")
    write_survey(damaged(read_survey(survey), [34, 35]), survey)
    assert gathered(path).failures == {}


def test_a_survey_of_a_video_that_was_listed_as_shorter_is_not_of_all_of_it(tmp_path):
    path = three(tmp_path)
    write_survey(survey_of(0, 4), survey_path(default_surveys(path), "v-0"))
    assert list(gathered(path).failures) == [0]


@pytest.mark.parametrize("damage", ["cut", "emptied", "zeroed"])
def test_what_was_kept_is_made_again_where_it_is_damaged(tmp_path, damage):
    path = three(tmp_path)
    before = gathered(path).moments
    expected = np.array(before.vectors)
    del before
    (kept,) = default_surveys(path).glob("fingerprints_*.npz")
    vectors = kept.with_suffix(".bin")
    match damage:
        case "cut":
            kept.write_bytes(kept.read_bytes()[:-30])
        case "emptied":
            kept.write_bytes(b"")
        case "zeroed":
            vectors.write_bytes(bytes(vectors.stat().st_size))
    assert np.array_equal(gathered(path).moments.vectors, expected)
