"""`surgrec corpus ledger`: show what is noted of videos, or note something.

In: flags, or a table in CSV. Out: the ledger beside the manifest, or a table on the console. It is its own file because what people type
by hand is judged here, before anything is noted.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.errors import UserError
from surgrec.core.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from surgrec.corpus.ledger import Ledger

LEDGER_HELP = (
    "ledger to write to (default: beside the manifest, and none but those listed there and in $SURGREC_LEDGER is read)"
)


def add_verb(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The flags of `surgrec corpus ledger`."""
    parser = commands.add_parser(
        "ledger",
        help="show or add notes",
        description="Show what is noted of the videos of a manifest, or note something.",
        epilog="example: surgrec corpus ledger --manifest corpus.parquet --import consent.csv",
    )
    parser.set_defaults(command=_run)
    parser.add_argument("--manifest", type=Path, required=True, metavar="M", help="manifest that `surgrec index` wrote")
    parser.add_argument(
        "--set",
        nargs="+",
        action="append",
        default=[],
        metavar=("VIDEO_ID", "KEY=VALUE"),
        help="note licence=, provenance=, consent= or notes= of a video; a licence holds in place of that of its source",
    )
    parser.add_argument(
        "--import",
        type=Path,
        dest="table",
        metavar="CSV",
        help="note what a table says: a column video_id and some of licence, provenance, consent, notes",
    )
    parser.add_argument("--videos", action="store_true", help="show every video, not only every source")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help=LEDGER_HELP)


def _run(options: argparse.Namespace) -> None:
    from surgrec.core.lock import only_writer
    from surgrec.corpus.ledger import Ledger, add_notes, ledger_file
    from surgrec.corpus.manifest import Manifest

    path: Path = options.manifest
    file = options.ledger or ledger_file(path)
    notes = _notes(options.set, options.table)
    with only_writer(path):
        table = Manifest.read([path], as_is=True).table
        if notes:
            _refuse_unlisted(table, notes)
            add_notes(file, notes)
        more = [options.ledger] if options.ledger else []
        ledger = Ledger.of_manifest(path, *more)
        licensed = ledger.with_licences(table)
        if notes and not licensed.equals(table):
            Manifest(licensed).write(path)
    if notes:
        print(f"noted for {counted(len(notes), 'video')} in {file}")
    elif options.videos:
        _print_videos(licensed, ledger)
    else:
        _print_sources(licensed, ledger)


def _notes(given: list[list[str]], table: Path | None) -> dict[str, dict[str, str]]:
    """Notes by video and key, of the flags and of a table. Raises `UserError` for what is not a note."""
    from surgrec.corpus.ledger import NOTES

    notes: dict[str, dict[str, str]] = {}
    for name, *pairs in given:
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals or key not in NOTES:
                raise UserError(f"--set {name} {pair}: write KEY=VALUE, with one of {', '.join(NOTES)} as the key")
            notes.setdefault(name, {})[key] = value
        if not pairs:
            raise UserError(f"--set {name}: say what to note, such as consent=broad")
    if table is not None:
        for name, values in _read_notes(table).items():
            notes[name] = values | notes.get(name, {})
    return notes


def _read_notes(table: Path) -> dict[str, dict[str, str]]:
    """The rows of a CSV file, together where several are of one video; an empty cell notes nothing."""
    from surgrec.corpus.ledger import NOTES

    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read as a CSV file: {error}") from None
    columns = [name for name in (rows[0] if rows else {}) if name is not None]
    if "video_id" not in columns or (unknown := sorted(set(columns) - {"video_id", *NOTES})):
        wrong = f"; it has {', '.join(unknown)} too" if "video_id" in columns else ""
        raise UserError(f"{table} must have a column video_id and, besides, only {', '.join(NOTES)}{wrong}")
    notes: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, 1):
        if None in row:
            raise UserError(
                f"row {number} of {table} has more cells than its first line names columns; nothing was noted"
            )
        noted = {key: row[key].strip() for key in NOTES if (row.get(key) or "").strip()}
        if noted and not row["video_id"].strip():
            raise UserError(f"row {number} of {table} has no video_id; say which video it is about; nothing was noted")
        before = notes.setdefault(row["video_id"].strip(), {})
        if differing := sorted(key for key in noted.keys() & before.keys() if noted[key] != before[key]):
            raise UserError(
                f"row {number} of {table} says another {differing[0]} of a video than a row before; nothing was noted"
            )
        before |= noted
    return {name: values for name, values in notes.items() if values}


def _refuse_unlisted(table: pa.Table, notes: Iterable[str]) -> None:
    if unknown := sorted(set(notes) - set(table["video_id"].to_pylist())):
        raise UserError(
            f"the manifest does not list {len(unknown)} of the videos, {unknown[0]} among them; nothing was noted"
        )


def _print_sources(table: pa.Table, ledger: Ledger) -> None:
    rows = [("source", "videos", "licence", "provenance", "consent", "removed")]
    removed = Counter(stone.source for stone in ledger.tombstones.values())
    owners = table["source"].to_pylist()
    for source in sorted({*owners, *removed}):
        of_source = [row for row, owner in enumerate(owners) if owner == source]
        notes = [ledger.notes.get(table["video_id"][row].as_py(), {}) for row in of_source]
        licences = Counter(table["licence"][row].as_py() or "unknown" for row in of_source)
        told = [_counted(Counter(note.get(key, "unknown") for note in notes)) for key in ("provenance", "consent")]
        rows.append((source, str(len(of_source)), _counted(licences), *told, str(removed[source])))
    _print_table(rows)


def _counted(counts: Counter[str]) -> str:
    """`broad`, or `broad 3, unknown 1`; of many, the three most frequent."""
    if len(counts) <= 1:
        return "".join(counts)
    most = ", ".join(f"{name} {count}" for name, count in counts.most_common(3))
    return f"{most}, ..." if len(counts) > 3 else most


def _print_videos(table: pa.Table, ledger: Ledger) -> None:
    rows: list[tuple[str, ...]] = [("video_id", "licence", "provenance", "consent", "notes", "removed")]
    for name, licence in zip(table["video_id"].to_pylist(), table["licence"].to_pylist(), strict=True):
        notes = ledger.notes.get(name, {})
        rows.append(
            (
                name,
                licence or "unknown",
                *(notes.get(key, "unknown") for key in ("provenance", "consent")),
                notes.get("notes", ""),
                "",
            )
        )
    for name, stone in sorted(ledger.tombstones.items()):
        notes = ledger.notes.get(name, {})
        known = (notes.get(key, "unknown") for key in ("licence", "provenance", "consent"))
        rows.append((name, *known, notes.get("notes", ""), f"{stone.date} {stone.reason}".strip()))
    _print_table(rows)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
