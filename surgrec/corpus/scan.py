"""From a folder of videos to rows of a manifest.

In: a folder and the card of its source. Out: a `ScanResult`: rows, and what was refused and why. It is its own file because
`surgrec index` and `surgrec synthesize` both need it.

A file whose path, size and modification time are those of a known row, or of an entry of the journal, is not read again.
Everything the card says (group, split, licence, ...) is worked out anew at every scan, so that a corrected card takes effect
without reading a video; what later stages found in bytes that are known (usable intervals) stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa

from surgrec.core import console
from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.card import Card
from surgrec.corpus.facts import text_or_none
from surgrec.corpus.isolated import Failed, Limits, map_isolated
from surgrec.corpus.journal import Journal
from surgrec.corpus.manifest import SCHEMA, SCHEMA_VERSION
from surgrec.corpus.refusal import DUPLICATE, NO_GROUP, Refusal
from surgrec.corpus.unchanged import sha256_of
from surgrec.corpus.walk import FoundFile, find_files
from surgrec.video.errors import VideoError, error_or
from surgrec.video.probe import probe

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".flv", ".ogv", ".mxf")
) | frozenset((".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts"))
_FACTS = ("sha256", "num_frames", "duration_seconds", "fps", "width", "height", "codec")  # what reading a file tells
# by stages that decode every frame
_FOUND_LATER = tuple(name for name in ("usable", "content_box") if name in SCHEMA.names)
_MAY_PASS = "missing"  # a reason that another try may find gone
_READING_SECONDS = 60.0  # for any file, on top of its bytes
_SLOW_BYTES_PER_SECOND = 2e6
_MEMORY_BYTES = 3 << 30


Facts = dict[str, Any]
Row = dict[str, Any]
KeptOut = Callable[[Row], Refusal | None]


@dataclass(frozen=True)
class ScanResult:
    """`rows`: a table of the manifest's `SCHEMA`. `num_known`: rows taken over without reading the file again."""

    rows: pa.Table
    refusals: list[Refusal]
    num_known: int = 0


def scan(
    root: Path,
    card: Card,
    num_workers: int = 0,
    progress: bool = False,
    known: pa.Table | None = None,
    journal: Journal | None = None,
    kept_out: KeptOut | None = None,
) -> ScanResult:
    """Read every video below `root`.

    `num_workers` processes read in parallel; 0 reads in this one, where a crash of the decoder library is not contained.
    `known`: rows of an earlier scan of this source, to be taken over where the file has not changed.
    `journal`: what an interrupted scan has read, to be taken over likewise; what this one reads is added.
    `kept_out`: the refusal of a row that must not come in though its file can be read; None: it may.
    Raises `UserError` for a root that is no folder or holds no videos, or a group pattern that fits none of them.
    """
    root = Path(root)
    files, refusals = _find(root, card)
    without_group = [file for file in files if card.group_of(file.path) is None]
    if files and len(without_group) == len(files):
        raise UserError(
            f"the group pattern {card.group_pattern!r} matches none of {counted(len(files), 'video')}; it is searched in the path "
            "below --root, with slashes between the folders"
        )
    refusals += [Refusal(file.path, NO_GROUP, "the group pattern does not match its path") for file in without_group]
    read = _read_before(known, journal)
    todo = [file for file in files if card.group_of(file.path) is not None]
    found = {file: read[file] for file in todo if file in read}
    before = {file for file, facts in found.items() if isinstance(facts, dict)}
    _read_all(root, [file for file in todo if file not in found], num_workers, progress, found, journal)
    refusals += [
        Refusal(file.path, error.reason, error.detail) for file, error in found.items() if isinstance(error, VideoError)
    ]
    rows = _rows(root, card, found, refusals, _found_later(known), kept_out)
    num_known = len(before & {FoundFile(row["path"], row["size_bytes"], row["modified_nanoseconds"]) for row in rows})
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return ScanResult(table, sorted(refusals, key=lambda refusal: refusal.path), num_known)


def video_id(source: str, sha256: str) -> str:
    """The name of a video everywhere but in the manifest's own path: source and content, nothing of the file's name."""
    return f"{source}_{_short_hash('video_id', sha256, 12)}"


def group_id(source: str, group: str) -> str:
    """A name for what belongs together that does not show the text it was made from.

    It hides that text from whoever sees it, not from whoever guesses: the function is public, so names can be tried. A secret key would
    mend this and break what groups are for, which is that a patient has one id in every manifest, wherever it was made: test material is
    told from the corpus, and a removed patient kept out, across folders and machines. So manifests, and what holds group ids, stay private.
    """
    return f"{source}_g{_short_hash('group_id', f'{source}/{group}', 10)}"


def _short_hash(purpose: str, text: str, length: int) -> str:
    return hashlib.blake2b(text.encode(), key=f"surgrec {purpose}".encode()).hexdigest()[:length]


# -- finding


def _find(root: Path, card: Card) -> tuple[list[FoundFile], list[Refusal]]:
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give the folder that holds the videos")
    files, refusals = find_files(root, lambda path: _is_candidate(path, card))
    if not files and not refusals:
        what = (
            f"files that match {', '.join(card.file_pattern)}"
            if card.file_pattern
            else "video files (mp4, mkv, avi, ...)"
        )
        raise UserError(f"there are no {what} in {root}")
    return files, refusals


def _is_candidate(path: str, card: Card) -> bool:
    if card.file_pattern:
        return any(fnmatchcase(path, pattern) for pattern in card.file_pattern)
    name = path.rpartition("/")[2]
    return "." in name and f".{name.rpartition('.')[2].lower()}" in VIDEO_SUFFIXES


def _read_before(known: pa.Table | None, journal: Journal | None) -> dict[FoundFile, Facts | VideoError]:
    """What earlier scans read, by path, size and time. The root may have moved with its files."""
    entries = journal.entries() if journal is not None else []
    read: dict[FoundFile, Facts | VideoError] = {
        FoundFile(entry["path"], entry["size_bytes"], entry["modified_nanoseconds"]): (
            VideoError(*entry["refused"]) if "refused" in entry else entry["facts"]
        )
        for entry in entries
    }
    rows = known.select([*_FACTS, "path", "size_bytes", "modified_nanoseconds"]).to_pylist() if known else []
    return read | {
        FoundFile(row["path"], row["size_bytes"], row["modified_nanoseconds"]): {name: row[name] for name in _FACTS}
        for row in rows
        if row["size_bytes"] is not None
    }


def _found_later(known: pa.Table | None) -> dict[str, Row]:
    """What later stages found, by the bytes that they found it in."""
    rows = known.select(["sha256", *_FOUND_LATER]).to_pylist() if known else []
    return {row["sha256"]: {name: row[name] for name in _FOUND_LATER} for row in rows}


# -- reading


def _read_all(
    root: Path,
    files: Sequence[FoundFile],
    num_workers: int,
    progress: bool,
    found: dict[FoundFile, Facts | VideoError],
    journal: Journal | None,
) -> None:
    """Read `files` into `found`, and note each in the journal as soon as it is read."""
    paths = [root / file.path for file in files]
    with console.progress("reading videos", len(files)) if progress else nullcontext(_say_nothing) as advance:
        for index, result in map_isolated(_read, paths, num_workers, _limits_of):
            told = result.as_error() if isinstance(result, Failed) else result
            found[files[index]] = told
            if journal is not None:
                _note(journal, files[index], told)
            advance()


def _note(journal: Journal, file: FoundFile, told: Facts | VideoError) -> None:
    if isinstance(told, dict):
        journal.add(**asdict(file), facts=told)
    elif told.reason != _MAY_PASS:
        journal.add(**asdict(file), refused=[told.reason, told.detail])


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
    """Runs in a worker process."""
    return error_or(lambda: _facts_of(path))


def _facts_of(path: Path) -> Facts:
    info = probe(path)  # reads all packets, so that a file of ordinary size is in memory when it is hashed
    return {"sha256": sha256_of(path), **{name: getattr(info, name) for name in _FACTS[1:]}}


# -- rows


def _rows(
    root: Path,
    card: Card,
    found: dict[FoundFile, Facts | VideoError],
    refusals: list[Refusal],
    found_later: dict[str, Row],
    kept_out: KeptOut | None,
) -> list[Row]:
    """Rows in the order of paths; the second of two files with the same bytes is refused."""
    rows: dict[str, Row] = {}
    for file, facts in sorted(found.items(), key=lambda pair: pair[0].path):
        if isinstance(facts, VideoError):
            continue
        row = _row(root, card, file, facts)
        refusal = _second(row, rows) or (kept_out(row) if kept_out is not None else None)
        if refusal is not None:
            refusals.append(refusal)
            continue
        rows[row["sha256"]] = row | found_later.get(row["sha256"], {})
    return list(rows.values())


def _second(row: Row, rows: dict[str, Row]) -> Refusal | None:
    """The refusal of a row whose bytes `rows` have already."""
    first = rows.get(row["sha256"])
    if first is None:
        return None
    detail = f"the same bytes as {first['path']}"
    return Refusal(row["path"], DUPLICATE, detail, row["video_id"], row["group_id"], first["video_id"])


def _row(root: Path, card: Card, file: FoundFile, facts: Facts) -> dict[str, Any]:
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
