"""The report on a corpus: its pictures, which show no text and no screen, and no name of a file beside them; mistakes write nothing."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from surgrec.core.console import progress
from surgrec.corpus.card import Card
from surgrec.corpus.filters.find import OF_REGIONS, OF_TIME
from surgrec.corpus.ledger import add_notes, ledger_file
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.refusal import Refusal, refusals_file, write_refusals
from surgrec.corpus.report.known import Known, read_known
from surgrec.corpus.report.page import as_html
from surgrec.corpus.report.pictures import BOXES, KEPT, PER_REASON, choose_moments, take
from surgrec.corpus.scan import scan
from surgrec.synthetic.disguises import encode
from tests.corpus.conftest import NAME_OF_PATIENT
from tests.corpus.pages import Page
from tests.corpus.reported import report, video, write_findings, written


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


# -- the command


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
