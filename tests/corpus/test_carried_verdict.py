"""A verdict on originals holds for their copies, and for nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.carried_verdict import carry_verdicts
from surgrec.corpus.contamination_report import read_verdict, verdict_path
from surgrec.corpus.gate import standing_of
from surgrec.corpus.manifest import Manifest
from tests.corpus.test_manifest import manifest as manifest_of
from tests.corpus.test_manifest import row

FOUND = {
    "kind": "footage",
    "video_id": "a_1",
    "seconds": [0, 1],
    "test_set": "t",
    "test_video_id": "t_1",
    "test_seconds": [0, 1],
}


def verdict(path: Path, tests: dict[str, str], checked: list[str], *evidence: dict) -> None:
    content = {
        "schema_version": 1,
        "num_videos": 9,
        "num_test_videos": dict.fromkeys(tests, 3),
        "evidence": list(evidence),
    }
    verdict_path(path).write_text(
        json.dumps({**content, "declared": [], "unseen": {}, "tests": tests, "checked": checked})
    )


@pytest.fixture
def copies(tmp_path: Path) -> Manifest:
    """Copies of a_1 and a_2, of two manifests."""
    rows = [row(i, video_id=f"a_{i}", sha256=f"copy {i}", original_sha256=f"original {i}") for i in (1, 2)]
    manifest_of(*rows).write(tmp_path / "prepared.parquet")
    return Manifest.read([tmp_path / "prepared.parquet"])


def test_evidence_and_bytes_of_the_copies(copies: Manifest, tmp_path: Path) -> None:
    originals, target = tmp_path / "m.parquet", tmp_path / "prepared.parquet"
    assert not carry_verdicts([originals], copies, target) and not verdict_path(target).exists()
    elsewhere = {**FOUND, "video_id": "a_9"}
    verdict(originals, {"t": "key"}, ["original 1", "original 9"], FOUND, elsewhere)
    assert carry_verdicts([originals], copies, target)
    seen = read_verdict(verdict_path(target))
    assert [one.video_id for one in seen.evidence] == ["a_1"]
    assert (seen.checked, seen.tests) == ({"copy 1"}, {"t": "key"})
    standing = standing_of([target], [])
    assert standing.seen == ("a_1",) and standing.sentence == "the mixture shows material of t in 1 video"
    before = verdict_path(target).stat().st_mtime_ns
    assert carry_verdicts([originals], copies, target) and verdict_path(target).stat().st_mtime_ns == before


def test_of_two_verdicts_only_what_both_compared_counts_as_compared(copies: Manifest, tmp_path: Path) -> None:
    verdict(tmp_path / "1.parquet", {"t": "key", "u": "old"}, ["original 1"], FOUND)
    verdict(
        tmp_path / "2.parquet",
        {"t": "key", "u": "new", "v": "more"},
        ["original 2"],
        {**FOUND, "video_id": "a_2", "test_set": "v"},
    )
    assert carry_verdicts([tmp_path / "1.parquet", tmp_path / "2.parquet"], copies, tmp_path / "prepared.parquet")
    seen = read_verdict(verdict_path(tmp_path / "prepared.parquet"))
    assert (seen.checked, seen.tests) == ({"copy 1", "copy 2"}, {"t": "key"})
    assert {one.video_id for one in seen.evidence} == {"a_1", "a_2"}
    assert "material of t, v in 2 videos" in standing_of([tmp_path / "prepared.parquet"], []).sentence


def test_an_audit_of_the_copies_themselves_stays(copies: Manifest, tmp_path: Path) -> None:
    originals, target = tmp_path / "m.parquet", tmp_path / "prepared.parquet"
    verdict(originals, {"t": "key"}, ["original 1"], FOUND)
    verdict(target, {"t": "key"}, ["copy 1", "copy 2"])
    before = verdict_path(target).read_bytes()
    assert not carry_verdicts([originals], copies, target) and verdict_path(target).read_bytes() == before
    verdict_path(originals).write_text("{}")
    with pytest.raises(UserError, match="no verdict of"):
        carry_verdicts([originals], copies, target)
