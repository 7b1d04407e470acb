"""What did not become a row of the manifest, and why.

In: refusals of a scan. Out: lines of a file beside the manifest, and what the user is told. It is its own file because the two
differ: the file is private, like the manifest, and names paths; the console names none unless asked to.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from surgrec.core.atomic import write_text

DUPLICATE, OTHER_SOURCE, REMOVED = "duplicate", "in_other_source", "removed"
NO_GROUP, BAD_NAME, NOT_A_FILE, UNREADABLE_FOLDER = "no_group", "bad_name", "not_a_file", "unreadable_folder"
_NUM_SHOWN = 20


@dataclass(frozen=True)
class Refusal:
    """A file that did not become a row. `path` is relative to the scanned folder; `reason` is a slug, `detail` for people.

    Where the file could be read and only its bytes, or its patient, must not come in (again): the `video_id` and `group_id` that it
    would have, and the `video_id` of the row that has the `same_bytes`.
    """

    path: str
    reason: str
    detail: str
    video_id: str | None = None
    group_id: str | None = None
    same_bytes: str | None = None


def refusals_file(manifest: Path) -> Path:
    """The private list beside a manifest."""
    return manifest.with_name(f"{manifest.stem}.refusals.jsonl")


def write_refusals(file: Path, source: str, root: Path, refusals: Sequence[Refusal]) -> None:
    """Replace the lines of this source and root; the file goes when nothing is refused any more."""
    whose = {"source": source, "root": str(root.resolve())}
    old = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    kept = [entry for entry in old if entry["source"] != source or entry.get("root", whose["root"]) != whose["root"]]
    new = [whose | {key: value for key, value in asdict(refusal).items() if value is not None} for refusal in refusals]
    if kept or new:
        write_text(file, "".join(json.dumps(entry) + "\n" for entry in [*kept, *new]))
    else:
        file.unlink(missing_ok=True)


def by_reason(refusals: Sequence[Refusal]) -> str:
    """`2 not_a_video, 1 empty`."""
    return ", ".join(f"{count} {reason}" for reason, count in Counter(each.reason for each in refusals).most_common())


def tell_refusals(refusals: Sequence[Refusal], file: Path | None, show_paths: bool) -> None:
    """On stderr: how many for which reason, and where the list is; with `show_paths` the first of them, by name."""
    if not refusals:
        return
    where = f"; which, is in {file}, which names files and stays private" if file is not None else ""
    print(f"refused {len(refusals)}: {by_reason(refusals)}{where}", file=sys.stderr)
    if not show_paths:
        return
    for refusal in refusals[:_NUM_SHOWN]:
        print(f"  {refusal.path}: {refusal.reason} ({refusal.detail})", file=sys.stderr)
    if len(refusals) > _NUM_SHOWN:
        print(f"  ... and {len(refusals) - _NUM_SHOWN} more", file=sys.stderr)
