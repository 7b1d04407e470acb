"""The audit of contamination on corpora whose surveys are given: all four kinds of evidence, and what training makes of the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from surgrec.core.console import progress
from surgrec.corpus.card import Card
from surgrec.corpus.contamination import ContaminationAudit, TestSet, audit_contamination, test_rows, without
from surgrec.corpus.contamination_report import as_html, as_json, as_text, verdict_path, write_verdict
from surgrec.corpus.fingerprints import default_surveys, survey_path
from surgrec.corpus.gate import ContaminatedError, refuse_contaminated, standing_of
from surgrec.corpus.manifest import SCHEMA, SCHEMA_VERSION, Manifest
from surgrec.corpus.survey import write_survey
from surgrec.video.errors import VideoError
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
    assert "not compared" in as_text(audit)
    assert not list(default_surveys(corpus).glob("fingerprints_*.npz"))  # asked again once the disk is back


# -- training


def judged(folder: Path) -> tuple[Path, Path]:
    audit, corpus, held_out = audit_of(folder)
    path = folder / "corpus.parquet"
    write_verdict(audit, corpus, [test_set(folder, held_out)], verdict_path(path))
    return path, folder / "held_out.parquet"


def test_a_mixture_that_shows_test_material_is_refused_by_name(folder):
    corpus, held_out = judged(folder)
    for held in ([held_out], []):  # the verdict beside the manifest is enough
        standing = standing_of([corpus], held)
        assert set(standing.seen) == {"ours-2", "ours-3", "ours-4"}
        with pytest.raises(ContaminatedError, match=r"3 videos.*ours-2.*--clean.*allow_contamination=true"):
            refuse_contaminated(standing)


def test_the_clean_manifest_is_let_through(folder, tmp_path):
    corpus, held_out = judged(folder)
    audit, manifest, _ = audit_of(folder)
    clean = tmp_path / "corpus.parquet"
    without(manifest, audit.video_ids).write(clean)
    verdict_path(clean).write_text(verdict_path(corpus).read_text())
    standing = standing_of([clean], [held_out])
    assert standing.seen == ()
    assert standing.missing == ()
    assert standing.sentence == "nothing of held_out was found in the mixture"
    refuse_contaminated(standing)


def test_an_interval_that_is_not_used_is_no_contamination(folder, tmp_path):
    corpus, _ = judged(folder)
    rows = [one for one in Manifest.read([corpus]).table.to_pylist() if one["video_id"] == "ours-2"]
    rows[0]["usable"] = [{"start_seconds": 0.0, "end_seconds": 2.0}, {"start_seconds": 10.5, "end_seconds": 12.0}]
    cut = manifest_of(tmp_path, "corpus", rows)
    verdict_path(cut).write_text(verdict_path(corpus).read_text())
    assert standing_of([cut], []).seen == ()


def test_what_was_not_compared_with_what_is_held_out_is_refused(folder, tmp_path):
    _, held_out = judged(folder)
    new = manifest_of(tmp_path, "new", [row("new-0", 9)])
    with pytest.raises(
        ContaminatedError, match=r"surgrec audit contamination --pretrain .*new\.parquet --downstream .*held_out"
    ):
        refuse_contaminated(standing_of([new], [held_out]))
    refuse_contaminated(standing_of([new], []))  # nothing held out, nothing known
    assert standing_of([new], []).sentence == "the mixture was not compared with any test set"


def test_a_video_added_after_the_audit_must_be_compared(folder, tmp_path):
    corpus, held_out = judged(folder)
    audit, manifest, _ = audit_of(folder)
    rows = [*without(manifest, audit.video_ids).table.to_pylist(), row("added", 9)]
    grown = manifest_of(tmp_path, "corpus", rows)
    verdict_path(grown).write_text(verdict_path(corpus).read_text())
    assert standing_of([grown], [held_out]).missing


def test_a_verdict_on_another_split_is_none_on_the_test(folder, tmp_path):
    """Comparing with the training videos of a set says nothing of its test videos."""
    _, held_out = judged(folder)
    audit, manifest, theirs = audit_of(folder)
    clean = tmp_path / "corpus.parquet"
    kept = without(manifest, audit.video_ids)
    kept.write(clean)
    write_verdict(audit, manifest, [test_set(folder, theirs, ("train",))], verdict_path(clean))
    assert standing_of([clean], [held_out]).missing
    write_verdict(audit, manifest, [test_set(folder, theirs)], verdict_path(clean))
    assert not standing_of([clean], [held_out]).missing


def test_a_test_video_that_could_not_be_decoded_was_not_compared(folder, tmp_path):
    _, held_out = judged(folder)
    audit, manifest, theirs = audit_of(folder)
    clean = tmp_path / "corpus.parquet"
    without(manifest, audit.video_ids).write(clean)
    blind = replace(audit, unseen={"theirs-1": VideoError("corrupt")})
    write_verdict(blind, manifest, [test_set(folder, theirs)], verdict_path(clean))
    with pytest.raises(ContaminatedError, match=r"not all of the mixture was compared.*cannot be decoded"):
        refuse_contaminated(standing_of([clean], [held_out]))
