"""Give a release to others: on the Hugging Face hub, in a folder, or as one file. Shows what would be done, unless told to do it.

    python -m surgrec.publish releases/jepa --repo surgeons/surgrec-jepa            # what would be uploaded, and where
    python -m surgrec.publish releases/jepa --repo surgeons/surgrec-jepa --upload
    python -m surgrec.publish releases/jepa --folder /srv/www/jepa --upload         # for a web server; needs no network
    python -m surgrec.publish releases/jepa --zip jepa.zip --upload

In: a release folder that `surgrec export` wrote; it is verified and loaded before anything else. Out: the same release elsewhere, and the
pinned address under which `surgrec.load_model` finds exactly it. Where exactly this release is there already, nothing is done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import run_command
from surgrec.core.wording import sized

if TYPE_CHECKING:
    from surgrec.hub.publish import Checked, Place


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec publish`; returns the exit status."""
    options = _parser().parse_args(arguments)

    from surgrec.hub.publish import There, check_release, refuse_loss, refuse_within

    if (on_disk := options.folder or options.zip) is not None:
        refuse_within(options.release, on_disk)
    checked, place = check_release(options.release), _place(options)
    found = place.look(options.release)
    _tell(checked, place)
    if found.there is There.same:
        print(f"nothing is left to do: {found.there.value}")
        return 0
    refuse_loss(place, found, options.replace)
    print(f"  there     {found.there.value}{', and goes' if found.lost else ''}")
    for name in found.lost:
        if name not in checked.sizes:
            print(f"  removes   {name}")
    if not options.upload:
        print("nothing was done; the same command with --upload does it")
        return 0
    print(f'published; load it with\n  surgrec.load_model("{place.put(options.release, found)}")')
    return 0


def _tell(checked: Checked, place: Place) -> None:
    print(f"{checked.folder} -> {place.name}\n  checksum  {checked.checksum}\n  size      {checked.size}")
    for name, size in checked.sizes.items():
        print(f"  file      {name} ({sized(size)})")
    for remark in checked.remarks:
        print(f"  remark    {remark}")


def _place(options: argparse.Namespace) -> Place:
    from surgrec.hub.publish import ArchivePlace, FolderPlace, HubPlace

    if options.folder is not None:
        return FolderPlace(options.folder)
    return HubPlace(options.repo, not options.public) if options.zip is None else ArchivePlace(options.zip)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec publish",
        description="Put a release on the Hugging Face hub, into a folder, or one file; without --upload it only says what it would do.",
        epilog="example: surgrec publish releases/jepa --repo surgeons/surgrec-jepa --upload",
    )
    add = parser.add_argument
    add("release", type=Path, metavar="RELEASE_DIR", help="release that `surgrec export` wrote")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--repo", metavar="ORG/NAME", help="repository on the Hugging Face hub; made where there is none"
    )
    place.add_argument(
        "--folder", type=Path, metavar="DIR", help="folder on this machine, such as one that a web server shows"
    )
    place.add_argument("--zip", type=Path, metavar="FILE.zip", help="archive to write")
    add("--upload", action="store_true", help="do it (default: only say what would be done)")
    add("--replace", action="store_true", help="lose what else is there")
    add("--public", action="store_true", help="make a new repository public (default: private)")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
