"""From a folder to rows: what is found, what is refused, what is taken over, and what a row never says."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus import scan as scan_module
from surgrec.corpus.card import Card
from surgrec.corpus.journal import Journal
from surgrec.corpus.manifest import SCHEMA
from surgrec.corpus.refusal import Refusal
from surgrec.corpus.scan import ScanResult, scan
from tests.corpus.conftest import NAME_OF_PATIENT

CARD = Card("src", "other", procedure="test", licence="MIT")


def paths(result: ScanResult) -> list[str]:
    return result.rows["path"].to_pylist()


def reasons(result: ScanResult) -> dict[str, str]:
    return {refusal.path: refusal.reason for refusal in result.refusals}


@pytest.fixture
def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are really opened, in the order of reading."""
    opened: list[Path] = []
    probe = scan_module.probe

    def counted(path: Path) -> Any:
        opened.append(path)
        return probe(path)

    monkeypatch.setattr(scan_module, "probe", counted)
    return opened


def test_rows_and_refusals(folder: Path) -> None:
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").write_text("not a video")
    (folder / ".hidden.mp4").touch()
    shutil.copy(folder / "case_1" / "a.mp4", folder / "case_2" / "same bytes.MKV")
    result = scan(folder, CARD, num_workers=2)
    assert paths(result) == ["case_1/a.mp4", "case_1/b.mkv", f"case_2/{NAME_OF_PATIENT}.mp4"]
    assert reasons(result) == {"empty.mp4": "empty", "case_2/same bytes.MKV": "duplicate"}
    assert result.rows.schema.equals(SCHEMA)
    first = result.rows.to_pylist()[0]
    assert first["sha256"] == hashlib.sha256((folder / "case_1" / "a.mp4").read_bytes()).hexdigest()
    assert (first["num_frames"], first["width"], first["height"], first["codec"]) == (50, 128, 96, "h264")
    assert first["duration_seconds"] == pytest.approx(2.0)
    assert first["usable"] == [{"start_seconds": 0.0, "end_seconds": first["duration_seconds"]}]
    assert (first["source"], first["procedure"], first["licence"], first["split"]) == ("src", "test", "MIT", None)


def test_workers_change_nothing(folder: Path) -> None:
    assert scan(folder, CARD, num_workers=0).rows.equals(scan(folder, CARD, num_workers=2).rows)


def test_ids_say_nothing_of_the_file_and_survive_renaming(folder: Path) -> None:
    before = scan(folder, CARD).rows
    for column in set(SCHEMA.names) - {"path", "root"}:
        assert NAME_OF_PATIENT not in str(before[column].to_pylist())
        assert "case_" not in str(before[column].to_pylist())
    (folder / "case_1" / "a.mp4").rename(folder / "case_1" / "z.mp4")
    after = scan(folder, CARD).rows
    assert set(before["video_id"].to_pylist()) == set(after["video_id"].to_pylist())
    assert all(name.startswith("src_") for name in after["video_id"].to_pylist())


def test_groups_and_splits_come_from_the_card(folder: Path) -> None:
    by_folder = scan(folder, CARD).rows["group_id"].to_pylist()
    assert by_folder[0] == by_folder[1] != by_folder[2]
    card = Card("src", "other", group_pattern=r"/(\w)\.", split={"test": ("case_2/*",), "train": ("*",)})
    result = scan(folder, card)
    assert len(set(result.rows["group_id"].to_pylist())) == 2
    assert reasons(result) == {f"case_2/{NAME_OF_PATIENT}.mp4": "no_group"}
    assert result.rows["split"].to_pylist() == ["train", "train"]
    other_source = scan(folder, Card("src2", "other")).rows["group_id"].to_pylist()
    assert not set(other_source) & set(by_folder)


def test_a_pattern_that_fits_nothing_is_a_mistake(folder: Path) -> None:
    with pytest.raises(UserError, match="matches none of 3 videos"):
        scan(folder, Card("src", "other", group_pattern="patient(.)"))


def test_file_patterns(folder: Path) -> None:
    assert paths(scan(folder, Card("src", "other", file_pattern=("*.mkv",)))) == ["case_1/b.mkv"]
    with pytest.raises(UserError, match=r"no files that match \*\.wmv"):
        scan(folder, Card("src", "other", file_pattern=("*.wmv",)))


def test_folders_without_videos(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        scan(tmp_path / "nowhere", CARD)
    with pytest.raises(UserError, match="no video files"):
        scan(tmp_path, CARD)


def test_links_are_followed_and_circles_left(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "linked"
    root.mkdir()
    (root / "cases").symlink_to(folder)
    (root / "circle").symlink_to(root)
    (root / "gone.mp4").symlink_to(tmp_path / "nothing.mp4")
    result = scan(root, CARD)
    assert len(result.rows) == 3
    assert reasons(result) == {"gone.mp4": "missing"}


def test_known_files_are_not_read_again(folder: Path, count_reads: list[Path]) -> None:
    first = scan(folder, CARD)
    assert len(count_reads) == 3
    again = scan(folder, CARD, known=first.rows)
    assert len(count_reads) == 3
    assert again.num_known == 3
    assert again.rows.equals(first.rows)


def test_a_corrected_card_needs_no_reading(folder: Path, count_reads: list[Path]) -> None:
    first = scan(folder, CARD)
    again = scan(folder, Card("src", "robotic", licence="CC0-1.0"), known=first.rows)
    assert len(count_reads) == 3
    assert set(again.rows["domain"].to_pylist()) == {"robotic"}
    assert set(again.rows["licence"].to_pylist()) == {"CC0-1.0"}


def test_moved_and_changed_files(folder: Path, tmp_path: Path, count_reads: list[Path]) -> None:
    first = scan(folder, CARD)
    moved = folder.rename(tmp_path / "moved")
    shutil.copy(moved / "case_1" / "b.mkv", moved / "case_1" / "a.mp4")  # other bytes under a known name
    os.utime(moved / "case_1" / "a.mp4")
    count_reads.clear()
    again = scan(moved, CARD, known=first.rows)
    assert [path.name for path in count_reads] == ["a.mp4"]
    assert set(again.rows["root"].to_pylist()) == {str(moved)}
    assert reasons(again) == {"case_1/b.mkv": "duplicate"}


def test_a_crash_of_the_decoder_is_a_refusal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "_read", crash_on_mkv)
    result = scan(folder, CARD, num_workers=2)
    assert reasons(result) == {"case_1/b.mkv": "crashed"}
    assert len(result.rows) == 2


def crash_on_mkv(path: Path) -> Any:
    if path.suffix == ".mkv":
        os.abort()
    return scan_module._read(path)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_no_reader_foresaw_costs_one_file(folder: Path, num_workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "_read", stumble_on_mkv)
    result = scan(folder, CARD, num_workers)
    assert len(result.rows) == 2 and reasons(result) == {"case_1/b.mkv": "corrupt"}
    assert "IndexError at test_scan.py" in result.refusals[0].detail and "b.mkv" not in result.refusals[0].detail


_really_read = scan_module._read


def stumble_on_mkv(path: Path) -> Any:
    """In a worker: reading with a `probe` that does what nobody thought of."""
    real = scan_module.probe

    def probe(path: Path) -> Any:
        if path.suffix == ".mkv":
            raise IndexError(f"of {path}")
        return real(path)

    scan_module.probe = probe
    try:
        return _really_read(path)
    finally:
        scan_module.probe = real


def test_an_interrupted_scan_leaves_what_it_read_in_the_journal(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count_reads: list[Path]
) -> None:
    (folder / "case_1" / "aa.mp4").write_bytes(b"no video at all" * 99)
    file = tmp_path / "m.journal.jsonl"
    with Journal(file, "src", folder) as journal, monkeypatch.context() as patched:
        patched.setattr(scan_module, "map_isolated", interrupted_after(3))
        with pytest.raises(KeyboardInterrupt):
            scan(folder, CARD, journal=journal)
    assert len(count_reads) == 3
    count_reads.clear()
    with Journal(file, "src", folder) as journal:
        result = scan(folder, CARD, journal=journal)
    assert [path.parent.name for path in count_reads] == ["case_2"]
    assert result.num_known == 2 and reasons(result) == {"case_1/aa.mp4": "not_a_video"}
    assert result.rows.equals(scan(folder, CARD).rows)


def interrupted_after(num_items: int) -> Callable[..., Any]:
    """`map_isolated`, with Ctrl-C pressed after `num_items`."""

    def mapped(function: Callable[[Any], Any], items: list[Any], num_workers: int, limits_of: Any = None) -> Any:
        for index, item in enumerate(items):
            if index == num_items:
                raise KeyboardInterrupt
            yield index, function(item)

    return mapped


def test_real_surgery(clips: Path) -> None:
    """All clips and awkward files, in parallel: 21 videos, none refused, no name of a file in an id."""
    result = scan(clips, CARD, num_workers=2)
    assert len(result.rows) == 21
    assert result.refusals == []
    frames = dict(zip(paths(result), result.rows["num_frames"].to_pylist(), strict=True))
    assert frames["laparoscopy/cholecystectomy_720p25.mp4"] == 250
    assert frames["robotic/versius_cholecystectomy_254p10.mp4"] == 52


def test_usable_intervals_of_known_bytes_stay(folder: Path) -> None:
    """What a later stage narrowed is not widened again by looking at the folder, even where the file has another name."""
    first = scan(folder, CARD).rows
    narrow = [[{"start_seconds": 0.5, "end_seconds": 1.0}]] * len(first)
    column = SCHEMA.get_field_index("usable")
    known = first.set_column(column, SCHEMA.field(column), pa.array(narrow, SCHEMA.field(column).type))
    (folder / "case_1" / "a.mp4").rename(folder / "case_2" / "other.mp4")
    assert scan(folder, CARD, known=known).rows["usable"].to_pylist() == narrow


def test_what_is_kept_out_is_refused_with_its_ids(folder: Path) -> None:
    rows = scan(folder, CARD).rows.to_pylist()
    result = scan(folder, CARD, kept_out=lambda row: Refusal(row["path"], "why", "") if ".mkv" in row["path"] else None)
    assert reasons(result) == {"case_1/b.mkv": "why"} and len(result.rows) == 2
    shutil.copy(folder / "case_1" / "a.mp4", folder / "case_2" / "copy.mp4")
    (refusal,) = scan(folder, CARD).refusals
    assert refusal.video_id == refusal.same_bytes == rows[0]["video_id"]
    assert refusal.group_id == rows[2]["group_id"]
