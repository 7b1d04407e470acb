"""Find out whether scores can be believed.

    python -m surgrec.audit splits --train train.csv --val val.csv --test test.csv --out report.html
    python -m surgrec.audit contamination --pretrain corpus.parquet --downstream cholec80.parquet --out report.html

In: flags. Out: a summary on the console, a report for the browser, JSON on request; exit status 2 where an error was found, so
that a script stops. Reports name clips and patients by numbers.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import STATUS_OK, STATUS_USER_ERROR, run_command
from surgrec.core.errors import UserError
from surgrec.core.wording import counted

if TYPE_CHECKING:
    from surgrec.corpus.contamination import TestSet


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec audit`; returns the exit status."""
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec audit",
        description="Find out whether scores can be believed.",
        epilog="example: surgrec audit splits --train train.csv --val val.csv --test test.csv --out report.html",
    )
    audits = parser.add_subparsers(title="audits", metavar="AUDIT", required=True)
    _add_splits(audits)
    _add_contamination(audits)
    return parser


# -- splits


def _add_splits(audits: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = audits.add_parser(
        "splits",
        help="leakage and label problems of a benchmark's splits",
        description="Find leakage between the splits of a benchmark and problems of its labels. A split is a CSV: either a "
        "path, a space and a whole-number label a line without a header, as SurgRec's are, or with the columns path, label and "
        "perhaps group. Exit status 2 where an error was found.",
        epilog="example: surgrec audit splits --train train.csv --val val.csv --test test.csv "
        "--group-pattern 'case_(\\d+)' --out report.html",
    )
    add = parser.add_argument
    add("--train", type=Path, required=True, metavar="CSV", help="clips of the training set")
    add("--val", type=Path, metavar="CSV", help="clips of the validation set, where there is one")
    add("--test", type=Path, required=True, metavar="CSV", help="clips of the test set")
    add(
        "--group-pattern",
        metavar="REGEX",
        help="its first group, found in a clip's path, names the patient, case or lesion, for instance 'case_(\\d+)'; "
        "without it known patterns are tried and what they find is called a guess",
    )
    add("--labels", type=Path, metavar="JSON", help="names of the labels: index to name, or label_to_index")
    add("--out", type=Path, required=True, metavar="HTML", help="report to write")
    add("--json", type=Path, metavar="FILE", help="the same for programs")
    add("--show-names", action="store_true", help="show original paths and groups in the report, not numbers")
    parser.set_defaults(run=_audit_splits)


def _audit_splits(options: argparse.Namespace) -> int:
    from surgrec.core.atomic import write_json, write_text
    from surgrec.corpus.split_audit import audit_splits
    from surgrec.corpus.split_report import Naming, as_html, as_json, as_text
    from surgrec.corpus.splits import read_label_names, read_splits

    _refuse_overwriting(options, (options.train, options.val, options.test, options.labels))
    splits = read_splits(options.train, options.val, options.test)
    names = None if options.labels is None else read_label_names(options.labels)
    audit = audit_splits(splits, options.group_pattern, names, options.show_names)
    naming = Naming(options.show_names)
    write_text(options.out, as_html(audit, naming))
    if options.json is not None:
        write_json(options.json, as_json(audit, naming))
    print(as_text(audit))
    print(f"report: {options.out}")
    return STATUS_USER_ERROR if audit.num_of("error") else STATUS_OK


def _refuse_overwriting(options: argparse.Namespace, inputs: Sequence[Path | None]) -> None:
    """Refuse a report that would replace what is read, the other report or a folder."""
    read = {path.resolve() for path in inputs if path is not None}
    for flag in ("--out", "--json", "--clean"):
        path = getattr(options, flag[2:], None)
        if path is None:
            continue
        if path.is_dir():
            raise UserError(f"{path} is a folder; give {flag} the name of a file in it")
        if path.resolve() in read:
            raise UserError(f"{flag} {path} would replace a file that is read or written; give it another name")
        read.add(path.resolve())


# -- contamination


def _add_contamination(audits: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = audits.add_parser(
        "contamination",
        help="what of test material a pretraining corpus holds",
        description="Compare the videos of a pretraining manifest with those of test sets: bytes, patients and cases, and the footage "
        "itself, also where it was encoded again, scaled, cropped, trimmed, mirrored, brightened, letterboxed or overlaid. "
        "Exit status 2 where anything was found or could not be compared. The verdict is kept beside the pretraining manifest, with those "
        "of earlier audits; `surgrec train` obeys it.",
        epilog="example: surgrec audit contamination --pretrain corpus.parquet --downstream cholec80.parquet --out report.html",
    )
    add = parser.add_argument
    add("--pretrain", type=Path, required=True, metavar="FILE", help="manifest of the corpus")
    add("--downstream", type=Path, required=True, nargs="+", metavar="FILE", help="manifests with test material")
    add("--splits", nargs="+", default=["test"], metavar="NAME", help="which official splits are test material (default: test); "
        "of a source without official splits all videos are")  # fmt: skip
    add(
        "--surveys", type=Path, metavar="DIR", help="folder of surveys (default: MANIFEST.surveys beside each manifest)"
    )
    add("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="decoding processes (default: all cores)")
    add("--out", type=Path, required=True, metavar="HTML", help="report to write")
    add("--json", type=Path, metavar="FILE", help="the same for programs")
    add(
        "--clean",
        type=Path,
        metavar="FILE",
        help="write the manifest without the videos found, others of their groups, and what could not be compared",
    )
    parser.set_defaults(run=_audit_contamination)


def _audit_contamination(options: argparse.Namespace) -> int:
    from surgrec.core.atomic import write_json, write_text
    from surgrec.core.console import progress
    from surgrec.corpus.card import shipped_cards
    from surgrec.corpus.contamination import audit_contamination, read_test_set, without
    from surgrec.corpus.contamination_report import as_html, as_json, as_text
    from surgrec.corpus.ledger import follow
    from surgrec.corpus.manifest import Manifest
    from surgrec.corpus.surveys import default_surveys
    from surgrec.corpus.verdict import carry, keep, read_known, verdict_path

    verdict = verdict_path(options.pretrain)
    _refuse_overwriting(options, (options.pretrain, *options.downstream, verdict))
    corpus, cards = Manifest.read([options.pretrain]), shipped_cards()
    if verdict.is_file():
        read_known(verdict)  # so that a damaged one is told of now, not after hours of work
    tests: list[TestSet] = []
    for path in options.downstream:
        tests.append(read_test_set(path, options.splits, options.surveys, _unlike(path.stem, tests)))
    surveys = options.surveys or default_surveys(options.pretrain)
    audit = audit_contamination(corpus, surveys, tests, cards, options.workers, progress)
    keep(audit, corpus, tests, cards, verdict)
    write_text(options.out, as_html(audit))
    if options.json is not None:
        write_json(options.json, as_json(audit))
    print(as_text(audit))
    print(f"report: {options.out}")
    if options.clean is not None:
        kept = without(corpus, audit.video_ids, audit.unseen)
        follow(options.clean, [options.pretrain])
        kept.write(options.clean)
        if len(kept):
            carry([options.pretrain], options.clean)
        print(f"{counted(len(corpus) - len(kept), 'video')} left out: {options.clean}")
    return STATUS_USER_ERROR if audit.evidence or audit.unseen else STATUS_OK


def _unlike(name: str, tests: Sequence[TestSet]) -> str:
    """`name`, numbered where another test set has it."""
    taken = {test.name for test in tests}
    return next(
        other
        for number in range(len(tests) + 1)
        if (other := name if number == 0 else f"{name}-{number + 1}") not in taken
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
