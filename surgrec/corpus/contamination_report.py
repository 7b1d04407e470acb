"""What an audit of contamination found, as people and programs read it: text, a page, JSON.

In: a `ContaminationAudit`. Out: text of each form. It is its own file because wording changes more often than what is found. Videos are
named by their ids, never by file names. What training obeys is written elsewhere (surgrec/corpus/verdict.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from surgrec.core.html import element, page, table
from surgrec.core.wording import counted
from surgrec.corpus.contamination import ContaminationAudit, Evidence

SCHEMA_VERSION = 2
_KINDS = {"bytes": "the same file", "group": "the same patient or case", "footage": "the same footage"}
_SHOWN_LINES = 12


def as_json(audit: ContaminationAudit) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "schema_version": SCHEMA_VERSION,
        "num_videos": audit.num_videos,
        "num_test_videos": dict(audit.num_test_videos),
        "evidence": [asdict(one) for one in audit.evidence],
        "declared": [asdict(one) for one in audit.declared],
        "unseen": {name: str(error) for name, error in audit.unseen.items()},
        "num_unsplit": dict(audit.num_unsplit),
    }


def as_text(audit: ContaminationAudit) -> str:
    """A summary for a terminal."""
    lines = [f"{counted(audit.num_videos, 'video')} compared with {_tests(audit)}"]
    if audit.unseen:
        reasons = Counter(error.reason for error in audit.unseen.values())
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        lines.append(f"not or not wholly compared, since they could not be decoded: {len(audit.unseen)} ({told})")
    lines += _unsplit(audit)
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
    return "\n".join([*lines, _conclusion(audit)])


def as_html(audit: ContaminationAudit) -> str:
    """One page that needs no script and no other file."""
    sections: list[object] = [
        element(
            "p",
            f"{counted(audit.num_videos, 'video')} of the corpus compared with {_tests(audit)}: {_conclusion(audit)}.",
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
    sections += [element("p", line) for line in _unsplit(audit)]
    if audit.declared:
        rows_declared = [(one.source, one.test_source, one.test_set, one.how, one.note) for one in audit.declared]
        columns = ("source", "source of the test", "test set", "how", "what is known")
        sections += [element("h2", "Known overlaps, from the cards"), table(columns, rows_declared)]
    if audit.unseen:
        rows_unseen = [(name, str(error)) for name, error in sorted(audit.unseen.items())]
        sections += [element("h2", "Not or not wholly compared"), table(("video", "reason"), rows_unseen)]
    sections.append(element("p", _READING, class_="faint"))
    return page("Audit of contamination", *sections)


_READING = (
    "Change: correlation of what changes between two pictures half a second apart, laid over each other; structure: correlation of "
    "what is finer than an eighth of the picture. Two recordings share neither by chance. Intervals are in seconds of each video."
)


def _conclusion(audit: ContaminationAudit) -> str:
    if audit.evidence:
        return f"test material is in {counted(len(audit.video_ids), 'video')} of the corpus"
    if audit.unseen:
        return f"nothing was found in what could be compared; {counted(len(audit.unseen), 'video')} could not be, or not wholly"
    return "nothing of the tests was found in the corpus"


def _unsplit(audit: ContaminationAudit) -> list[str]:
    return [
        f"without a split, though others of their source have one: {counted(count, 'video')} of {name}, not taken as test material"
        for name, count in audit.num_unsplit.items()
    ]


def _tests(audit: ContaminationAudit) -> str:
    return ", ".join(f"{count} of {name}" for name, count in audit.num_test_videos.items())


def _line(one: Evidence) -> str:
    mirrored = ", mirrored" if one.is_mirrored else ""
    return f"{one.video_id} {_seconds(one.seconds)} s is {one.test_video_id} {_seconds(one.test_seconds)} s of {one.test_set}{mirrored}"


def _seconds(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
