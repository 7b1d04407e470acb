"""Reading lists of clips: both forms, whatever the path holds, and one sentence for what cannot be read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.splits import Clip, by_label, label_order, read_label_names, read_split, read_splits


def written(folder: Path, text: str, name: str = "list.csv") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


@pytest.mark.parametrize(
    ("line", "clip"),
    [
        ("__DATA_ROOT__/cholec80/cholec80_01_1.mp4 0", Clip("cholec80/cholec80_01_1.mp4", "0")),
        ('"__DATA_ROOT__/capsule/Ileocecal valve/04a7_4-9.mp4" 12', Clip("capsule/Ileocecal valve/04a7_4-9.mp4", "12")),
        ("__DATA_ROOT__/web/Adenoma/NBI (36).mp4 2", Clip("web/Adenoma/NBI (36).mp4", "2")),
        ("plain/a, b.mp4 007", Clip("plain/a, b.mp4", "7")),
        ('"with ""quotes"".mp4" 1', Clip('with "quotes".mp4', "1")),
        ("folder 3/clip 4 5", Clip("folder 3/clip 4", "5")),
        ("./a//b/../c.mp4 1", Clip("a/c.mp4", "1")),
        ("a\\b\\c.mp4 1", Clip("a/b/c.mp4", "1")),
        ("__DATA_ROOT__\\b\\c.mp4 1", Clip("b/c.mp4", "1")),
        ("größe/ß.mp4 -1", Clip("größe/ß.mp4", "-1")),
        ("a\u2028b\x0bc.mp4 1", Clip("a\u2028b\x0bc.mp4", "1")),
    ],
)
def test_a_line_is_read_from_the_right(tmp_path: Path, line: str, clip: Clip) -> None:
    assert read_split(written(tmp_path, line)) == (clip,)


def test_line_ends_blank_lines_and_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    assert read_split(written(tmp_path, "\ufeffa.mp4 0\r\n\r\n  b.mp4 1  \r\n")) == (
        Clip("a.mp4", "0"),
        Clip("b.mp4", "1"),
    )


def test_a_table_is_read_by_its_header(tmp_path: Path) -> None:
    text = 'Group,path,note,label\np 1,"a, b.mp4",,bleeding\np2,__DATA_ROOT__/c.mp4,x,03\n'
    assert read_split(written(tmp_path, text)) == (Clip("a, b.mp4", "bleeding", "p 1"), Clip("c.mp4", "3", "p2"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "lists no clips"),
        ("\n \n", "lists no clips"),
        ("path,label\n", "lists no clips"),
        ("a.mp4 0\nJane_Doe.mp4,1\n", "line 2 of"),
        ("a.mp4 0\n5\n", "line 2 of"),
        ("a.mp4 bleeding\n", "line 1 of"),
        ("a.mp4 ²\n", "line 1 of"),
        (f"a.mp4 {'9' * 5000}\n", "line 1 of"),
        (f"path,label\n{'x' * 200_000},1\n", "line 2 of .* cannot be read as CSV"),
        (f"{'x' * 200_000},label\n", "line 1 of .* cannot be read as CSV"),
        ('path,label\n"x/Jane_Doe\nb.mp4",1\n', "line 2 of .* begins a quotation that ends on another line"),
        ("path,label\na.mp4,1,2\n", "line 2 of .* has 3 cells, its header 2"),
        ("path,label,group\na.mp4,1,\n", "line 2 of .* empty cell"),
    ],
)
def test_what_is_of_neither_form_is_refused_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        read_split(written(tmp_path, text))
    assert "Jane_Doe" not in str(caught.value)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "video.csv").write_bytes(b"\xff\xfe\x00\x80")
    for path, sentence in (
        (tmp_path / "video.csv", "UTF-8"),
        (tmp_path / "none.csv", "no file"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_split(path)


def test_splits_may_have_no_validation_set(tmp_path: Path) -> None:
    splits = read_splits(written(tmp_path, "a 0", "a.csv"), None, written(tmp_path, "b 10\nc 9", "b.csv"))
    assert list(splits.by_name()) == ["train", "test"] and splits.labels() == ["0", "9", "10"]
    assert [len(clips) for clips in by_label(splits.all_clips()).values()] == [1, 1, 1]


def test_groups_are_in_all_files_or_in_none(tmp_path: Path) -> None:
    with_group = written(tmp_path, "path,label,group\na,0,p\n", "a.csv")
    with pytest.raises(UserError, match="column group"):
        read_splits(with_group, None, written(tmp_path, "b 0", "b.csv"))


def test_labels_are_in_order_of_value() -> None:
    assert sorted(["10", "b", "9", "-1", "a"], key=label_order) == ["-1", "9", "10", "a", "b"]


@pytest.mark.parametrize(
    "content",
    [
        {"0": "incision", "1": "rhexis"},
        {"incision": 0, "rhexis": 1},
        {"label_to_index": {"incision": 0, "rhexis": 1, "capsulorhexis": 1}},
        {"label_to_index": {"other": 1}, "index_to_label": {"0": "incision", "1": "rhexis"}},
    ],
)
def test_names_of_labels_are_read_in_every_form(tmp_path: Path, content: object) -> None:
    (tmp_path / "names.json").write_text(json.dumps(content))
    assert read_label_names(tmp_path / "names.json") == {"0": "incision", "1": "rhexis"}


@pytest.mark.parametrize("text", ["[1, 2]", "{}", "{", '{"a": "b"}'])
def test_a_file_without_names_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"names\.json"):
        read_label_names(written(tmp_path, text, "names.json"))
    with pytest.raises(UserError, match="no file"):
        read_label_names(tmp_path / "none.json")


def test_numbers_that_a_table_wrote_as_fractions_are_the_same_labels(tmp_path: Path) -> None:
    clips = read_split(written(tmp_path, "path,label\na.mp4,1.0\nb.mp4,1\nc.mp4,01.00\nd.mp4,1.5\ne.mp4,-2.\n"))
    assert [clip.label for clip in clips] == ["1", "1", "1", "1.5", "-2"]


def test_a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(UserError, match="no file but a folder, a pipe"):
        read_split(tmp_path / "list.csv")


def test_labels_nested_beyond_reason_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nested too deeply"):
        read_label_names(written(tmp_path, "[" * 200_000, "labels.json"))
