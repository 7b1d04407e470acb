"""List a folder of videos in a manifest: what each is, whether it can be read, which patient or case it belongs to.

    python -m surgrec.index --root videos/cholec --source cholec --domain laparoscopy --out manifest.parquet
    python -m surgrec.index --root videos/eye --card corpora/eye.yaml --out manifest.parquet    # adds to the same file

In: flags. Out: the manifest and, beside it, what was refused and why. The same command adds what is new and reads nothing
twice; interrupted at any moment, `kill -9` included, it continues. No name of a file is printed unless `--show-paths` asks for it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.core.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

    from surgrec.corpus.card import Card
    from surgrec.corpus.ledger import Ledger
    from surgrec.corpus.refusal import Refusal
    from surgrec.corpus.scan import KeptOut, Row, ScanResult


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec index`; returns the exit status."""
    options = _parser().parse_args(arguments)

    from surgrec.core.lock import only_writer

    card = _card(options)
    if options.out.is_dir():
        raise UserError(
            f"{options.out} is a folder; give --out the name of a file, such as {options.out / 'manifest.parquet'}"
        )
    with only_writer(options.out):
        _index(options, card)
    return 0


def _index(options: argparse.Namespace, card: Card) -> None:
    from surgrec.core.atomic import remove_leftovers
    from surgrec.corpus.journal import Journal, journal_file
    from surgrec.corpus.ledger import Ledger
    from surgrec.corpus.manifest import Manifest
    from surgrec.corpus.refusal import REMOVED, by_reason, refusals_file, tell_refusals, write_refusals
    from surgrec.corpus.scan import scan

    for file in (options.out, refusals_file(options.out), journal_file(options.out)):
        remove_leftovers(file)
    ledger = Ledger.of_manifest(options.out, *([options.ledger] if options.ledger else []))
    before = _read_before(options.out)
    known = _rows_of(before, card.name)
    kept_out = _kept_out(before, known, card.name, ledger, options.keep_duplicates)
    with Journal(journal_file(options.out), card.name, options.root) as journal:
        result = scan(options.root, card, options.workers, True, known, journal, kept_out)
        list_file = refusals_file(options.out)
        write_refusals(list_file, card.name, options.root, result.refusals)
        tell_refusals(result.refusals, list_file, options.show_paths)
        if len(result.rows) == 0 and all(refusal.reason != REMOVED for refusal in result.refusals):
            journal.forget()
            raise UserError(
                f"none of {counted(len(result.refusals), 'video')} in {options.root} comes into the manifest "
                f"({by_reason(result.refusals)}), which is as it was"
            )
        after = ledger.with_licences(
            ledger.without_removed(_merged(before, known, result, str(options.root.resolve())))
        )
        has_changed = not after.equals(before)
        if has_changed:
            Manifest(after).write(options.out)
        journal.forget()
    _print_summary(options.out, result, known, after, has_changed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec index",
        description="List every video of a folder in a Parquet manifest. Run it again to add what is new.",
        epilog="example: surgrec index --root videos/cholec --source cholec --domain laparoscopy --out manifest.parquet",
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, metavar="DIR", help="folder of the videos, searched with all that is below")
    add("--out", type=Path, required=True, metavar="FILE", help="manifest to write or add to, Parquet")
    add(
        "--card",
        metavar="CARD",
        help="card of the source: a YAML file, see corpora/README.md, or the name of a shipped card, see `surgrec corpora "
        "list`; instead of --source, --domain",
    )
    add("--source", metavar="NAME", help="name of this collection of videos")
    add("--domain", help="endoscopy, laparoscopy, cataract, robotic or other")
    add("--procedure", help="what is operated, for instance cholecystectomy")
    add("--licence", help="under which the videos may be used")
    add(
        "--group-pattern",
        metavar="REGEX",
        help="its first group, found in a video's path below DIR, names the patient or case, for instance 'case_(\\d+)'; "
        "without it the videos of one folder belong together",
    )
    add(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="reading processes (default: all cores); with 0 a crash of the decoder library ends the command",
    )
    add(
        "--keep-duplicates",
        action="store_true",
        help="list a video although another source of the manifest has the same bytes (default: it stays out, and is told)",
    )
    add("--ledger", type=Path, metavar="FILE", help="a further ledger of removed videos; see docs/ledger.md")
    add("--show-paths", action="store_true", help="name refused files on the console; they may name patients")
    return parser


def _card(options: argparse.Namespace) -> Card:
    """The card of the source, from its file or from the flags; flags win over the file."""
    from surgrec.corpus.card import Card, find_card

    extra = {
        name: value
        for name in ("procedure", "licence", "group_pattern")
        if (value := getattr(options, name)) is not None
    }
    if options.card is not None:
        if options.source is not None or options.domain is not None:
            raise UserError("give either --card or --source and --domain, not both; the card names source and domain")
        return _changed(_readable(find_card(options.card)), extra)
    if options.source is None or options.domain is None:
        raise UserError("say whose videos these are: --card CARD.yaml, or --source NAME and --domain DOMAIN")
    return Card(options.source, options.domain, **extra)


def _readable(card: Card) -> Card:
    """The card of a source of videos; a `UserError` for one of pictures, each of which would become a video."""
    if card.media in ("frames", "images"):
        raise UserError(
            f"{card.name} is given out as {card.media}, and this command lists videos; make videos of them and write a card "
            "of your own with its name, domain and group_pattern"
        )
    return card


def _changed(card: Card, facts: dict[str, str]) -> Card:
    """The card with the facts of the flags. What it says of its own facts and paths does not hold for those any more."""
    from surgrec.corpus.facts import UNKNOWN

    if not facts:
        return card
    own: dict[str, Any] = {"sources": (), "examples": ()} | facts
    if "procedure" in facts:
        own["procedures"] = UNKNOWN
    return replace(card, **own)


# -- old rows and new


def _read_before(out: Path) -> pa.Table:
    """The rows that `out` has already; none where it does not exist."""
    from surgrec.corpus.manifest import SCHEMA, Manifest

    return Manifest.read([out], as_is=True).table if out.exists() else SCHEMA.empty_table()


def _rows_of(table: pa.Table, source: str) -> pa.Table:
    import pyarrow.compute as pc

    return table.filter(pc.equal(table["source"], source))


def _kept_out(before: pa.Table, known: pa.Table, source: str, ledger: Ledger, keep_duplicates: bool) -> KeptOut:
    """Refuses what was removed and, unless `keep_duplicates`, new bytes that another source of the manifest has already."""
    from surgrec.corpus.ledger import Gate
    from surgrec.corpus.refusal import OTHER_SOURCE, Refusal

    gate, here = Gate(ledger), set(known["sha256"].to_pylist())
    columns = (before[name].to_pylist() for name in ("sha256", "video_id", "source"))
    elsewhere = (
        {} if keep_duplicates else {sha: name for sha, name, owner in zip(*columns, strict=True) if owner != source}
    )

    def refusal_of(row: Row) -> Refusal | None:
        sha256 = row["sha256"]
        if sha256 in here or sha256 not in elsewhere:
            return gate.refusal_of(row)
        detail = f"the same bytes as {elsewhere[sha256]}, of another source"
        same = Refusal(row["path"], OTHER_SOURCE, detail, row["video_id"], row["group_id"], elsewhere[sha256])
        return gate.refusal_of(row) or same

    return refusal_of


def _merged(before: pa.Table, known: pa.Table, result: ScanResult, root: str) -> pa.Table:
    """Rows of other sources, what the scan found, and this source's rows under other roots, but for videos that were found here.
    Rows under this root whose file is gone or refused now are dropped."""
    import pyarrow as pa
    import pyarrow.compute as pc

    others = before.filter(pc.invert(pc.is_in(before["source"], known["source"])))
    is_found_here = pc.is_in(known["video_id"], result.rows["video_id"])
    kept = known.filter(pc.and_(pc.not_equal(known["root"], root), pc.invert(is_found_here)))
    merged = pa.concat_tables([others, kept, result.rows])
    return merged.sort_by([("source", "ascending"), ("root", "ascending"), ("path", "ascending")]).combine_chunks()


# -- what the user is told


def _print_summary(out: Path, result: ScanResult, known: pa.Table, after: pa.Table, has_changed: bool) -> None:
    import pyarrow.compute as pc

    num_new = len(result.rows) - result.num_known
    num_dropped = len(set(known["video_id"].to_pylist()) - set(after["video_id"].to_pylist()))
    dropped = f", {num_dropped} dropped because their files are gone, changed or removed" if num_dropped else ""
    print(f"{num_new} read, {result.num_known} known already, {len(result.refusals)} refused{dropped}")
    _print_duplicates(result, known)
    if not has_changed:
        print(f"nothing is left to do: {out} is up to date")
    for source in sorted(set(after["source"].to_pylist())):
        rows = _rows_of(after, source)
        hours = pc.sum(rows["duration_seconds"]).as_py() / 3600
        num_groups = pc.count_distinct(rows["group_id"]).as_py()
        print(f"  {source}: {counted(len(rows), 'video')}, {counted(num_groups, 'group')}, {hours:.2f} hours")
    print(f"next:\n  surgrec preview +variant=jepa mix.manifests=[{out}]")


def _print_duplicates(result: ScanResult, known: pa.Table) -> None:
    """Where the same bytes were met twice: in this folder, in other sources, in another folder of this source."""
    from surgrec.corpus.refusal import DUPLICATE, OTHER_SOURCE

    counts = Counter(refusal.reason for refusal in result.refusals)
    if counts[DUPLICATE] or counts[OTHER_SOURCE]:
        print(
            f"  the same bytes: {counts[DUPLICATE]} twice in this folder{_in_sources(result.refusals)}; each is listed once"
        )
    roots = dict(zip(known["video_id"].to_pylist(), known["root"].to_pylist(), strict=True))
    pairs = zip(result.rows["video_id"].to_pylist(), result.rows["root"].to_pylist(), strict=True)
    if num_moved := sum(roots.get(name, root) != root for name, root in pairs):
        print(f"  {num_moved} were listed under another folder of this source and are taken from this one now")


def _in_sources(refusals: Sequence[Refusal]) -> str:
    from surgrec.corpus.refusal import OTHER_SOURCE

    names = (str(refusal.same_bytes).rpartition("_")[0] for refusal in refusals if refusal.reason == OTHER_SOURCE)
    return "".join(f", {count} in {source}" for source, count in sorted(Counter(names).items()))


if __name__ == "__main__":
    sys.exit(run_command(main))
