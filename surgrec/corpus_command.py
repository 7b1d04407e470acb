"""What is known of the videos of a manifest beyond their files: notes, a report; and taking one out for good.

    python -m surgrec.corpus ledger --manifest corpus.parquet                       # what is noted, source by source
    python -m surgrec.corpus ledger --manifest corpus.parquet --set VIDEO_ID consent=broad
    python -m surgrec.corpus cluster --features features --clusters 1000 100 10 --out clusters.parquet
    python -m surgrec.corpus remove VIDEO_ID --manifest corpus.parquet --reason "consent withdrawn" --runs runs
    python -m surgrec.corpus report --manifest corpus.parquet --out report.html            # all that is known, as a page

In: flags. Out: the ledger beside the manifest, the manifest without what was removed, and the list of checkpoints and releases that had
seen it; or a page for the browser. `surgrec corpus` is a command and `surgrec/corpus/` the stage that it works on, so the command stands
here.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.core.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from surgrec.config.seen import RunSeen
    from surgrec.corpus.ledger import Ledger
    from surgrec.corpus.removal import Removal


_SHOWN_FILES = 20


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec corpus`; returns the exit status."""
    options = _parser().parse_args(arguments)
    options.command(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec corpus",
        description="Notes on licence, provenance and consent of each video, removing a video for good (docs/ledger.md), and a page "
        "with all that is known of a corpus (docs/corpus_report.md).",
        epilog="example: surgrec corpus remove cholec_0a1b2c3d4e5f --manifest corpus.parquet --reason 'consent withdrawn' --runs runs",
    )
    commands = parser.add_subparsers(required=True, metavar="ledger|remove|report|cluster")
    ledger = commands.add_parser(
        "ledger",
        help="show or add notes",
        description="Show what is noted of the videos of a manifest, or note something.",
        epilog="example: surgrec corpus ledger --manifest corpus.parquet --import consent.csv",
    )
    ledger.set_defaults(command=_ledger)
    ledger.add_argument("--manifest", type=Path, required=True, metavar="M", help="manifest that `surgrec index` wrote")
    ledger.add_argument(
        "--set",
        nargs="+",
        action="append",
        default=[],
        metavar=("VIDEO_ID", "KEY=VALUE"),
        help="note licence=, provenance=, consent= or notes= of a video; a licence holds in place of that of its source",
    )
    ledger.add_argument(
        "--import",
        type=Path,
        dest="table",
        metavar="CSV",
        help="note what a table says: a column video_id and some of licence, provenance, consent, notes",
    )
    ledger.add_argument("--videos", action="store_true", help="show every video, not only every source")
    ledger.add_argument("--ledger", type=Path, metavar="FILE", help=_LEDGER_HELP)
    remove = commands.add_parser(
        "remove",
        help="take videos out of manifests and keep them out",
        description="Leave a tombstone of each video, take it out of the manifests, keep it out of every later one, and list the "
        "checkpoints and releases that had seen it. Without a VIDEO_ID, take out what was removed before.",
        epilog="example: surgrec corpus remove cholec_0a1b2c3d4e5f --manifest corpus.parquet prepared.parquet --runs runs",
    )
    remove.set_defaults(command=_remove)
    remove.add_argument("names", nargs="*", metavar="VIDEO_ID", help="as the manifest's column video_id says")
    remove.add_argument(
        "--manifest",
        type=Path,
        nargs="+",
        required=True,
        metavar="M",
        help="manifests that may list them, prepared ones too",
    )
    remove.add_argument(
        "--group", action="store_true", help="remove all videos of the same patient or case; a group_id will do"
    )
    remove.add_argument(
        "--delete-copies",
        action="store_true",
        help="delete training copies and surveys of them that lie beside these manifests (default: list them); originals stay",
    )
    remove.add_argument("--reason", default="", metavar="TEXT", help="for the ledger")
    remove.add_argument("--runs", type=Path, metavar="DIR", help="where run folders lie: list what had seen the videos")
    remove.add_argument("--ledger", type=Path, metavar="FILE", help=_LEDGER_HELP)
    _add_report(commands)
    cluster = commands.add_parser(
        "cluster",
        help="cluster frozen features, for a mixture that draws clusters alike",
        description="Hierarchical k-means on what `surgrec extract` wrote. A run draws from it with mix=clusters mix.clusters=FILE; see "
        "docs/sampling.md.",
        epilog="example: surgrec corpus cluster --features features --clusters 1000 100 10 --out clusters.parquet",
    )
    cluster.set_defaults(command=_cluster)
    cluster.add_argument(
        "--features", type=Path, required=True, metavar="DIR", help="store that `surgrec extract` wrote"
    )
    cluster.add_argument(
        "--clusters",
        type=int,
        nargs="+",
        required=True,
        metavar="K",
        help="how many clusters each level has, the lowest and largest first",
    )
    cluster.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the clusters go (Parquet)")
    cluster.add_argument("--seed", type=int, default=0, metavar="N", help="of the beginnings of k-means")
    return parser


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = commands.add_parser(
        "report",
        help="a page with all that is known of a corpus",
        description="Write one page for the browser: what the corpus is made of, licences, groups, what filters took, with pictures, "
        "duplicates, test material, overlaps, refusals; and what of this nobody has looked at. No name of a file is on it. See "
        "docs/corpus_report.md.",
        epilog="example: surgrec corpus report --manifest corpus.parquet --refusals prepared/quarantine.jsonl --out report.html",
    )
    report.set_defaults(command=_report)
    add = report.add_argument
    add("--manifest", type=Path, required=True, metavar="M", help="manifest that `surgrec index` or `prepare` wrote")
    add("--out", type=Path, required=True, metavar="HTML", help="page to write")
    add(
        "--findings",
        type=Path,
        metavar="FILE",
        help="what `surgrec filter` found (default: MANIFEST.filters.parquet beside the manifest)",
    )
    add(
        "--refusals",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="further lists of `surgrec index`, and quarantines of `surgrec prepare`; those beside the manifest are read anyway",
    )
    add("--cards", type=Path, metavar="DIR", help="cards of your own, beside or instead of those shipped")
    add("--no-pictures", action="store_true", help="no pictures of patients, and no video is opened")
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="decoding processes (default: all cores)")


_LEDGER_HELP = (
    "ledger to write to (default: beside the manifest, and none but those listed there and in $SURGREC_LEDGER is read)"
)


# -- clusters


def _cluster(options: argparse.Namespace) -> None:
    import numpy as np
    import pyarrow as pa

    from surgrec.core.console import progress
    from surgrec.corpus.clusters import Clusters
    from surgrec.corpus.kmeans import cluster_paths
    from surgrec.features.store import open_store

    store = open_store(options.features)
    names = sorted(store.video_ids())
    ids: list[str] = []
    times, vectors = [], []
    with progress("reading features", len(names)) as advance:
        for name in names:
            windows = store.read(name)
            is_valid = windows.is_valid.astype(bool)
            features = windows.features[is_valid].astype(np.float32)
            vectors.append(features.reshape(len(features), -1, features.shape[-1]).mean(axis=1))
            times.append(np.stack([windows.start_seconds, windows.end_seconds], axis=1)[is_valid])
            ids += [name] * len(features)
            advance()
    if not ids:
        raise UserError(f"{options.features} holds features of no moment; `surgrec extract` adds some")
    spans = np.concatenate(times)
    paths = cluster_paths(np.concatenate(vectors), options.clusters, options.seed, lambda line: print(line, flush=True))
    found = Clusters.of(pa.array(ids), spans[:, 0], spans[:, 1], paths, options.out.name)
    found.write(options.out)
    sizes = np.bincount(paths[:, 0])
    print(
        f"{counted(len(ids), 'moment')} of {counted(len(names), 'video')} in {counted(len(found.paths), 'cluster')} of the lowest level; "
        f"those of the top level hold {sizes.min()} to {sizes.max()} each\n"
        f"next: surgrec preview ... mix=clusters mix.clusters={options.out}"
    )


# -- notes


def _ledger(options: argparse.Namespace) -> None:
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


# -- the report


def _report(options: argparse.Namespace) -> None:
    from surgrec.core.atomic import write_text
    from surgrec.core.console import progress
    from surgrec.corpus.card import load_cards, shipped_cards
    from surgrec.corpus.report.known import read_known
    from surgrec.corpus.report.page import as_html, as_text
    from surgrec.corpus.report.pictures import choose_moments, take

    _refuse_overwriting(options)
    cards = {**shipped_cards(), **(load_cards(options.cards) if options.cards is not None else {})}
    known, manifest = read_known(options.manifest, cards, options.findings, options.refusals)
    moments = [] if options.no_pictures else choose_moments(known.videos)
    stills = None if options.no_pictures else list(take(moments, manifest, options.workers, progress))
    write_text(options.out, as_html(known, stills))
    print(as_text(known, stills))
    print(f"report: {options.out}")


def _refuse_overwriting(options: argparse.Namespace) -> None:
    """Refuse a page that would replace what it is made from, or a folder."""
    out: Path = options.out
    if out.is_dir():
        raise UserError(f"{out} is a folder; give --out the name of a file in it")
    read = [
        options.manifest,
        *options.refusals,
        *([options.findings] if options.findings else []),
    ]
    if out.resolve() in {path.resolve() for path in read}:
        raise UserError(f"--out {out} would replace a file that is read; give it another name")


# -- removing


def _remove(options: argparse.Namespace) -> None:
    from surgrec.corpus.removal import remove

    if options.group and not options.names:
        raise UserError("--group removes the patients or cases of the videos that you name; name at least one")
    removal = remove(options.manifest, options.names, options.group, options.reason, options.ledger)
    _print_removal(removal)
    if not removal.video_ids:
        return
    mapped = _mapped_manifests(options.runs, removal.video_ids)
    _clear_files([*removal.files, *mapped], options.delete_copies)
    if options.runs is None:
        print("what has seen them: add --runs DIR, with the folder of your runs")
        return
    if not options.runs.is_dir():
        raise UserError(
            f"the videos are removed, but there is no folder {options.runs}; give --runs the folder of your runs"
        )
    from surgrec.config.seen import runs_that_saw

    _print_seen(runs_that_saw(options.runs, set(removal.video_ids), set(removal.hashes)))


def _print_removal(removal: Removal) -> None:
    for path, count in removal.taken_out.items():
        print(f"{path}: {count} taken out" if count else f"{path}: nothing is left to do")
    if not removal.video_ids:
        return
    earlier = len(removal.video_ids) - removal.num_new
    print(
        f"removed: {', '.join(removal.video_ids)}" + (f" ({earlier} of them earlier)" if earlier else "") + f"\n"
        f"  tombstones   {', '.join(map(str, removal.ledgers))}: keep, and keep private"
    )
    if removal.other_groups:
        print(
            f"  the same bytes were also listed in {', '.join(removal.other_groups)}, whose other videos stay: "
            "if that is the same patient, remove it with --group, too"
        )


def _mapped_manifests(runs: Path | None, names: Collection[str]) -> list[Path]:
    """Folders beside the runs that hold manifests which list the videos, with the names of their files."""
    from surgrec.config.footage import CACHE
    from surgrec.corpus.mapped import holding

    caches = [] if runs is None else sorted(runs.glob(f"{CACHE}_*"))
    return [folder for cache in caches for folder in holding(cache, names)]


def _clear_files(files: Sequence[Path], is_deleted: bool) -> None:
    """List, or delete, what this package made of the videos; named by ids, so that it may be printed."""
    if not files:
        return
    for file in files if is_deleted else ():
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
    told = "deleted" if is_deleted else "they still show them; --delete-copies deletes"
    print(f"  {told}: {counted(len(files), 'file')}")
    for file in files[:_SHOWN_FILES]:
        print(f"    {file}")
    if len(files) > _SHOWN_FILES:
        print(f"    ... and {len(files) - _SHOWN_FILES} more")


def _print_seen(runs: list[RunSeen]) -> None:
    """Run by run: what had seen the videos, and what had not."""
    clean = 0
    for run in runs:
        if run.unknown is not None:
            print(f"{run.folder}: cannot be told: {run.unknown}")
            continue
        steps = [step for step in run.checkpoints if run.has_seen(step)]
        releases = [release for release in run.releases if run.has_seen(release.step)]
        if run.has_seen_at_begin:
            print(f"{run.folder}: began from a release that had seen them ({run.begun_from})")
        elif run.first_seen:
            first = min(run.first_seen.values())
            print(f"{run.folder}: drew {len(run.first_seen)} of them, first in step {first}")
        elif run.listed:
            print(f"{run.folder}: could have drawn {len(run.listed)} of them and has not up to its newest checkpoint")
        else:
            clean += 1
            continue
        unseen = [step for step in run.checkpoints if step not in steps]
        print(f"  checkpoints that saw them   {_steps(steps)}")
        print(f"  checkpoints that did not    {_steps(unseen)}")
        for release in releases:
            print(f"  release that saw them       {release.path}, step {release.step}, SHA256SUMS {release.sums[:16]}")
        if run.pictures:
            print(f"  may show them               {run.pictures}")
    print(f"{clean} of {counted(len(runs), 'run')} never listed them")


def _steps(steps: list[int]) -> str:
    return ", ".join(f"step_{step:08d}" for step in steps) or "none"


if __name__ == "__main__":
    sys.exit(run_command(main))
