"""What is known of each video beyond its file: licence, provenance, consent, and whether it had to go.

In: notes and removals. Out: a file beside the manifest that only grows, and from it what every later manifest must obey. It is its
own file because it outlives manifests: a manifest is made anew from folders, and a video whose patient has withdrawn must stay out
although its file may still lie there. It holds ids, hashes and what people wrote; keep it as private as the manifest.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from surgrec.core.atomic import real_path
from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.lines import Appender, Record, read_lines
from surgrec.corpus.refusal import REMOVED, Refusal

EVERYWHERE = "SURGREC_LEDGER"  # environment variable: a ledger that holds for all manifests of this machine
NOTES = ("licence", "provenance", "consent", "notes")


class LedgerError(UserError):
    """A ledger that is damaged or not there, or a note or removal that cannot be."""


@dataclass(frozen=True)
class Tombstone:
    """A video that was removed, by id and by bytes; with `is_whole_group`, whatever belongs to its group is kept out, too."""

    video_id: str
    sha256: str
    source: str
    group_id: str
    date: str
    reason: str = ""
    is_whole_group: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What makes it a tombstone of its own: id and bytes."""
        return self.video_id, self.sha256


@dataclass(frozen=True)
class Ledger:
    """Tombstones by id and bytes (a prepared copy has the id of its original and other bytes), and notes by id; of two notes with the same
    key, the later one holds.
    """

    stones: dict[tuple[str, str], Tombstone] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, files: Iterable[Path]) -> Ledger:
        """All of `files` together. Raises `LedgerError` for one that is not there or damaged: a lost line is a broken promise."""
        ledger = cls()
        for file in {file.resolve(): file for file in files}.values():
            if not file.is_file():
                raise LedgerError(f"there is no ledger at {file}; give the right path, or make an empty file there")
            records, num_damaged = read_lines(file)
            if num_damaged:
                raise LedgerError(
                    f"the ledger {file} has {counted(num_damaged, 'damaged line')}, so what was removed is not known for sure; restore it"
                )
            for record in records:
                ledger._take(file, record)
        return ledger

    @classmethod
    def of_manifest(cls, manifest: Path, *more: Path) -> Ledger:
        """The ledger beside `manifest`, where there is one, that of `$SURGREC_LEDGER` where it is set, and `more`."""
        return cls.read([*cls.files_of(manifest), *more])

    @staticmethod
    def files_of(manifest: Path) -> list[Path]:
        """The ledgers that hold for a manifest without being named: those beside it, those that they follow, and that of the machine."""
        found: dict[Path, None] = {}
        waiting = [ledger_file(manifest), ledger_file(real_path(manifest))]
        while waiting:
            file = waiting.pop(0)
            if file.is_file() and file.resolve() not in {known.resolve() for known in found}:
                found[file] = None
                waiting += _followed_by(file)
        everywhere = os.environ.get(EVERYWHERE)
        return [*found, *([Path(everywhere)] if everywhere else [])]

    def _take(self, file: Path, record: Record) -> None:
        values = {key: value for key, value in record.items() if key != "event"}
        match record.get("event"):
            case "removed":
                stone = Tombstone(**values)
                self.stones[stone.key] = stone
            case "noted":
                self.notes.setdefault(values["video_id"], {})[values["key"]] = values["value"]
            case "follows":
                pass  # `files_of` goes there
            case other:
                raise LedgerError(
                    f"the ledger {file} was written by a newer surgrec (it tells of {other!r}); update surgrec"
                )

    @cached_property
    def tombstones(self) -> dict[str, Tombstone]:
        """By `video_id`, one each."""
        return {stone.video_id: stone for stone in self.stones.values()}

    def is_removed(self, table: pa.Table) -> pa.ChunkedArray:
        """Of each row of a manifest, whether it must not be there: by id, by bytes, or by its group."""
        stones = self.stones.values()
        groups = pa.array({stone.group_id for stone in stones if stone.is_whole_group}, pa.string())
        by_id = pc.is_in(table["video_id"], pa.array(self.tombstones, pa.string()))
        hashes = pa.array({stone.sha256 for stone in stones}, pa.string())
        by_bytes = pc.or_(pc.is_in(table["sha256"], hashes), pc.is_in(table["original_sha256"], hashes))
        return pc.or_(pc.or_(by_id, by_bytes), pc.is_in(table["group_id"], groups))

    def without_removed(self, table: pa.Table) -> pa.Table:
        """The rows that may stay."""
        return table.filter(pc.invert(self.is_removed(table))) if self.stones else table

    def with_licences(self, table: pa.Table) -> pa.Table:
        """`table` with the licence that was noted for a video in place of that of its source."""
        noted = {name: notes["licence"] for name, notes in self.notes.items() if "licence" in notes}
        if not noted:
            return table
        ids, old = table["video_id"].to_pylist(), table["licence"].to_pylist()
        new = [noted.get(name, licence) for name, licence in zip(ids, old, strict=True)]
        column = table.schema.get_field_index("licence")
        return table.set_column(column, table.schema.field(column), pa.array(new, pa.string()))


class Gate:
    """Tells of a new row whether the ledger keeps it out."""

    def __init__(self, ledger: Ledger) -> None:
        stones = list(ledger.stones.values())
        self._by_id = ledger.tombstones
        self._by_bytes = {stone.sha256: stone for stone in stones}
        self._by_group = {stone.group_id: stone for stone in stones if stone.is_whole_group}

    def refusal_of(self, row: Mapping[str, Any]) -> Refusal | None:
        """The refusal of a manifest's row; None where nothing was removed that it would bring back."""
        found = (self._by_bytes.get(row["sha256"]), self._by_bytes.get(row.get("original_sha256") or ""))
        if (stone := next(filter(None, found), None) or self._by_id.get(row["video_id"])) is not None:
            detail = f"{stone.video_id} was removed on {stone.date}"
        elif (stone := self._by_group.get(row["group_id"])) is not None:
            detail = f"its group {stone.group_id} was removed on {stone.date}"
        else:
            return None
        return Refusal(row["path"], REMOVED, detail, row["video_id"], row["group_id"])


def ledger_file(manifest: Path) -> Path:
    """The ledger beside a manifest."""
    return manifest.with_name(f"{manifest.stem}.ledger.jsonl")


def today() -> str:
    """The date of a note or removal, UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def add_tombstones(file: Path, stones: Sequence[Tombstone]) -> None:
    """Write removals to a ledger; on disk when this returns."""
    _add(file, [{"event": "removed", **asdict(stone)} for stone in stones])


def add_notes(file: Path, notes: Mapping[str, Mapping[str, str]]) -> None:
    """Write notes, by video and key, to a ledger; on disk when this returns. Raises `LedgerError` for an unknown key."""
    if unknown := sorted({key for values in notes.values() for key in values} - set(NOTES)):
        raise LedgerError(f"a ledger notes {', '.join(NOTES)} of a video, not {', '.join(unknown)}")
    date = today()
    _add(
        file,
        [
            {"event": "noted", "video_id": name, "key": key, "value": value, "date": date}
            for name, values in notes.items()
            for key, value in values.items()
        ],
    )


def follow(manifest: Path, origins: Iterable[Path]) -> None:
    """Let what was or will be removed of the manifests `origins` hold for `manifest`, which was made from them.

    Noted in the ledger beside `manifest`, as a path from there and as an absolute one: the former holds where all is moved together, the
    latter where `manifest` alone is. Where neither leads to a ledger, none is known, as before the first removal.
    """
    file, followed = ledger_file(manifest), []
    there = {_place(path) for path in (file, *_followed_by(file))}
    for origin in origins:
        for other in (ledger_file(path) for path in dict.fromkeys((origin, real_path(origin)))):
            if _place(other) not in there:
                there.add(_place(other))
                relative = os.path.relpath(_place(other), _place(file).parent)
                followed.append({"event": "follows", "relative": relative, "absolute": str(_place(other))})
    _add(file, followed)


def _place(file: Path) -> Path:
    """Where a file lies or will lie, whatever links lead to its folder."""
    return file.parent.resolve() / file.name


def _followed_by(file: Path) -> list[Path]:
    """The ledgers that `file` follows, there or not."""
    pairs = [
        (_place(file).parent / record["relative"], Path(record["absolute"]))
        for record in read_lines(file)[0]
        if record.get("event") == "follows"
    ]
    return [relative if relative.is_file() else absolute for relative, absolute in pairs]


def _add(file: Path, records: list[Record]) -> None:
    if not records:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    appender = Appender(file)
    appender.add(records)
    appender.close()
