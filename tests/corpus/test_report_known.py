"""The report on a corpus: what is known of it, and what nobody has looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from surgrec.corpus.card import shipped_cards
from surgrec.corpus.contamination import ContaminationAudit, Evidence, TestSet
from surgrec.corpus.ledger import Tombstone, add_notes, add_tombstones, ledger_file
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.refusal import Refusal, refusals_file, write_refusals
from surgrec.corpus.report.known import read_known
from surgrec.corpus.report.page import as_html, as_text
from surgrec.corpus.verdict import keep, verdict_path
from surgrec.video.errors import VideoError
from tests.corpus.conftest import NAME_OF_PATIENT
from tests.corpus.pages import Page
from tests.corpus.reported import page_of, video, write_findings, written
from tests.corpus.test_manifest import manifest as manifest_of

SECTIONS = [
    *("Composition", "Files", "Licences", "Groups and splits", "What the filters took"),
    *("Duplicates", "Contamination", "Known overlaps", "Refused", "Removed"),
]


def test_what_was_not_run_is_said_and_every_section_is_there(tmp_path: Path) -> None:
    manifest = written(tmp_path, video(1, split=None), video(2, licence="MIT", procedure="x", group_id=""))
    page = page_of(manifest)
    assert [heading for heading in page.headings if heading in SECTIONS] == SECTIONS
    for words in (
        "Not filtered, or the findings are not here: run surgrec filter",
        "No filter is known to have looked at 2 of 2 videos; all of their time counts as usable",
        "Not audited for test material: run surgrec audit contamination.",
        "The procedure of 1 of 2 videos is unknown.",
        "The licence of 1 of 2 videos is unknown.",
        "Consent is noted of 0 of 2 videos.",
        "1 source of 1 without a card: nothing is known of overlaps.",
        "Without a group id: 1 video of 2.",
    ):
        assert words in page.text.split("\nComposition")[0], words
    assert "the index refused nothing, or its list is not here" in page.text and "No quarantine was found" in page.text
    assert "No ledger tells of a removed video." in page.text and "made with --no-pictures" in page.text


def test_what_was_run_is_no_gap_any_more(tmp_path: Path) -> None:
    box = {"left": 0, "top": 0, "right": 64, "bottom": 48}
    facts = {"source": "cholec80", "licence": "CC-BY-NC-SA-4.0", "procedure": "cholecystectomy", "content_box": box}
    manifest = written(tmp_path, *(video(i, **facts, group_id=f"g{i // 2}") for i in range(4)))
    write_findings(manifest)
    add_notes(ledger_file(manifest), {f"src_{i:012x}": {"consent": "broad"} for i in range(4)})
    corpus = Manifest.read([manifest])
    tests = [test_set(tmp_path, video(20), video(21))]
    keep(ContaminationAudit((), (), 4, {"t": 2}, {}), corpus, tests, {}, verdict_path(manifest))
    known, _ = read_known(manifest, shipped_cards())
    assert "not known" not in as_text(known, None)
    page = Page(as_html(known, None))
    assert "Not known" not in page.headings and "Nothing of these test sets was found in what" in page.text


def test_findings_that_do_not_hold_for_the_manifest_are_told(tmp_path: Path) -> None:
    manifest = written(tmp_path, video(1, 7200.0), video(2, 3600.0, [(0.0, 1800.0)]))
    write_findings(manifest, ("src_000000000001", 0.0, 3600.0, "black"), ("gone_0", 0.0, 1.0, "black"))
    text = page_of(manifest).text
    assert "calls 1.000 hours usable that a filter refused" in text
    assert "1 finding about videos that the manifest does not list" in text
    (fates,) = page_of(manifest).with_columns("what became of it")
    assert {line["what became of it"]: line["hours"] for line in fates}[
        "not usable, and no finding says why"
    ] == "0.500"


def test_conflicts_of_licence_and_overlaps_come_from_the_cards(tmp_path: Path) -> None:
    rows = [video(i, source="Cholec-80", licence="CC-BY-4.0" if i else "CC-BY-NC-SA-4.0") for i in range(3)]
    rows += [video(10, source="cholect50"), video(11, source="ours", licence="MIT")]
    manifest = written(tmp_path, *rows)
    add_notes(ledger_file(manifest), {"src_000000000001": {"licence": "CC-BY-4.0"}})
    page = page_of(manifest)
    assert "its videos have 2 licences: CC-BY-4.0, CC-BY-NC-SA-4.0" in page.text
    assert (
        "2 videos with CC-BY-4.0, where the card says CC-BY-NC-SA-4.0; 1 of them by a note in the ledger" in page.text
    )
    (licences,) = page.with_columns("conflict")
    assert [line["source"] for line in licences if line["conflict"]] == ["Cholec-80"]
    (shared,) = page.with_columns("what is shared")
    assert [(line["source"], line["and"], line["how"]) for line in shared] == [("Cholec-80", "cholect50", "subset")]


def test_set(folder: Path, *rows: dict[str, Any]) -> TestSet:
    """A held-out set `t` of these videos."""
    held_out = manifest_of(*rows)
    return TestSet("t", held_out, folder / "t.surveys", tuple(range(len(rows))))


test_set.__test__ = False  # type: ignore[attr-defined]


def test_an_audit_is_told_as_far_as_it_still_holds(tmp_path: Path) -> None:
    manifest = written(tmp_path, video(1, 60.0), video(2, 60.0, [(0.0, 30.0)]), video(3))
    names = [f"src_{i:012x}" for i in (1, 2, 3)]
    tests = [test_set(tmp_path, *(video(i, video_id=f"t_{i}") for i in (21, 22)))]
    evidence = (
        Evidence("footage", names[0], (10.0, 20.0), "t", "t_21", (0.0, 10.0), True, 0.9, 0.8),
        Evidence("footage", names[1], (40.0, 50.0), "t", "t_22", (0.0, 10.0)),
    )
    audit = ContaminationAudit(evidence, (), 3, {"t": 2}, {names[2]: VideoError("corrupt")})
    keep(audit, Manifest.read([manifest]), tests, {}, verdict_path(manifest))
    page = page_of(manifest)
    label = f"test set {tests[0].key[:8]} (2 videos)"
    assert "Test material in 1 video of 3." in page.text
    (summary,) = page.with_columns("videos not wholly compared")
    assert [list(line.values()) for line in summary] == [[label, "1", "1"]]
    (lines,) = page.with_columns("SHA-256 of the test video")
    assert [list(line.values()) for line in lines] == [
        [names[0], "10.0 to 20.0", "same footage", label, video(21)["sha256"][:12]]
    ]
    assert names[1] not in page.text and f"Not wholly compared with {label}: 1 video of 3." in page.text


def test_refusals_duplicates_and_tombstones_are_counted(tmp_path: Path) -> None:
    manifest = written(tmp_path, video(1), video(2, sha256=f"{1:064x}", video_id="two_1"))
    write_refusals(
        refusals_file(manifest), "src", tmp_path,
        [
            Refusal(f"{NAME_OF_PATIENT}.mp4", "duplicate", f"as {NAME_OF_PATIENT}", "src_x", "g", "src_000000000001"),
            Refusal("b.mp4", "no_group", "the pattern"), Refusal("c.mp4", "empty", ""), Refusal("d.mp4", "empty", ""),
        ],
    )  # fmt: skip
    quarantine = tmp_path / "prepared" / "quarantine.jsonl"
    quarantine.parent.mkdir()
    quarantine.write_text(json.dumps({"video_id": "src_two_0a", "reason": "bad_copy", "detail": "x"}) + "\n")
    stones = [
        Tombstone("src_9", "f" * 64, "src", "g9", "2025-01-01", f"{NAME_OF_PATIENT} withdrew", is_whole_group=True)
    ]
    add_tombstones(ledger_file(manifest), stones)
    page = page_of(manifest, refusals=[quarantine])
    by_index, by_prepare = page.with_columns("reason", "meaning")
    counts = {(line["source"], line["reason"]): line["files"] for line in by_index}
    assert counts == {("src", "duplicate"): "1", ("src", "no_group"): "1", ("src", "empty"): "2", ("all", ""): "4"}
    assert by_prepare[0]["source"] == "src_two" and by_prepare[0]["reason"] == "bad_copy"
    (which,) = page.with_columns("would have been")
    assert list(which[0].values()) == ["src_000000000001", "src_x", "duplicate"]
    assert "src_000000000001, two_1" in page.text and "lists 1 video more than there are different files" in page.text
    (removed,) = page.with_columns("videos removed")
    assert list(removed[0].values()) == ["src", "1", "1"]
    (groups,) = page.with_columns("refused for it")
    assert groups[-1]["refused for it"] == "1" and NAME_OF_PATIENT not in page.text
