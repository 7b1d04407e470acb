"""What a user may write down as labels, and which windows come of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import SCHEMA, SCHEMA_VERSION, Manifest
from surgrec.evaluation.labels import choose_windows, label_at, read_labels, read_marks, windows_of

NUM_VIDEOS = 6


@pytest.fixture
def manifest() -> Manifest:
    """Six videos of 20 seconds, of six cases."""
    rows = [
        {
            "video_id": f"v{number}", "source": "lap", "domain": "laparoscopy", "group_id": f"case{number}", "root": "videos",
            "path": f"clip{number}.mp4", "sha256": "0" * 64, "num_frames": 500, "duration_seconds": 20.0, "fps": 25.0,
            "width": 64, "height": 64, "codec": "h264", "usable": [], "schema_version": SCHEMA_VERSION,
        }
        for number in range(NUM_VIDEOS)
    ]  # fmt: skip
    return Manifest(pa.Table.from_pylist(rows, schema=SCHEMA))


def write(path: Path, header: str, *lines: str) -> Path:
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


DENSE = [(index / 25, "dissection" if index < 250 else "clipping") for index in range(500)]


def test_a_line_a_frame_a_second_or_a_phase_say_the_same(manifest: Manifest, tmp_path: Path) -> None:
    by_id = write(tmp_path / "f.csv", "video_id,time_seconds,phase,x", *(f"v1,{time},{name},-" for time, name in DENSE))
    by_path = write(
        tmp_path / "s.csv", "phase,path,time_seconds", *(f"{name},clip1.mp4,{time}" for time, name in DENSE[::25])
    )
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "v1.csv", "time_seconds,phase", "0,dissection", "10,clipping")
    expected = [(0.0, "dissection"), (4.0, "dissection"), (10.0, "clipping"), (14.0, "clipping")]
    for path in (by_id, by_path, tmp_path / "folder"):
        marks = read_labels(path, "phase", manifest)
        assert list(marks) == [1]
        assert windows_of(marks[1], 20.0, 4.0) == expected


def test_windows_lie_within_one_label_and_within_the_video() -> None:
    marks = [(1.0, "a"), (3.0, ""), (5.0, "b"), (5.5, "a"), (6.0, "b"), (30.0, "c")]
    assert windows_of(marks, 10.0, 2.0) == [(1.0, "a"), (6.0, "b"), (8.0, "b")]
    assert windows_of(marks, 10.0, 2.5) == [(6.0, "b")]


def phases(folder: Path, labels: dict[int, list[str]]) -> Path:
    """A file in which video `number` has each of its labels for four seconds, one after another."""
    lines = [f"v{number},{4 * place},{name}" for number, names in labels.items() for place, name in enumerate(names)]
    return write(folder / "labels.csv", "video_id,time_seconds,phase", *lines)


def test_windows_are_drawn_alike_for_every_label_and_whatever_the_order_of_lines(
    manifest: Manifest, tmp_path: Path
) -> None:
    labels = {number: ["a", "b", "a", "a", "rare" if number < 2 else "b"] for number in range(NUM_VIDEOS)}
    path = phases(tmp_path, labels)
    windows = choose_windows(path, "phase", manifest, 2.0, num_windows=20, num_parts=3)
    assert Counter(window.label for window in windows) == {"a": 10, "b": 10}  # two cases of "rare" are too few
    assert {window.group for window in windows} <= {f"lap/case{number}" for number in range(NUM_VIDEOS)}
    header, *lines = path.read_text().splitlines()
    write(path, header, *reversed(lines))
    assert choose_windows(path, "phase", manifest, 2.0, num_windows=20, num_parts=3) == windows


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("video_id,seconds,phase\nv1,0,a\n", "lacks the column time_seconds; it has video_id, seconds, phase"),
        ("name,time_seconds,phase\nv1,0,a\n", "lacks the column video_id or path"),
        ("video_id,time_seconds,phase\nv1,soon,a\n", "line 2: time_seconds 'soon' is no number"),
        ("video_id,time_seconds,phase\nv1,,a\n", "line 2: time_seconds '' is no number"),
        ("video_id,time_seconds,phase\nv1\n", "line 2: time_seconds None is no number"),
        *(
            (f"video_id,time_seconds,phase\nv1,0,a\nv1,{time},b\n", f"line 3: time_seconds '{time}' must be a finite")
            for time in ("nan", "inf", "-inf", "-0.5")
        ),
        ("video_id,time_seconds,phase\nother,0,a\n", "has no line for any video of probe.manifest"),
        ("video_id,time_seconds,phase\nv1,0,a\nv2,0,b\n", "at least two labels with windows of 2 seconds in 3 cases"),
    ],
)
def test_labels_that_cannot_be_used_are_one_sentence(
    content: str, sentence: str, manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        choose_windows(tmp_path / "labels.csv", "phase", manifest, 2.0, 20, 3)


def test_labels_that_are_not_there_are_one_sentence(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"probe\.labels=.*nowhere is not there; give a CSV file, or a folder"):
        read_labels(tmp_path / "nowhere", "phase", manifest)


@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_labels_are_read_as_utf8_with_or_without_a_mark(is_folder: bool, manifest: Manifest, tmp_path: Path) -> None:
    header, line = (
        ("time_seconds,phase", "0,Präparation") if is_folder else ("video_id,time_seconds,phase", "v1,0,Präparation")
    )
    path = tmp_path / "v1.csv"
    where = tmp_path if is_folder else path
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(f"{header}\n{line}\n", encoding=encoding)
        assert read_labels(where, "phase", manifest) == {1: [(0.0, "Präparation")]}
    path.write_text(f"{header}\n{line}\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"v1\.csv is not text in UTF-8; save it as CSV in UTF-8"):
        read_labels(where, "phase", manifest)
    path.write_text(f"{header}\n{line}{'x' * 140_000}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"v1\.csv is not a CSV file \(field larger than"):
        read_labels(where, "phase", manifest)


def test_a_path_of_several_videos_is_told_by_their_ids(manifest: Manifest, tmp_path: Path) -> None:
    """As in two folders that were indexed apart, each with its clip1.mp4."""
    rows = manifest.table.to_pylist()
    rows[4] |= {"root": "others", "path": "clip1.mp4"}
    twice = Manifest(pa.Table.from_pylist(rows, schema=SCHEMA))
    by_path = write(tmp_path / "p.csv", "path,time_seconds,phase", "clip0.mp4,0,a", "clip1.mp4,0,a")
    with pytest.raises(
        UserError, match=r"that of 2 videos of probe\.manifest \(v1, v4\); name videos by a column video_id"
    ):
        read_labels(by_path, "phase", twice)
    assert read_labels(by_path, "phase", manifest) == {0: [(0.0, "a")], 1: [(0.0, "a")]}
    by_id = write(tmp_path / "i.csv", "video_id,time_seconds,phase", "v1,0,a", "v4,0,b")
    assert read_labels(by_id, "phase", twice) == {1: [(0.0, "a")], 4: [(0.0, "b")]}


def test_labels_of_one_video(tmp_path: Path) -> None:
    (tmp_path / "v1.csv").write_text("frame,time_seconds,phase\n25,1.0,b\n0,0.0,a\n")
    assert read_marks(tmp_path, "phase", "v1") == [(0.0, "a"), (1.0, "b")]
    assert read_marks(tmp_path, "phase", "v2") is None
    named, unnamed = tmp_path / "named.csv", tmp_path / "v1.csv"
    named.write_text("video_id,time_seconds,phase\nv2,3,c\nv1,0,a\n")
    assert read_marks(named, "phase", "v1") == [(0.0, "a")] and read_marks(named, "phase", "v3") is None
    assert read_marks(unnamed, "phase", "any") == [(0.0, "a"), (1.0, "b")]
    assert read_marks(unnamed, "phase", "any", takes_unnamed=False) is None
    with pytest.raises(UserError, match="lacks the column step"):
        read_marks(unnamed, "step", "v1")
    with pytest.raises(UserError, match="not there"):
        read_marks(tmp_path / "absent", "phase", "v1")


def test_the_label_at_a_time() -> None:
    marks = [(1.0, "a"), (2.0, ""), (3.0, "b")]
    assert [label_at(marks, seconds) for seconds in (0.5, 1.0, 1.9, 2.5, 3.0, 99.0)] == ["", "a", "a", "", "b", "b"]
