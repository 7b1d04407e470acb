"""What did not come into the corpus, and what had to leave it.

In: refusals, the ledger. Out: two sections, of counts alone. It is its own file because the lists behind it name files and
people's reasons; the page says how many, and where the lists are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from surgrec.core.html import Cell, Html, element
from surgrec.core.wording import counted
from surgrec.corpus.refusal import BAD_NAME, DUPLICATE, NO_GROUP, NOT_A_FILE, OTHER_SOURCE, REMOVED, UNREADABLE_FOLDER
from surgrec.corpus.report.known import Known
from surgrec.corpus.report.layout import Section, cut_table, faint, listed, text
from surgrec.video.errors import REASONS

_MEANS = REASONS | {
    DUPLICATE: "the same bytes as another file of its folder",
    OTHER_SOURCE: "the same bytes as a video of another source",
    REMOVED: "it, or its patient, was removed",
    NO_GROUP: "the card's group_pattern finds nothing in its path",
    BAD_NAME: "its name is not UTF-8",
    NOT_A_FILE: "a pipe, a socket or a device",
    UNREADABLE_FOLDER: "a folder that may not be entered",
}
_STAGES = {
    "index": (
        "By the index",
        "There is no list of refusals beside the manifest: the index refused nothing, or its list is not here.",
    ),
    "prepare": (
        "By prepare: quarantine",
        "No quarantine was found: no copies were made, none failed, or it lies elsewhere (name it with --refusals).",
    ),
}


def refusals(known: Known) -> Section:
    """By stage, source and reason."""
    content: list[Html] = []
    for stage, (title, nothing) in _STAGES.items():
        refused = [one for one in known.refused if one.stage == stage]
        content.append(element("h3", title))
        if not refused:
            content.append(text(nothing))
            continue
        counts = Counter((one.source, one.reason) for one in refused)
        parts = sorted(counts.items(), key=lambda part: (-part[1], part[0]))

        def row(name: str, several: Sequence[tuple[tuple[str, str], int]]) -> tuple[Cell, ...]:
            reason = several[0][0][1] if len(several) == 1 and name == several[0][0][0] else ""
            return name, reason, sum(count for _, count in several), _MEANS.get(reason, "")

        header = ("source", "reason", "files" if stage == "index" else "videos", "meaning")
        content.append(cut_table(header, parts, row, lambda part: part[0][0], total="all"))
    content.append(faint("Which files these are is said by the lists, which are private."))
    return Section("refusals", "Refused", tuple(content))


def removals(known: Known) -> Section:
    """Tombstones by source."""
    stones = list(known.ledger.tombstones.values())
    if not stones:
        return Section("removed", "Removed", (text("No ledger tells of a removed video."),))
    counts, groups = Counter(stone.source for stone in stones), Counter[str]()
    for source, _ in {(stone.source, stone.group_id) for stone in stones if stone.is_whole_group}:
        groups[source] += 1
    rows = [(source, count, groups[source]) for source, count in sorted(counts.items())]
    content = (
        text(f"Removed, and kept out for good: {counted(len(stones), 'video')}."),
        *listed(("source", "videos removed", "whole groups kept out"), rows),
        faint("Which, when and why is in the ledger, which is private."),
    )
    return Section("removed", "Removed", content)
