"""What an audit of contamination found, as people and programs read it: text, a page, JSON, and the verdict that training obeys.

In: a `ContaminationAudit`. Out: text of each form. It is its own file because the verdict is a contract: `surgrec train` reads it months
later, beside a manifest that may have changed since. Videos are named by their ids, never by file names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from surgrec.core.atomic import write_json
from surgrec.core.errors import UserError
from surgrec.core.html import element, page, table
from surgrec.core.wording import counted
from surgrec.corpus.contamination import ContaminationAudit, Evidence, TestSet
from surgrec.corpus.manifest import Manifest

SCHEMA_VERSION = 1
_KINDS = {"bytes": "the same file", "group": "the same patient or case", "footage": "the same footage"}
_SHOWN_LINES = 12


@dataclass(frozen=True)
class Seen:
    """A verdict as it is kept. `checked`: bytes (sha256) of the videos that were compared; `tests`: name and key of each test set that
    was compared as a whole."""

    evidence: tuple[Evidence, ...]
    checked: frozenset[str]
    tests: dict[str, str]

    def of(self, manifest: Manifest) -> list[Evidence]:
        """What of the evidence is still in a manifest: the video is listed and a usable interval meets the seconds."""
        rows = {str(name): row for row, name in enumerate(manifest.video_ids)}
        return [one for one in self.evidence if one.video_id in rows and _is_used(manifest, rows[one.video_id], one)]


def verdict_path(manifest: Path) -> Path:
    """Where the verdict on a manifest lies."""
    return manifest.with_name(f"{manifest.stem}.contamination.json")


def write_verdict(audit: ContaminationAudit, corpus: Manifest, tests: Sequence[TestSet], path: Path) -> None:
    """Keep what `surgrec train` asks for."""
    unseen = set(audit.unseen)
    whole = {
        test.name: test.key for test in tests if unseen.isdisjoint(test.manifest.video_ids[list(test.rows)].tolist())
    }
    checked = [
        str(digest)
        for name, digest in zip(corpus.video_ids, corpus.column("sha256"), strict=True)
        if str(name) not in unseen
    ]
    write_json(path, {**as_json(audit), "tests": whole, "checked": checked})


def read_verdict(path: Path) -> Seen:
    """Raises `UserError` for a file that is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        evidence = tuple(
            Evidence(**{**one, "seconds": tuple(one["seconds"]), "test_seconds": tuple(one["test_seconds"])})
            for one in content["evidence"]
        )
        return Seen(evidence, frozenset(content["checked"]), dict(content["tests"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is no verdict of `surgrec audit contamination`; run the audit again or delete it"
        ) from None


def _is_used(manifest: Manifest, row: int, one: Evidence) -> bool:
    usable = manifest.table["usable"][row].as_py()
    return any(piece["start_seconds"] < one.seconds[1] and piece["end_seconds"] > one.seconds[0] for piece in usable)


def as_json(audit: ContaminationAudit) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "schema_version": SCHEMA_VERSION,
        "num_videos": audit.num_videos,
        "num_test_videos": dict(audit.num_test_videos),
        "evidence": [asdict(one) for one in audit.evidence],
        "declared": [asdict(one) for one in audit.declared],
        "unseen": {name: error.reason for name, error in audit.unseen.items()},
    }


def as_text(audit: ContaminationAudit) -> str:
    """A summary for a terminal."""
    lines = [f"{counted(audit.num_videos, 'video')} compared with {_tests(audit)}"]
    if audit.unseen:
        reasons = Counter(error.reason for error in audit.unseen.values())
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        lines.append(f"not compared, since they could not be decoded: {len(audit.unseen)} ({told})")
    for kind, words in _KINDS.items():
        found = [one for one in audit.evidence if one.kind == kind]
        if found:
            tests = len({(one.test_set, one.test_video_id) for one in found})
            lines.append(
                f"{words}: {counted(len({one.video_id for one in found}), 'video')} of the corpus, {tests} of the tests"
            )
            lines += [f"  {_line(one)}" for one in found[:_SHOWN_LINES]]
            lines += [f"  ... and {len(found) - _SHOWN_LINES} more"] if len(found) > _SHOWN_LINES else []
    lines += [
        f"declared: {one.source} and {one.test_source} ({one.test_set}) share recordings: {one.how}; {one.note}"
        for one in audit.declared
    ]
    return "\n".join(
        lines if audit.evidence or audit.declared else [*lines, "nothing of the tests was found in the corpus"]
    )


def as_html(audit: ContaminationAudit) -> str:
    """One page that needs no script and no other file."""
    sections: list[object] = [
        element(
            "p",
            f"{counted(audit.num_videos, 'video')} of the corpus compared with {_tests(audit)}. {_conclusion(audit)}",
        )
    ]
    for kind, words in _KINDS.items():
        found = [one for one in audit.evidence if one.kind == kind]
        if found:
            header = (
                "video of the corpus",
                "seconds",
                "test set",
                "video of the test",
                "seconds",
                "mirrored",
                "change",
                "structure",
            )
            rows = [
                (
                    one.video_id, _seconds(one.seconds), one.test_set, one.test_video_id, _seconds(one.test_seconds),
                    "yes" if one.is_mirrored else "", _number(one.change), _number(one.structure),
                )
                for one in found
            ]  # fmt: skip
            sections += [element("h2", words.capitalize()), table(header, rows)]
    if audit.declared:
        rows_declared = [(one.source, one.test_source, one.test_set, one.how, one.note) for one in audit.declared]
        columns = ("source", "source of the test", "test set", "how", "what is known")
        sections += [element("h2", "Known overlaps, from the cards"), table(columns, rows_declared)]
    if audit.unseen:
        rows_unseen = [(name, error.reason) for name, error in sorted(audit.unseen.items())]
        sections += [element("h2", "Not compared"), table(("video", "reason"), rows_unseen)]
    sections.append(element("p", _READING, class_="faint"))
    return page("Audit of contamination", *sections)


_READING = (
    "Change: correlation of what changes between two pictures half a second apart, laid over each other; structure: correlation of "
    "what is finer than an eighth of the picture. Two recordings share neither by chance. Intervals are in seconds of each video."
)


def _conclusion(audit: ContaminationAudit) -> str:
    if not audit.evidence:
        return "Nothing of the tests was found in the corpus."
    return f"Test material is in {counted(len(audit.video_ids), 'video')} of the corpus."


def _tests(audit: ContaminationAudit) -> str:
    return ", ".join(f"{count} of {name}" for name, count in audit.num_test_videos.items())


def _line(one: Evidence) -> str:
    mirrored = ", mirrored" if one.is_mirrored else ""
    return f"{one.video_id} {_seconds(one.seconds)} s is {one.test_video_id} {_seconds(one.test_seconds)} s of {one.test_set}{mirrored}"


def _seconds(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
