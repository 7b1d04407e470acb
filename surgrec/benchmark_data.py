"""The benchmark's datasets: which there are, and what of them you have.

    surgrec benchmark.data list
    surgrec benchmark.data check --root /data/benchmark cholec80 jigsaws
    surgrec benchmark.data audit --lists splits/cholec80 --root /data/surgrec

In: flags, and a folder with a folder for each dataset's official archive. Out: text on stdout. Nothing is written, no video is decoded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from surgrec.core.console import STATUS_OK, STATUS_USER_ERROR, run_command
from surgrec.core.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec benchmark.data`; returns the exit status: 2 where a dataset that was asked for is not ready."""
    options = _parser().parse_args(arguments)
    status: int = options.run(options)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec benchmark.data",
        description="Datasets of the benchmark: sixteen of a published one and three more, each read from its official archive.",
        epilog="example: surgrec benchmark.data check --root /data/benchmark cholec80",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="list|check|audit", required=True)

    listing = verbs.add_parser("list", help="datasets, their tasks and where their splits come from")
    listing.set_defaults(run=_list)

    checking = verbs.add_parser(
        "check",
        help="what of each dataset is there, and what is missing where",
        description="Look for the official archive of each dataset in a folder of its name, say what is there and what is missing where, "
        "read its tasks, and print their splits with hashes. Exit status 2 where a dataset that was named, or any that is there, cannot be "
        "read.",
        epilog="example: surgrec benchmark.data check --root /data/benchmark",
    )
    add = checking.add_argument
    add("names", nargs="*", metavar="NAME", help="datasets to check; without: all")
    add(
        "--root",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with a folder NAME for each dataset, or of the one named",
    )
    add("--seed", type=int, default=0, metavar="N", help="of seeded splits and carved validation parts (default: 0)")
    add(
        "--allow-missing",
        action="store_true",
        help="read a dataset also where videos of its published split are missing",
    )
    checking.set_defaults(run=_check)

    auditing = verbs.add_parser(
        "audit",
        help="a published list of clips as it would be replayed, with what is wrong with it",
        epilog="example: surgrec benchmark.data audit --lists splits/cholec80 --root /data/surgrec",
    )
    add = auditing.add_argument
    add(
        "--lists",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with train.csv, val.csv and test.csv of SurgRec's form",
    )
    add("--root", type=Path, required=True, metavar="DIR", help="what the paths in the lists are relative to")
    add("--group-pattern", metavar="REGEX", help="as of surgrec audit splits")
    add("--allow-missing", action="store_true", help="leave out lines whose clip is not there")
    auditing.set_defaults(run=_audit)
    return parser


def _list(options: argparse.Namespace) -> int:
    from surgrec.evaluation.tasks.card import task_cards
    from surgrec.evaluation.tasks.catalog import EXTRAS

    for card in task_cards().values():
        extra = ", an extra" if card.name in EXTRAS else ""
        print(f"{card.name}: {card.title} ({card.source_card.domain}{extra})")
        print(f"  tasks: {', '.join(card.forms)}; {card.split.origin} splits: {card.split.rule}")
    return STATUS_OK


def _check(options: argparse.Namespace) -> int:
    from surgrec.core.wording import counted
    from surgrec.evaluation.tasks.card import task_card, task_cards
    from surgrec.evaluation.tasks.check import check, in_words, place_of

    if not options.root.is_dir():
        raise UserError(f"there is no folder {options.root}; give the folder that holds the datasets")
    cards = [task_card(name) for name in options.names] or list(task_cards().values())
    standings = []
    for card in cards:
        place = place_of(options.root, card, is_only=len(options.names) == 1)
        standings.append(check(place, card, options.seed, options.allow_missing))
        for line in in_words(standings[-1]):
            print(line, flush=True)
    print(f"{sum(standing.is_ready for standing in standings)} of {counted(len(standings), 'dataset')} ready")
    asked_for = [standing for standing in standings if options.names or standing.place is not None]
    return STATUS_OK if all(standing.is_ready for standing in asked_for) else STATUS_USER_ERROR


def _audit(options: argparse.Namespace) -> int:
    from surgrec.evaluation.tasks.replay import Lists, findings_in_a_line, replay

    task = replay(Lists.of_folder(options.lists, options.root), options.group_pattern, None, options.allow_missing)
    (split,) = task.splits
    sizes = ", ".join(f"{part} {len(rows):,}" for part, rows in split.parts().items())
    print(f"{task.title}: {sizes}; {len(task.classes)} classes; hash {task.split_hash(split)}")
    for note in task.notes:
        print(f"  {note}")
    for finding in task.findings:
        print(f"  {finding.severity:<7} {finding.kind}: {finding.what}")
    print(f"beside each number: {findings_in_a_line(task.findings) or 'nothing was found'}")
    return STATUS_USER_ERROR if any(finding.severity == "error" for finding in task.findings) else STATUS_OK


if __name__ == "__main__":
    sys.exit(run_command(main))
