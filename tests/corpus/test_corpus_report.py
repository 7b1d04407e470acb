"""The report on a corpus: its numbers agree, it says what nobody has looked at, it names no file, and it stays small."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from surgrec.core.console import progress, run_command
from surgrec.corpus.card import Card, shipped_cards
from surgrec.corpus.contamination import ContaminationAudit, Evidence, TestSet
from surgrec.corpus.filters.find import OF_REGIONS, OF_TIME
from surgrec.corpus.filters.table import FINDINGS
from surgrec.corpus.ledger import Tombstone, add_notes, add_tombstones, ledger_file
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.refusal import Refusal, refusals_file, write_refusals
from surgrec.corpus.report.accounts import BESIDE, UNEXPLAINED, account
from surgrec.corpus.report.known import Known, findings_file, read_known
from surgrec.corpus.report.page import as_html, as_text
from surgrec.corpus.report.pictures import BOXES, KEPT, PER_REASON, choose_moments, take
from surgrec.corpus.scan import scan
from surgrec.corpus.verdict import keep, verdict_path
from surgrec.corpus_command import main
from surgrec.synthetic.disguises import encode
from surgrec.video.errors import VideoError
from tests.corpus.conftest import NAME_OF_PATIENT
from tests.corpus.pages import Page, number
from tests.corpus.test_manifest import manifest as manifest_of
from tests.corpus.test_manifest import row

SECTIONS = [
    *("Composition", "Files", "Licences", "Groups and splits", "What the filters took"),
    *("Duplicates", "Contamination", "Known overlaps", "Refused", "Removed"),
]
STARTS = st.floats(-2, 12, allow_nan=False)
INTERVALS = st.lists(st.tuples(STARTS, st.floats(0, 9)).map(lambda pair: (pair[0], sum(pair))), max_size=4)


def video(
    number: int, seconds: float = 4.0, usable: Sequence[tuple[float, float]] | None = None, **changes: Any
) -> dict:
    parts = [(0.0, seconds)] if usable is None else usable
    spans = [{"start_seconds": start, "end_seconds": end} for start, end in parts]
    return row(number, duration_seconds=seconds, usable=spans, root=f"/data/{NAME_OF_PATIENT}", **changes)


def written(folder: Path, *rows: dict) -> Path:
    manifest_of(*rows).write(folder / "m.parquet")
    return folder / "m.parquet"


def write_findings(manifest: Path, *found: tuple[str, float, float, str] | tuple[str, float, float, str, dict]) -> None:
    columns = ("video_id", "start_seconds", "end_seconds", "reason", "region")
    rows = [{"score": 0.5, "region": None, **dict(zip(columns, one, strict=False))} for one in found]
    pq.write_table(pa.Table.from_pylist(rows, schema=FINDINGS), findings_file(manifest))


def page_of(manifest: Path, **files: Any) -> Page:
    known, _ = read_known(manifest, shipped_cards(), **files)
    return Page(as_html(known, None))


def report(*arguments: object) -> int:
    return run_command(lambda: main(["report", *map(str, arguments)]))


# -- the time of a video


@settings(max_examples=200, deadline=None)
@given(INTERVALS, st.dictionaries(st.sampled_from(OF_TIME), INTERVALS, max_size=4))
def test_every_moment_is_counted_once(usable: list, refused: dict) -> None:
    made = account(10.0, usable, refused)
    assert made.usable + sum(made.lost.values()) == pytest.approx(10.0)
    assert 0 <= made.unheeded <= made.usable + 1e-9 and all(seconds > 0 for seconds in made.lost.values())
    moments = np.arange(0.0005, 10, 0.001)
    inside = sum((moments > start) & (moments < end) for start, end in usable) if usable else np.zeros(len(moments))
    assert made.usable == pytest.approx(np.count_nonzero(inside) / 1000, abs=0.01)


def test_the_first_reason_counts_and_the_rest_is_beside_it_or_unexplained() -> None:
    made = account(10.0, [(6.0, 10.0)], {"blur": [(2.0, 5.0)], "black": [(0.0, 3.0), (9.0, 9.5)]})
    assert made.lost == {"black": 3.0, "blur": 2.0, BESIDE: 1.0} and made.unheeded == 0.5
    assert account(10.0, [(6.0, 10.0)], {}).lost == {UNEXPLAINED: 6.0}
    assert account(10.0, [(0.0, 10.0)], {}).lost == {} and account(10.0, [], {}).usable == 0


# -- totals


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 videos of 130 sources, more than a table shows, a third with findings and intervals of all kinds."""
    folder, draw = tmp_path_factory.mktemp("many"), random.Random(5)
    rows, found = [], []
    for i in range(900):
        seconds, source = draw.randrange(8, 16000) / 4, f"source{int(130 * draw.random() ** 2)}"
        usable = [(0.0, seconds / 2), (seconds * 0.75, seconds)] if i % 3 == 0 else None
        box = {"left": 0, "top": 0, "right": 64, "bottom": 48 - 2 * (i % 9)} if i % 3 else None
        facts = {
            "source": source, "domain": draw.choice(("endoscopy", "robotic")), "procedure": draw.choice((None, "a", "b")),
            "group_id": f"{source}_g{i // 3}", "video_id": f"{source}_{i:012x}", "split": draw.choice((None, "train", "test")),
            "licence": draw.choice((None, "MIT")), "content_box": box,
        }  # fmt: skip
        rows.append(video(i, seconds, usable, **facts))
        if usable:
            found += [(facts["video_id"], seconds * 0.5, seconds * 0.6, draw.choice(OF_TIME[:3]))]
            found += [(facts["video_id"], seconds * 0.55, seconds * 0.7, draw.choice(OF_TIME[3:]))]
    manifest = written(folder, *rows)
    write_findings(manifest, *found)
    return manifest


def test_all_tables_of_the_page_agree(many: Path) -> None:
    page, table = page_of(many), Manifest.read([many]).table
    hours = sum(table["duration_seconds"].to_pylist()) / 3600
    parts = page.with_columns("videos", "hours", "usable hours", "share", "groups")
    assert [next(iter(part[0])) for part in parts] == ["domain", "source", "procedure"]
    overview = page.with_columns("sources", "frames")[0][0]
    assert (number(overview["videos"]), number(overview["sources"])) == (900, len(set(table["source"].to_pylist())))
    for part in parts:
        *rows, total = part
        for column, rounded in (("videos", 0.0), ("hours", 5e-4), ("usable hours", 5e-4), ("share", 0.05)):
            total_of_rows = sum(number(line[column]) for line in rows)
            assert total_of_rows == pytest.approx(number(total[column]), abs=rounded * (len(rows) + 1)), column
        assert number(total["hours"]) == pytest.approx(hours, abs=6e-4) and number(total["videos"]) == 900
        assert total["usable hours"] == overview["usable hours"]
    assert sum(number(line["groups"]) for line in parts[1][:-1]) == number(parts[1][-1]["groups"])
    assert len(parts[1]) == 102 and parts[1][-2]["source"].startswith("and ")

    (fates,) = page.with_columns("what became of it")
    *rows, total = fates
    assert sum(number(line["hours"]) for line in rows) == pytest.approx(hours, abs=0.005)
    assert rows[0]["hours"] == overview["usable hours"] and number(total["hours"]) == pytest.approx(hours, abs=6e-4)
    (losses,) = page.with_columns("lost", "beside")
    for line in losses:
        assert number(line["usable"]) + number(line["lost"]) == pytest.approx(number(line["hours"]), abs=0.0011)
        reasons = [line[name] for name in line if name not in ("source", "hours", "usable", "lost", "empty videos")]
        assert sum(map(number, reasons)) == pytest.approx(number(line["lost"]), abs=0.006) and len(reasons) == 7
    for column in ("hours", "usable", "lost", "black", "beside"):
        assert sum(number(line[column]) for line in losses[:-1]) == pytest.approx(number(losses[-1][column]), abs=0.06)
    forms = [part for part in page.with_columns("videos", "hours", "share of videos") if "what" not in part[0]]
    assert len(forms) == 5 and all(sum(number(line["videos"]) for line in form) == 900 for form in forms)
    (boxes,) = page.with_columns("what is inside")
    assert sum(number(line["videos"]) for line in boxes) == 900
    (splits,) = page.with_columns("split")
    assert sum(number(line["videos"]) for line in splits[:-1]) == 900 == number(splits[-1]["videos"])


def test_the_same_corpus_gives_the_same_bytes_whatever_the_order_of_its_rows(many: Path, tmp_path: Path) -> None:
    rows = Manifest.read([many]).table.to_pylist()
    random.Random(1).shuffle(rows)
    other = written(tmp_path, *rows)
    found = pq.read_table(findings_file(many))
    pq.write_table(found.take(list(reversed(range(len(found))))), findings_file(other))
    first, second = (as_html(read_known(path, {})[0], None) for path in (many, other))
    assert first == second
    moments = [
        [(one.kind, one.video.video_id, one.seconds) for one in choose_moments(read_known(path, {})[0].videos)]
        for path in (many, other)
    ]
    assert moments[0] == moments[1]


@pytest.mark.slow
def test_a_corpus_of_the_published_size_is_a_small_page(tmp_path: Path) -> None:
    names = [f"source{i % 40}_{i:012x}" for i in range(10_535)]
    rows = [video(i, 810.0, source=f"source{i % 40}", video_id=name, group_id=f"g{i}") for i, name in enumerate(names)]
    manifest = written(tmp_path, *rows)
    write_findings(manifest, *((name, 10.0 * k, 10.0 * k + 4, OF_TIME[k % 6]) for name in names for k in range(8)))
    began = time.process_time()  # of this process: a busy machine has less of it for us, and needs no more
    known, _ = read_known(manifest, shipped_cards())
    text, moments = as_html(known, None), choose_moments(known.videos)
    assert time.process_time() - began < 30 and len(text) < 200_000
    assert len(moments) == len(OF_TIME) * PER_REASON + KEPT
    assert all(len({one.video.source for one in moments if one.kind == reason}) == PER_REASON for reason in OF_TIME)


# -- what is known, and what is not


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


# -- pictures, and what they may not show


@pytest.fixture
def manifest(folder: Path, tmp_path: Path) -> Path:
    """Three real files, one of them named after a patient, with findings of every kind."""
    Manifest(scan(folder, Card("src", "other"), num_workers=0).rows).write(tmp_path / "m.parquet")
    names = sorted(Manifest.read([tmp_path / "m.parquet"]).video_ids.tolist())
    region = {"left": 0.0, "top": 0.0, "right": 0.5, "bottom": 0.5}
    found = [(names[0], 0.0, 0.5, "low_information"), (names[0], 0.0, 2.0, "text", region)]
    write_findings(tmp_path / "m.parquet", *found, (names[1], 0.5, 1.0, "frozen"))
    return tmp_path / "m.parquet"


def pixels_of(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)


def stills_of(manifest: Path) -> dict[str, list]:
    known, table = read_known(manifest, {})
    stills = list(take(choose_moments(known.videos), table, 0, progress))
    return {kind: [still for still in stills if still.moment.kind == kind] for kind in {s.moment.kind for s in stills}}


def test_pictures_are_of_what_was_refused_and_of_what_was_kept(manifest: Path) -> None:
    stills = stills_of(manifest)
    assert {kind: len(found) for kind, found in stills.items()} == {
        "low_information": 1,
        "text": 1,
        "frozen": 1,
        "kept": 3,
    }
    assert all(still.jpeg is not None for found in stills.values() for still in found)
    assert stills["frozen"][0].moment.seconds == 0.75


def test_text_is_painted_over_in_every_picture_of_its_video(manifest: Path) -> None:
    stills = stills_of(manifest)
    named = stills["text"][0].moment.video.video_id
    for still in (*stills["text"], *stills["low_information"], *stills["frozen"], *stills["kept"]):
        pixels = pixels_of(still.jpeg)
        height, width = pixels.shape[:2]
        corner = pixels[height // 8 : 3 * height // 8, width // 8 : 3 * width // 8]
        is_grey = np.abs(corner - 96).max() < 16
        assert is_grey == (still.moment.video.video_id == named), still.moment.kind


def test_of_a_training_copy_nobody_knows_where_its_text_is(tmp_path: Path) -> None:
    manifest = written(tmp_path, video(1, original_sha256="a" * 64), video(2, original_sha256="b" * 64))
    region = {"left": 0.0, "top": 0.0, "right": 0.5, "bottom": 0.5}
    write_findings(manifest, ("src_000000000001", 0.0, 4.0, "text", region))
    moments = choose_moments(read_known(manifest, {})[0].videos)
    assert {(one.kind, one.video.video_id[-1], one.is_coarse) for one in moments} == {
        ("text", "1", True), ("kept", "1", True), ("kept", "2", False)
    }  # fmt: skip
    assert all(one.marked is None and one.covered == () for one in moments)


def test_without_findings_the_page_says_that_nothing_is_painted_over(folder: Path, tmp_path: Path) -> None:
    Manifest(scan(folder, Card("src", "other"), num_workers=0).rows).write(tmp_path / "m.parquet")
    known, manifest = read_known(tmp_path / "m.parquet", {})
    page = Page(as_html(known, list(take(choose_moments(known.videos), manifest, 0, progress))))
    assert len(page.pictures) == 3 and "nothing is painted over" in page.text


def test_screens_and_rooms_are_shown_in_blocks(tmp_path: Path) -> None:
    """The same moment of the same fine stripes, refused as a screen, as a room and as standing still."""
    stripes = np.broadcast_to(np.where(np.arange(320) // 2 % 2, 230, 20)[:, None], (20, 240, 320, 3)).astype(np.uint8)
    (tmp_path / "videos").mkdir()
    encode(tmp_path / "videos" / "a.mp4", stripes, np.arange(20) / 10, crf=16)
    Manifest(scan(tmp_path / "videos", Card("src", "other"), num_workers=0).rows).write(tmp_path / "m.parquet")
    name = str(Manifest.read([tmp_path / "m.parquet"]).video_ids[0])
    contrast = {}
    for reason in ("low_information", "out_of_body", "frozen"):
        write_findings(tmp_path / "m.parquet", (name, 0.5, 1.5, reason))
        contrast[reason] = pixels_of(stills_of(tmp_path / "m.parquet")[reason][0].jpeg).std()
    assert contrast["low_information"] == contrast["out_of_body"] < 10 < 40 < contrast["frozen"]


def test_a_video_that_is_away_leaves_a_gap_that_says_so(
    manifest: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "case_1" / "a.mp4").unlink()
    out = manifest.with_name("r.html")
    assert report("--manifest", manifest, "--out", out, "--workers", 0) == 0
    page = Page(out.read_text(encoding="utf-8"))
    num_missing = page.text.count("no picture: missing")
    assert num_missing and f"{num_missing} of 6 pictures could not be taken (missing)" in capsys.readouterr().out
    assert len(page.pictures) == 6 - num_missing


def test_no_name_of_a_file_is_on_the_page_or_the_console(
    manifest: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / f"{NAME_OF_PATIENT} broken.mp4").write_bytes(b"nothing")
    refused = [Refusal(f"{NAME_OF_PATIENT} broken.mp4", "not_a_video", f"of {NAME_OF_PATIENT}")]
    write_refusals(refusals_file(manifest), "src", folder, refused)
    name = str(Manifest.read([manifest]).video_ids[0])
    add_notes(
        ledger_file(manifest),
        {name: {"provenance": NAME_OF_PATIENT, "notes": NAME_OF_PATIENT, "consent": NAME_OF_PATIENT}},
    )
    out = manifest.with_name("r.html")
    assert report("--manifest", manifest, "--out", out, "--workers", 2) == 0
    said, text = capsys.readouterr(), out.read_text(encoding="utf-8")
    table = Manifest.read([manifest]).table.to_pylist()
    planted = {NAME_OF_PATIENT, str(folder), *(entry["path"] for entry in table), *(entry["root"] for entry in table)}
    assert any(NAME_OF_PATIENT in entry["path"] for entry in table)
    assert [name for name in planted if name in text or name in said.out.replace(str(out), "")] == []
    assert all(entry["video_id"] in text for entry in table) and "Provenance" not in said.err
    first = out.read_bytes()
    assert report("--manifest", manifest, "--out", out, "--workers", 0) == 0
    assert out.read_bytes() == first


def test_without_pictures_no_video_is_opened(manifest: Path, folder: Path) -> None:
    for file in folder.rglob("*.*"):
        file.unlink()
    out = manifest.with_name("r.html")
    assert report("--manifest", manifest, "--out", out, "--no-pictures") == 0
    assert Page(out.read_text(encoding="utf-8")).pictures == []


def test_each_source_has_its_turn(tmp_path: Path) -> None:
    box = {"left": 0, "top": 8, "right": 64, "bottom": 40}
    rows = [video(i, source="large", content_box=box) for i in range(80)]
    rows += [video(100 + i, source=f"small{i}", content_box=box) for i in range(3)]
    manifest = written(tmp_path, *rows)
    write_findings(
        manifest, *((entry["video_id"], 1.0, 2.0, reason) for entry in rows for reason in (*OF_TIME, *OF_REGIONS))
    )
    known: Known = read_known(manifest, {})[0]
    moments = choose_moments(known.videos)
    assert len(moments) == 9 * PER_REASON + KEPT + BOXES
    for kind in {one.kind for one in moments}:
        mine = [one.video for one in moments if one.kind == kind]
        assert {one.source for one in mine} == {"large", "small0", "small1", "small2"}, kind
        assert len({one.video_id for one in mine}) == len(mine)


# -- mistakes


def test_mistakes_are_one_sentence_and_write_nothing(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, wrong = tmp_path / "r.html", tmp_path / "wrong"
    wrong.write_text('{"a": 1}\n[]\n')
    for arguments, words in (
        (["--findings", wrong], "holds no findings of `surgrec filter`"),
        (["--findings", tmp_path / "none"], "holds no findings"),
        (["--findings", manifest], "holds no findings"),
        (["--refusals", wrong], "is no list of refusals"),
        (["--refusals", tmp_path / "none"], "there is no file"),
        (["--cards", tmp_path], "there are no cards"),
    ):
        assert report("--manifest", manifest, "--out", out, *arguments) == 2, arguments
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1, said
        assert not out.exists()
    before = manifest.read_bytes()
    assert report("--manifest", manifest, "--out", manifest) == 2 and manifest.read_bytes() == before
    assert report("--manifest", manifest, "--out", tmp_path) == 2
