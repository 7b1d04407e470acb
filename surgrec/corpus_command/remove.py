"""`surgrec corpus remove`: take videos out of manifests for good, and tell what had seen them.

In: flags. Out: tombstones, manifests without the videos, the files that show them, and the checkpoints and releases that saw them. It is
its own file because nothing else in the command destroys anything.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus_command.ledger import LEDGER_HELP

if TYPE_CHECKING:
    from surgrec.config.seen import RunSeen
    from surgrec.corpus.removal import Removal

_SHOWN_FILES = 20


def add_verb(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The flags of `surgrec corpus remove`."""
    parser = commands.add_parser(
        "remove",
        help="take videos out of manifests and keep them out",
        description="Leave a tombstone of each video, take it out of the manifests, keep it out of every later one, and list the "
        "checkpoints and releases that had seen it. Without a VIDEO_ID, take out what was removed before.",
        epilog="example: surgrec corpus remove cholec_0a1b2c3d4e5f --manifest corpus.parquet prepared.parquet --runs runs",
    )
    parser.set_defaults(command=_run)
    parser.add_argument("names", nargs="*", metavar="VIDEO_ID", help="as the manifest's column video_id says")
    parser.add_argument(
        "--manifest",
        type=Path,
        nargs="+",
        required=True,
        metavar="M",
        help="manifests that may list them, prepared ones too",
    )
    parser.add_argument(
        "--group", action="store_true", help="remove all videos of the same patient or case; a group_id will do"
    )
    parser.add_argument(
        "--delete-copies",
        action="store_true",
        help="delete training copies and surveys of them that lie beside these manifests (default: list them); originals stay",
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="for the ledger")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where run folders lie: list what had seen the videos")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help=LEDGER_HELP)


def _run(options: argparse.Namespace) -> None:
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
