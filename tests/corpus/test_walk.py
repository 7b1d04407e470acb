"""Untidy folders: each oddity is passed or refused, none ends the scan."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from surgrec.corpus import walk
from surgrec.corpus.walk import find_files


def found(root: Path) -> tuple[list[str], dict[str, str]]:
    """Paths, and reasons of what was refused."""
    files, refusals = find_files(root, lambda path: path.endswith(".mp4"))
    return [file.path for file in files], {refusal.path: refusal.reason for refusal in refusals}


def test_circles_of_links_end(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "v.mp4").touch()
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "a" / "self.mp4").symlink_to(tmp_path / "a" / "self.mp4")
    (tmp_path / "z").symlink_to(tmp_path / "a")
    paths, reasons = found(tmp_path)
    assert paths == ["a/b/v.mp4", "a/self.mp4"] and reasons == {}
    assert find_files(tmp_path, lambda path: "self" in path)[0][-1].size_bytes == -1  # reading it will say so


def test_what_is_no_file_is_refused_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.mp4"))
        assert found(tmp_path) == ([], dict.fromkeys(("device.mp4", "pipe.mp4", "s.mp4"), "not_a_file"))


def test_names_in_another_encoding_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "v.mp4").touch()
    assert found(tmp_path) == ([], {"caf\\xe9/v.mp4": "bad_name"})


def test_folders_that_may_not_be_entered_or_go_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed", "gone", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "v.mp4").touch()
    scandir = os.scandir

    def guarded(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        if path.endswith("gone"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", guarded)
    assert found(tmp_path) == (["open/v.mp4"], {"closed": "unreadable_folder", "gone": "unreadable_folder"})


def test_files_that_go_are_left_to_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v.mp4").touch()
    look = walk._walk

    def removing(*arguments: Any) -> Iterator[Any]:
        for path, entry in look(*arguments):
            (tmp_path / path).unlink()
            yield path, entry

    monkeypatch.setattr(walk, "_walk", removing)
    ((file,), refusals) = find_files(tmp_path, lambda path: True)
    assert file.size_bytes == -1 and refusals == []


@pytest.mark.slow
def test_a_hundred_thousand_entries(tmp_path: Path) -> None:
    """In one folder, and at some depth."""
    for number in range(100_000):
        os.close(os.open(tmp_path / f"{number:06d}.mp4", os.O_CREAT | os.O_WRONLY))
    deep = tmp_path
    for _ in range(300):
        deep = deep / "d"
        deep.mkdir()
    (deep / "v.mp4").touch()
    began = time.perf_counter()
    paths, reasons = found(tmp_path)
    assert len(paths) == 100_001 and reasons == {} and time.perf_counter() - began < 30
