"""From a folder to the files in it that may be videos.

In: a folder, and which names are wanted. Out: files with size and modification time, and what could not be looked at. It is its own
file because folders of hospitals are not tidy: links that lead in circles, folders that may not be entered, files that go while one
looks, names in other encodings, pipes, a hundred thousand entries; each is passed or refused, none ends the scan.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from surgrec.corpus.refusal import BAD_NAME, NOT_A_FILE, UNREADABLE_FOLDER, Refusal


@dataclass(frozen=True)
class FoundFile:
    """A candidate: path relative to the root, with slashes, and what tells whether it changed (-1 where that cannot be told)."""

    path: str
    size_bytes: int
    modified_nanoseconds: int


def find_files(root: Path, is_wanted: Callable[[str], bool]) -> tuple[list[FoundFile], list[Refusal]]:
    """All files below `root` whose relative path `is_wanted`, sorted, and what was refused on the way.

    Links to folders are followed and no folder is entered twice; what is hidden (a name with a dot first) is left out.
    """
    refusals: list[Refusal] = []
    files: list[FoundFile] = []
    for path, entry in _walk(str(root), refusals):
        if not is_wanted(path):
            continue
        found = _refused_name(path) or _look_at(path, entry)
        if isinstance(found, Refusal):
            refusals.append(found)
        else:
            files.append(found)
    return sorted(files, key=lambda file: file.path), refusals


def _walk(root: str, refusals: list[Refusal]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Relative path and entry of all that is no folder. Without recursion: depth is bounded by memory alone."""
    entered: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            status = os.stat(os.path.join(root, folder))  # noqa: PTH116, PTH118 - pathlib takes three times as long
            if (identity := (status.st_dev, status.st_ino)) in entered:
                continue
            entered.add(identity)
            with os.scandir(os.path.join(root, folder)) as listed:  # noqa: PTH118
                entries = sorted((entry for entry in listed if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:  # may not be entered, or has gone
            refusals.append(Refusal(_printable(folder or "."), UNREADABLE_FOLDER, error.strerror or ""))
            continue
        folders: list[str] = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if _is_folder(entry):
                folders.append(path)
            else:
                yield path, entry
        waiting += reversed(folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or through a folder that may not be entered
        return False


def _refused_name(path: str) -> Refusal | None:
    try:
        path.encode()
    except UnicodeEncodeError:
        return Refusal(_printable(path), BAD_NAME, "its name is not UTF-8; rename it")
    return None


def _printable(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _look_at(path: str, entry: os.DirEntry[str]) -> FoundFile | Refusal:
    try:
        status = entry.stat()
    except OSError:  # a dangling link, or a file that has just gone; reading it will say so
        return FoundFile(path, -1, -1)
    if not stat.S_ISREG(status.st_mode):
        return Refusal(path, NOT_A_FILE, "it is a pipe, a socket or a device")
    return FoundFile(path, status.st_size, status.st_mtime_ns)
