"""`surgrec corpus report`: a page with all that is known of a corpus.

In: flags. Out: an HTML file, and its numbers on the console. It is its own file because of what it must not do: replace what it is made
from.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from surgrec.core.errors import UserError


def add_verb(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The flags of `surgrec corpus report`."""
    parser = commands.add_parser(
        "report",
        help="a page with all that is known of a corpus",
        description="Write one page for the browser: what the corpus is made of, licences, groups, what filters took, with pictures, "
        "duplicates, test material, overlaps, refusals; and what of this nobody has looked at. No name of a file is on it. See "
        "docs/corpus_report.md.",
        epilog="example: surgrec corpus report --manifest corpus.parquet --refusals prepared/quarantine.jsonl --out report.html",
    )
    parser.set_defaults(command=_run)
    add = parser.add_argument
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


def _run(options: argparse.Namespace) -> None:
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
