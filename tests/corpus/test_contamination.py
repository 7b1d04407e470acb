"""The audit of contamination on corpora whose surveys are given: all four kinds of evidence, and what reports say of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from surgrec.core.console import progress
from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.contamination import (
    ContaminationAudit,
    TestSet,
    audit_contamination,
    read_test_set,
    same_bytes,
    test_rows,
    without,
)
from surgrec.corpus.contamination_report import as_html, as_json, as_text
from surgrec.corpus.manifest import SCHEMA, SCHEMA_VERSION, Manifest
from surgrec.corpus.survey import write_survey
from surgrec.corpus.surveys import default_surveys, survey_path
from tests.corpus.moving import cropped, survey_of

test_rows.__test__ = False  # type: ignore[attr-defined]


def row(
    video_id: str,
    seconds: float,
    source: str = "ours",
    group: str | None = None,
    split: str | None = None,
    sha: str | None = None,
):
    known = dict.fromkeys(SCHEMA.names)
    return known | {
        "video_id": video_id, "source": source, "domain": "laparoscopy", "group_id": group or video_id, "root": "/nowhere",
        "path": f"DOE_JANE/{video_id}.mp4", "sha256": sha or f"bytes of {video_id}", "num_frames": int(seconds * 25), "fps": 25.0,
        "duration_seconds": seconds, "width": 128, "height": 96, "codec": "h264", "schema_version": SCHEMA_VERSION,
        "usable": [{"start_seconds": 0.0, "end_seconds": seconds}], "split": split,
    }  # fmt: skip


def manifest_of(folder: Path, name: str, rows: list[dict], surveys: dict | None = None) -> Path:
    path = folder / f"{name}.parquet"
    Manifest(pa.Table.from_pylist(rows, schema=SCHEMA)).write(path)
    for video_id, survey in (surveys or {}).items():
        write_survey(survey, survey_path(default_surveys(path), video_id))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A corpus of five videos; a test set that holds a crop of one, the bytes of another and the patient of a third."""
    folder = tmp_path_factory.mktemp("contamination")
    names = [f"ours-{number}" for number in range(5)]
    manifest_of(
        folder,
        "corpus",
        [row(name, 12, group="patient-9" if number == 4 else None) for number, name in enumerate(names)],
        {name: survey_of(200 + number, 12) for number, name in enumerate(names)},
    )
    tests = [
        row("theirs-0", 6, "theirs", split="test"),
        row("theirs-1", 8, "theirs", split="test", sha="bytes of ours-3"),
        row("theirs-2", 8, "theirs", split="train", sha="bytes of ours-0"),
        row("ours-9", 8, "ours", split="test", group="patient-9"),
    ]
    surveys = {
        "theirs-0": survey_of(202, 6, start=3.0, change=cropped),
        "theirs-1": survey_of(301, 8),
        "ours-9": survey_of(302, 8),
    }
    manifest_of(folder, "held_out", tests, surveys)
    return folder


def test_set(folder: Path, manifest: Manifest, splits: tuple[str, ...] = ("test",)) -> TestSet:
    return TestSet("held_out", manifest, default_surveys(folder / "held_out.parquet"), test_rows(manifest, splits))


test_set.__test__ = False  # type: ignore[attr-defined]


def audit_of(folder: Path, cards=None) -> tuple[ContaminationAudit, Manifest, Manifest]:
    corpus, held_out = (Manifest.read([folder / f"{name}.parquet"]) for name in ("corpus", "held_out"))
    test = test_set(folder, held_out)
    surveys = default_surveys(folder / "corpus.parquet")
    return audit_contamination(corpus, surveys, [test], cards or {}, 0, progress), corpus, held_out


def test_all_kinds_of_evidence_are_found_and_no_other(folder):
    audit, _, _ = audit_of(folder)
    found = {(one.kind, one.video_id, one.test_video_id) for one in audit.evidence}
    assert found == {("footage", "ours-2", "theirs-0"), ("bytes", "ours-3", "theirs-1"), ("group", "ours-4", "ours-9")}
    (footage,) = [one for one in audit.evidence if one.kind == "footage"]
    np.testing.assert_allclose(footage.seconds, (3, 9), atol=0.8)
    np.testing.assert_allclose(footage.test_seconds, (0, 6), atol=0.8)
    assert audit.unseen == {}


def test_what_was_gathered_is_kept_and_says_the_same(folder):
    first, again = audit_of(folder)[0], audit_of(folder)[0]
    assert list(default_surveys(folder / "corpus.parquet").glob("fingerprints_*.npz"))
    assert first == again


def test_cards_tell_of_sources_that_share_recordings(folder):
    from surgrec.corpus.facts import Overlap

    cards = {
        "Ours": Card("Ours", "laparoscopy", overlaps=(Overlap("THEIRS", "same_videos", "half of them", "a paper"),))
    }
    audit, _, _ = audit_of(folder, cards)
    (declared,) = audit.declared
    assert (declared.source, declared.test_source, declared.how) == ("ours", "theirs", "same_videos")
    assert "half of them" in as_text(audit)


def test_reports_name_videos_by_their_ids_only(folder):
    audit, _, _ = audit_of(folder)
    for text in (as_text(audit), as_html(audit), str(as_json(audit))):
        assert "ours-2" in text
        assert "DOE_JANE" not in text
        assert "nowhere" not in text


def test_a_clean_manifest_lacks_the_videos_and_their_groups(folder):
    audit, corpus, _ = audit_of(folder)
    assert without(corpus, audit.video_ids).video_ids.tolist() == ["ours-0", "ours-1"]


def test_a_video_that_is_away_is_told_not_passed_over(folder, tmp_path):
    corpus = manifest_of(tmp_path, "corpus", [row("ours-0", 12), row("lost", 12)], {"ours-0": survey_of(200, 12)})
    held_out = Manifest.read([folder / "held_out.parquet"])
    test = test_set(folder, held_out)
    audit = audit_contamination(Manifest.read([corpus]), default_surveys(corpus), [test], {}, 0, progress)
    assert {name: error.reason for name, error in audit.unseen.items()} == {"lost": "missing"}
    told = as_text(audit)
    assert "not or not wholly compared, since they could not be decoded: 1 (1 missing)" in told
    assert "nothing of the tests was found" not in told
    assert as_html(audit).count("lost") == 1
    assert without(Manifest.read([corpus]), audit.video_ids, audit.unseen).video_ids.tolist() == ["ours-0"]
    assert not list(default_surveys(corpus).glob("fingerprints_*.npz"))  # asked again once the disk is back


def test_what_could_not_be_compared_is_not_called_clean(folder, tmp_path):
    corpus = manifest_of(tmp_path, "corpus", [row("ours-0", 12), row("lost", 12)], {"ours-0": survey_of(200, 12)})
    tests = manifest_of(tmp_path, "tests", [row("theirs-9", 8, "theirs")], {"theirs-9": survey_of(301, 8)})
    test = read_test_set(tests, ["test"])
    audit = audit_contamination(Manifest.read([corpus]), default_surveys(corpus), [test], {}, 0, progress)
    for text in (as_text(audit), as_html(audit)):
        assert "nothing was found in what could be compared; 1 video could not be" in text
        assert "nothing of the tests was found" not in text


@pytest.mark.parametrize("away", ["corpus", "tests"])
def test_an_audit_of_nothing_is_refused(folder, tmp_path, away):
    here = {"v-0": survey_of(200, 12)}
    corpus = manifest_of(tmp_path, "corpus", [row("v-0", 12)], {} if away == "corpus" else here)
    tests = manifest_of(tmp_path, "tests", [row("v-0", 12, "theirs")], {} if away == "tests" else here)
    with pytest.raises(UserError, match=rf"no video of (the )?{away} could be decoded .*missing"):
        test = read_test_set(tests, ["test"])
        audit_contamination(Manifest.read([corpus]), default_surveys(corpus), [test], {}, 0, progress)


def test_videos_without_a_split_beside_others_with_one_are_counted(folder, tmp_path):
    rows = [row("a", 9, "theirs", split="test"), row("b", 9, "theirs"), row("c", 9, "others")]
    path = manifest_of(tmp_path, "tests", rows, {name: survey_of(301 + at, 9) for at, name in enumerate("abc")})
    test = read_test_set(path, ["test"])
    assert (test.rows, test.num_unsplit) == ((0, 2), 1)
    corpus = Manifest.read([folder / "corpus.parquet"])
    audit = audit_contamination(corpus, default_surveys(folder / "corpus.parquet"), [test], {}, 0, progress)
    for text in (as_text(audit), as_html(audit)):
        assert "without a split, though others of their source have one: 1 video of tests" in text


def test_the_bytes_of_a_copy_and_of_its_original_are_the_same_file(tmp_path):
    test = read_test_set(manifest_of(tmp_path, "tests", [row("t", 9, "theirs", sha="A")]), ["test"])
    rows = [{**row("ours-0", 9, sha="B"), "original_sha256": "A"}, row("ours-1", 9, sha="C")]
    corpus = Manifest.read([manifest_of(tmp_path, "corpus", rows)])
    assert [(one.kind, one.video_id) for one in same_bytes(corpus, [test])] == [("bytes", "ours-0")]
