"""List a folder of videos in a manifest: what each is, whether it can be read, which patient or case it belongs to.

    python -m surgrec.index --root videos/cholec --source cholec --domain laparoscopy --out manifest.parquet
    python -m surgrec.index --root videos/eye --card corpora/eye.yaml --out manifest.parquet    # adds to the same file

In: flags. Out: the manifest and, beside it, what was refused and why. The same command adds what is new and reads nothing
twice; after Ctrl-C it continues.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgrec.core.console import STATUS_INTERRUPTED, run_command
from surgrec.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from surgrec.corpus.card import Card
    from surgrec.corpus.scan import Refusal, ScanResult

_SHOWN_REFUSALS = 20


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec index`; returns the exit status."""
    options = _parser().parse_args(arguments)

    from surgrec.corpus.manifest import Manifest
    from surgrec.corpus.scan import scan

    card = _card(options)
    before = _read_before(options.out)
    known = _rows_of(before, card.name)
    result = scan(options.root, card, options.workers, progress=True, known=known)
    refusals_path = options.out.with_name(f"{options.out.stem}.refusals.jsonl")
    _print_refusals(result.refusals, refusals_path)
    if len(result.rows) == 0 and result.is_complete:
        raise UserError(f"none of the {len(result.refusals)} videos in {options.root} can be read; nothing was written")

    after = _merged(before, known, result, str(options.root.resolve()))
    has_changed = not after.equals(before)
    if has_changed and len(after):
        Manifest(after).write(options.out)
    _write_refusals(refusals_path, card.name, result.refusals)
    _print_summary(options.out, result, known, after, has_changed)
    return 0 if result.is_complete else STATUS_INTERRUPTED


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

    if out.is_dir():
        raise UserError(f"{out} is a folder; give --out the name of a file, such as {out / 'manifest.parquet'}")
    return Manifest.read([out]).table if out.exists() else SCHEMA.empty_table()


def _rows_of(table: pa.Table, source: str) -> pa.Table:
    import pyarrow.compute as pc

    return table.filter(pc.equal(table["source"], source))


def _merged(before: pa.Table, known: pa.Table, result: ScanResult, root: str) -> pa.Table:
    """Rows of other sources, what the scan found, and what it did not look at: this source's rows under other roots or,
    after Ctrl-C, of files not reached yet. Rows under this root whose file is gone or refused now are dropped."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sources = before["source"]
    others = before.filter(pc.invert(pc.is_in(sources, known["source"])))
    is_elsewhere = pc.not_equal(known["root"], root)
    if not result.is_complete:
        is_read = pc.is_in(known["path"], pa.concat_arrays([*result.rows["path"].chunks, _paths(result.refusals)]))
        is_elsewhere = pc.or_(is_elsewhere, pc.invert(is_read))
    is_found_here = pc.is_in(known["video_id"], result.rows["video_id"])
    kept = known.filter(pc.and_(is_elsewhere, pc.invert(is_found_here)))
    merged = pa.concat_tables([others, kept, result.rows])
    return merged.sort_by([("source", "ascending"), ("root", "ascending"), ("path", "ascending")]).combine_chunks()


def _paths(refusals: Sequence[Refusal]) -> pa.Array:
    import pyarrow as pa

    return pa.array([refusal.path for refusal in refusals], pa.string())


# -- what the user is told


def _print_refusals(refusals: Sequence[Refusal], path: Path) -> None:
    for refusal in refusals[:_SHOWN_REFUSALS]:
        print(f"refused {refusal.path}: {refusal.reason} ({refusal.detail})", file=sys.stderr)
    if len(refusals) > _SHOWN_REFUSALS:
        print(f"... and {len(refusals) - _SHOWN_REFUSALS} more, all in {path}", file=sys.stderr)


def _write_refusals(path: Path, source: str, refusals: Sequence[Refusal]) -> None:
    """Replace this source's lines; the file goes when nothing is refused any more."""
    from surgrec.core.atomic import write_text

    old = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    new = [{"source": source, "path": r.path, "reason": r.reason, "detail": r.detail} for r in refusals]
    lines = [entry for entry in old if entry["source"] != source] + new
    if lines:
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    else:
        path.unlink(missing_ok=True)


def _print_summary(out: Path, result: ScanResult, known: pa.Table, after: pa.Table, has_changed: bool) -> None:
    import pyarrow.compute as pc

    num_new = len(result.rows) - result.num_known
    num_dropped = len(set(known["video_id"].to_pylist()) - set(after["video_id"].to_pylist()))
    dropped = f", {num_dropped} dropped because their files are gone or changed" if num_dropped else ""
    print(f"{num_new} read, {result.num_known} known already, {len(result.refusals)} refused{dropped}")
    if not has_changed:
        print(f"nothing is left to do: {out} is up to date" if result.is_complete else f"{out} is as it was")
    for source in sorted(set(after["source"].to_pylist())):
        rows = _rows_of(after, source)
        hours = pc.sum(rows["duration_seconds"]).as_py() / 3600
        num_groups = pc.count_distinct(rows["group_id"]).as_py()
        print(f"  {source}: {len(rows)} videos, {num_groups} groups, {hours:.2f} hours")
    if not result.is_complete:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return
    print(f"next:\n  surgrec preview +variant=jepa mix.manifests=[{out}]")


if __name__ == "__main__":
    sys.exit(run_command(main))
