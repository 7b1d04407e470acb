"""From a folder of videos to rows of a manifest.

In: a folder and the card of its source. Out: a `ScanResult`: rows, and what was refused and why. It is its own file because
`surgrec index` and `surgrec synthesize` both need it.

A file whose path, size and modification time are those of a known row is not read again. Everything the card says (group,
split, licence, ...) is worked out anew at every scan, so that a corrected card takes effect without reading a video.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from surgrec.core import console
from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.facts import text_or_none
from surgrec.corpus.isolated import Failed, Limits, map_isolated
from surgrec.corpus.manifest import SCHEMA, SCHEMA_VERSION
from surgrec.video.errors import VideoError
from surgrec.video.probe import probe

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".flv", ".ogv", ".mxf")
) | frozenset((".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts"))
_FACTS = ("sha256", "num_frames", "duration_seconds", "fps", "width", "height", "codec")  # what reading a file tells
_READ_BYTES = 1 << 20
_READING_SECONDS = 60.0  # for any file, on top of its bytes
_SLOW_BYTES_PER_SECOND = 2e6
_MEMORY_BYTES = 3 << 30


@dataclass(frozen=True)
class Refusal:
    """A file that did not become a row. `path` is relative to the scanned folder; `reason` is a slug, `detail` for people."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class ScanResult:
    """`rows`: a table of the manifest's `SCHEMA`. `num_known`: rows taken over without reading the file again.
    `is_complete`: False where Ctrl-C ended the scan; what was finished until then is here."""

    rows: pa.Table
    refusals: list[Refusal]
    num_known: int = 0
    is_complete: bool = True


@dataclass(frozen=True)
class _File:
    """A candidate: path relative to the root, and what tells whether it changed."""

    path: str
    size_bytes: int
    modified_nanoseconds: int


Facts = dict[str, Any]


def scan(
    root: Path, card: Card, num_workers: int = 0, progress: bool = False, known: pa.Table | None = None
) -> ScanResult:
    """Read every video below `root`.

    `num_workers` processes read in parallel; 0 reads in this one, where a crash of the decoder library is not contained.
    `known`: rows of an earlier scan of this source, to be taken over where the file has not changed.
    Raises `UserError` for a root that is no folder or holds no videos, or a group pattern that fits none of them.
    """
    root = Path(root)
    files = _find(root, card)
    refusals = [refusal for file in files if (refusal := _refused_by_name(file.path, card)) is not None]
    if len(refusals) == len(files):
        raise UserError(
            f"the group pattern {card.group_pattern!r} matches none of the {len(files)} videos, such as "
            f"{files[0].path}; it is searched in the path below --root"
        )
    files = [file for file in files if _refused_by_name(file.path, card) is None]
    facts = _known_facts(known)
    found = {file: facts[file] for file in files if file in facts}
    num_known = len(found)
    is_complete = _read_all(root, [file for file in files if file not in found], num_workers, progress, found, refusals)
    rows = _rows(root, card, found, refusals)
    return ScanResult(rows, sorted(refusals, key=lambda refusal: refusal.path), num_known, is_complete)


def video_id(source: str, sha256: str) -> str:
    """The name of a video everywhere but in the manifest's own path: source and content, nothing of the file's name."""
    return f"{source}_{_short_hash('video_id', sha256, 12)}"


def group_id(source: str, group: str) -> str:
    """A name for what belongs together that does not show the text it was made from."""
    return f"{source}_g{_short_hash('group_id', f'{source}/{group}', 10)}"


def _short_hash(purpose: str, text: str, length: int) -> str:
    return hashlib.blake2b(text.encode(), key=f"surgrec {purpose}".encode()).hexdigest()[:length]


# -- finding


def _find(root: Path, card: Card) -> list[_File]:
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give the folder that holds the videos")
    paths = sorted(path for path in _walk(root) if _is_candidate(path, card))
    if not paths:
        what = (
            f"files that match {', '.join(card.file_pattern)}"
            if card.file_pattern
            else "video files (mp4, mkv, avi, ...)"
        )
        raise UserError(f"there are no {what} in {root}")
    return [_file(root, path) for path in paths]


def _refused_by_name(path: str, card: Card) -> Refusal | None:
    try:
        path.encode()
    except UnicodeEncodeError:
        return Refusal(path.encode(errors="surrogateescape").decode(errors="backslashreplace"), "bad_name", "not UTF-8")
    if card.group_of(path) is None:
        return Refusal(path, "no_group", "the group pattern does not match its path")
    return None


def _walk(root: Path) -> Iterator[str]:
    """Relative paths of all files, following links to folders but entering no folder twice; hidden ones are left out."""
    entered: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        yield from ((relative / name).as_posix() for name in names if not name.startswith("."))


def _is_candidate(path: str, card: Card) -> bool:
    if card.file_pattern:
        return any(fnmatchcase(path, pattern) for pattern in card.file_pattern)
    return PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES


def _file(root: Path, path: str) -> _File:
    try:
        status = (root / path).stat()
    except OSError:  # a dangling link; reading it will say so
        return _File(path, -1, -1)
    return _File(path, status.st_size, status.st_mtime_ns)


def _known_facts(known: pa.Table | None) -> dict[_File, Facts]:
    """What an earlier scan read, by path, size and time. The root may have moved with its files."""
    rows = known.to_pylist() if known is not None else []
    return {
        _File(row["path"], row["size_bytes"], row["modified_nanoseconds"]): {name: row[name] for name in _FACTS}
        for row in rows
        if row["size_bytes"] is not None
    }


# -- reading


def _read_all(
    root: Path,
    files: list[_File],
    num_workers: int,
    progress: bool,
    found: dict[_File, Facts],
    refusals: list[Refusal],
) -> bool:
    """Read `files` into `found` and `refusals`; False where Ctrl-C ended it early."""
    paths = [root / file.path for file in files]
    try:
        with console.progress("reading videos", len(files)) if progress else nullcontext(_say_nothing) as advance:
            for index, result in map_isolated(_read, paths, num_workers, _limits_of):
                if isinstance(result, dict):
                    found[files[index]] = result
                else:
                    error = result.as_error() if isinstance(result, Failed) else result
                    refusals.append(Refusal(files[index].path, error.reason, error.detail))
                advance()
    except KeyboardInterrupt:
        return False
    return True


def _say_nothing(count: int = 1, note: str = "") -> None:
    """The progress of a scan that nobody watches."""


def _limits_of(path: Path) -> Limits:
    """Time to read all bytes of a file from a slow disk; memory for pictures of 8K; nothing is written."""
    try:
        num_bytes = path.stat().st_size
    except OSError:  # gone since it was found; reading it will say so
        num_bytes = 0
    return Limits(_READING_SECONDS + num_bytes / _SLOW_BYTES_PER_SECOND, _MEMORY_BYTES, file_bytes=0)


def _read(path: Path) -> Facts | VideoError:
    """Probe and hash one file; runs in a worker process."""
    try:
        info = probe(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
    except VideoError as error:
        return error
    except OSError as error:
        return VideoError("missing", f"the file cannot be read: {error.strerror}")
    return {"sha256": digest.hexdigest(), **{name: getattr(info, name) for name in _FACTS[1:]}}


# -- rows


def _rows(root: Path, card: Card, found: dict[_File, Facts], refusals: list[Refusal]) -> pa.Table:
    """Rows in the order of paths; the second of two files with the same bytes is refused."""
    first_path: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for file, facts in sorted(found.items(), key=lambda pair: pair[0].path):
        if facts["sha256"] in first_path:
            refusals.append(Refusal(file.path, "duplicate", f"the same bytes as {first_path[facts['sha256']]}"))
            continue
        first_path[facts["sha256"]] = file.path
        rows.append(_row(root, card, file, facts))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(root: Path, card: Card, file: _File, facts: Facts) -> dict[str, Any]:
    group = card.group_of(file.path)
    assert group is not None, "files without a group were refused before"
    return {
        "video_id": video_id(card.name, facts["sha256"]),
        "source": card.name,
        "domain": card.domain,
        "procedure": text_or_none(card.procedure),
        "group_id": group_id(card.name, group),
        "root": str(root.resolve()),
        "usable": [{"start_seconds": 0.0, "end_seconds": facts["duration_seconds"]}],
        "licence": text_or_none(card.licence),
        "split": card.split_of(file.path),
        "schema_version": SCHEMA_VERSION,
        **facts,
        **asdict(file),
    }
