"""Find out whether scores can be believed.

    python -m surgrec.audit splits --train train.csv --val val.csv --test test.csv --out report.html

In: flags. Out: a summary on the console, a report for the browser, JSON on request; exit status 2 where an error was found, so
that a script stops. Reports name clips and patients by short hashes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from surgrec.core.console import STATUS_OK, STATUS_USER_ERROR, run_command
from surgrec.core.errors import UserError


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
    add("--show-names", action="store_true", help="show original paths and groups in the report, not hashes")
    parser.set_defaults(run=_audit_splits)


def _audit_splits(options: argparse.Namespace) -> int:
    from surgrec.core.atomic import write_json, write_text
    from surgrec.corpus.split_audit import audit_splits
    from surgrec.corpus.split_report import Naming, as_html, as_json, as_text
    from surgrec.corpus.splits import read_label_names, read_splits

    _refuse_overwriting(options)
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


def _refuse_overwriting(options: argparse.Namespace) -> None:
    """Refuse a report that would replace what is read, the other report or a folder."""
    read = {path.resolve() for path in (options.train, options.val, options.test, options.labels) if path is not None}
    for flag, path in (("--out", options.out), ("--json", options.json)):
        if path is None:
            continue
        if path.is_dir():
            raise UserError(f"{path} is a folder; give {flag} the name of a file in it")
        if path.resolve() in read:
            raise UserError(f"{flag} {path} would replace a file that is read or written; give it another name")
        read.add(path.resolve())


if __name__ == "__main__":
    sys.exit(run_command(main))
