"""An audit of splits as people and programs read it: text, one HTML page, JSON.

In: an `Audit`. Out: text of each form. It is its own file because here alone it is decided whether original names are shown: by
default a clip or group stands as a number of this report.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from surgrec.core.html import Cell, Html, bar, element, joined, page, table
from surgrec.core.wording import counted
from surgrec.corpus.split_audit import Audit
from surgrec.corpus.split_finding import MAX_EXAMPLES, Finding, Table, percent
from surgrec.corpus.split_sizes import SplitSummary

SCHEMA_VERSION = 1
_HEADLINES = {"error": "Errors", "warning": "Warnings", "note": "Notes"}


class Naming:
    """What clips and groups are called: numbers in the order of being asked for, or with `show_names` what they are called in the files.

    One for all forms of a report, so that a number means the same in each. Numbers and not hashes: names of patients and case numbers can
    be guessed, and a guess be hashed and looked for.
    """

    def __init__(self, show_names: bool) -> None:
        self._show_names = show_names
        self._clips: dict[str, int] = {}
        self._groups: dict[str, int] = {}

    def clip(self, path: str) -> str:
        return path if self._show_names else f"clip_{self._clips.setdefault(path, len(self._clips) + 1)}"

    def group(self, key: str) -> str:
        return key if self._show_names else f"group_{self._groups.setdefault(key, len(self._groups) + 1)}"


def as_text(audit: Audit) -> str:
    """A summary for a terminal: the splits, then each finding in a line or two. Nothing of single clips."""
    lines = [f"groups: {audit.grouping}", *(_split_line(split) for split in audit.splits), ""]
    for finding in audit.findings:
        lines += [f"{finding.severity:<7} {finding.kind}: {finding.what}", f"{'':<7} -> {finding.advice}"]
    counts = ", ".join(counted(audit.num_of(severity), severity) for severity in _HEADLINES)
    return "\n".join([*lines, f"{'' if audit.findings else 'nothing found: '}{counts}"])


def as_json(audit: Audit, naming: Naming) -> dict[str, Any]:
    """Everything, for programs; `schema_version` changes when a name does."""
    return {
        "schema_version": SCHEMA_VERSION,
        "grouping": audit.grouping,
        "splits": [dict(split.__dict__) for split in audit.splits],
        "classes": [
            {"label": entry.label, "name": entry.shown, "clips": dict(entry.num_clips)} for entry in audit.classes
        ],
        "findings": [_finding_json(finding, naming) for finding in audit.findings],
    }


def as_html(audit: Audit, naming: Naming) -> str:
    """One page with everything, which needs no script and no other file."""
    sections: list[object] = [
        element("p", f"{'; '.join(_verdict(audit))}. Groups (patients, cases, lesions): {audit.grouping}."),
        element("h2", "Splits"),
        _splits_table(audit.splits),
        element("p", _READING, class_="faint"),
    ]
    for severity, headline in _HEADLINES.items():
        found = [finding for finding in audit.findings if finding.severity == severity]
        if found:
            parts = (_finding_html(finding, naming, f"{severity}-{number}") for number, finding in enumerate(found))
            sections += [element("h2", headline), *parts]
    sections += [element("h2", "Classes"), _classes_table(audit)]
    return page("Audit of splits", *sections)


_READING = (
    "Majority: what answering the most frequent class always scores, with its 95 % Wilson interval. Chance: one in the number of "
    "classes. Half width: of the 95 % interval of an accuracy near 50 %, first as if all clips were independent, then as if all "
    "clips of a group agreed; the truth lies between."
)


def _verdict(audit: Audit) -> list[str]:
    if not audit.findings:
        return ["Nothing was found"]
    return [counted(audit.num_of(severity), severity) for severity in _HEADLINES if audit.num_of(severity)]


def _split_line(split: SplitSummary) -> str:
    groups = "" if split.num_groups is None else f", {counted(split.num_groups, 'group')}"
    widths = f"±{100 * split.half_width:.1f} points"
    if split.half_width_groups is not None:
        widths += f", or ±{100 * split.half_width_groups:.1f} if the clips of a group agree"
    return (
        f"{split.name:<5} {counted(split.num_clips, 'clip')}{groups}, {counted(split.num_classes, 'class')}, "
        f"majority {percent(split.majority)}, accuracy near 50 % known to {widths}"
    )


def _splits_table(splits: Sequence[SplitSummary]) -> Html:
    header = (
        "split",
        "clips",
        "groups",
        "classes",
        "majority",
        "95 %",
        "chance",
        "half width",
        "by groups",
        "design effect",
    )
    rows = [
        (
            split.name,
            split.num_clips,
            "unknown" if split.num_groups is None else split.num_groups,
            split.num_classes,
            percent(split.majority),
            f"{percent(split.majority_low)} to {percent(split.majority_high)}",
            percent(split.chance),
            f"±{100 * split.half_width:.1f}",
            "unknown" if split.half_width_groups is None else f"±{100 * split.half_width_groups:.1f}",
            "unknown" if split.design_effect is None else f"1 to {split.design_effect:.1f}",
        )
        for split in splits
    ]
    return table(header, rows)


def _classes_table(audit: Audit) -> Html:
    names = [split.name for split in audit.splits]
    totals = {split.name: split.num_clips for split in audit.splits}
    rows: list[Sequence[Cell]] = []
    for entry in audit.classes:
        shares = (entry.num_clips[name] / totals[name] for name in names)
        bars = [bar(s, f"{entry.num_clips[name]:,} ({percent(s)})") for name, s in zip(names, shares, strict=True)]
        rows.append((entry.label, entry.shown, *bars))
    return table(("label", "class", *names), rows)


def _finding_html(finding: Finding, naming: Naming, place: str) -> Html:
    parts: list[object] = [element("h3", finding.kind.replace("_", " ")), element("p", finding.what)]
    parts.append(element("p", element("b", "What to do: "), finding.advice))
    if finding.table is not None:
        parts.append(_evidence_table(finding.table))
    for noun, texts in _examples(finding, naming).items():
        listed = joined(piece for text in texts for piece in (element("code", text), " "))
        parts.append(element("p", f"{noun}, at most {MAX_EXAMPLES}: ", listed, class_="faint"))
    return element("div", *parts, class_=f"panel {finding.severity}", id=place)


def _evidence_table(evidence: Table) -> Html:
    is_share = [name == "share" for name in evidence.header]
    rows = [
        [
            bar(float(value), percent(float(value))) if share else value
            for value, share in zip(row, is_share, strict=True)
        ]
        for row in evidence.rows
    ]
    return table(evidence.header, rows)


def _examples(finding: Finding, naming: Naming) -> dict[str, list[str]]:
    named = {
        "Groups": [naming.group(key) for key in finding.groups],
        "Clips": [naming.clip(path) for path in finding.clips],
    }
    return {noun: texts for noun, texts in named.items() if texts}


def _finding_json(finding: Finding, naming: Naming) -> dict[str, Any]:
    content: dict[str, Any] = {
        "kind": finding.kind,
        "severity": finding.severity,
        "what": finding.what,
        "advice": finding.advice,
        "evidence": dict(finding.evidence),
    }
    if finding.table is not None:
        keys = [re.sub(r"\W+", "_", name).strip("_") for name in finding.table.header]
        content["table"] = [dict(zip(keys, row, strict=True)) for row in finding.table.rows]
    return content | {noun.lower(): texts for noun, texts in _examples(finding, naming).items()}
