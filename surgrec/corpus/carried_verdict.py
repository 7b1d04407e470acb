"""A verdict on originals is one on their copies: ids and seconds are the same, only bytes differ.

In: manifests with verdicts of `surgrec audit contamination` beside them, and the manifest of training copies made from them. Out: a
verdict beside that. It is its own file because without it a corpus that was found contaminated could be trained on by way of its copies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surgrec.core.atomic import write_json
from surgrec.core.errors import UserError
from surgrec.corpus.contamination_report import SCHEMA_VERSION, read_verdict, verdict_path
from surgrec.corpus.manifest import Manifest

Verdict = dict[str, Any]


def carry_verdicts(manifests: Sequence[Path], copies: Manifest, path: Path) -> bool:
    """Write the verdicts on `manifests` for the manifest of `copies` at `path`; whether there were any.

    What an audit of the copies themselves wrote there stays: it is the later word. Raises `UserError` for a file that is no verdict.
    """
    verdicts = [_read(verdict_path(manifest)) for manifest in manifests if verdict_path(manifest).is_file()]
    target = verdict_path(path)
    if not verdicts or (target.is_file() and not _read(target).get("is_carried")):
        return False
    carried = _merged(verdicts, copies)
    if not target.is_file() or _read(target) != carried:
        write_json(target, carried)
    return True


def _read(path: Path) -> Verdict:
    read_verdict(path)  # says what is wrong with it
    content: Verdict = json.loads(path.read_text(encoding="utf-8"))
    if content.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path} is a verdict of another version; run `surgrec audit contamination` again")
    return content


def _merged(verdicts: Sequence[Verdict], copies: Manifest) -> Verdict:
    """All evidence on listed videos; as compared count the test sets that every verdict names, and copies of what was compared."""
    listed = {str(name) for name in copies.video_ids}
    checked = {digest for verdict in verdicts for digest in verdict["checked"]}
    originals = zip(copies.column("original_sha256"), copies.column("sha256"), strict=True)
    tests = set.intersection(*(set(verdict["tests"].items()) for verdict in verdicts))
    evidence = [one for verdict in verdicts for one in verdict["evidence"] if one["video_id"] in listed]
    counts = [verdict["num_test_videos"] for verdict in verdicts]
    return {
        "schema_version": SCHEMA_VERSION,
        "is_carried": True,
        "num_videos": len(copies),
        "num_test_videos": {name: count for each in counts for name, count in each.items()},
        "evidence": evidence,
        "declared": [one for verdict in verdicts for one in verdict["declared"]],
        "unseen": {name: why for verdict in verdicts for name, why in verdict["unseen"].items()},
        "tests": dict(sorted(tests)),
        "checked": sorted(str(copy) for original, copy in originals if original in checked),
    }
