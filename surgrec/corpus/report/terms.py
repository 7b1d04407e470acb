"""Under which terms the videos may be used, whom they belong to, and how they are split.

In: videos, cards, the ledger. Out: two sections. It is its own file because here what a manifest says is held against what cards and notes
say: a licence that differs is told, never decided.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from surgrec.core.html import Cell, Html, element
from surgrec.core.wording import counted
from surgrec.corpus.facts import UNKNOWN, text_or_none
from surgrec.corpus.refusal import NO_GROUP
from surgrec.corpus.report.composition import Group, grouped
from surgrec.corpus.report.known import Known, Video
from surgrec.corpus.report.layout import MAX_ROWS, Section, Unit, cut_table, faint, listed, text

_UNKNOWN = "unknown"
_SHOWN_VALUES = 3
_LONGEST_TEXT = 160


def licences(known: Known) -> Section:
    """Of each source: what manifest and card say, who may get it, and of how many videos provenance and consent are noted."""
    groups, notes = grouped(known.videos, lambda video: video.source), known.ledger.notes
    rows: list[Sequence[Cell]] = []
    conflicts: list[Html] = []
    for source, videos in groups:
        said = [note for note in (_conflict(source, videos, known)) if note]
        conflicts += [element("li", note) for note in said]
        card = known.cards.get(source)
        noted = [sum(key in notes.get(video.video_id, {}) for video in videos) for key in ("provenance", "consent")]
        rows.append(
            (
                source, len(videos), counts_of(video.licence or _UNKNOWN for video in videos),
                _short(str(card.licence)) if card else "no card", str(card.access) if card else "", *noted,
                "yes" if said else "",
            )
        )  # fmt: skip
    header = (
        "source",
        "videos",
        "licence in the manifest",
        "licence on the card",
        "access",
        "provenance noted",
        "consent noted",
        "conflict",
    )
    content = [*listed(header, rows)]
    if conflicts:
        more = [element("li", f"and {len(conflicts) - MAX_ROWS:,} more")] if len(conflicts) > MAX_ROWS else []
        content += [element("h3", "Conflicts"), element("ul", *conflicts[:MAX_ROWS], *more)]
    else:
        content.append(text("No source has videos of several licences, and no licence differs from its card's."))
    content.append(
        faint("Notes are those of the ledger; what they say stays there. A card's licence is that of its authors.")
    )
    unknown = sum(video.licence is None for video in known.videos)
    untold = sum("consent" not in notes.get(video.video_id, {}) for video in known.videos)
    gaps = [f"The licence of {unknown:,} of {counted(len(known.videos), 'video')} is unknown."] if unknown else []
    gaps += (
        [f"Consent is noted of {len(known.videos) - untold:,} of {counted(len(known.videos), 'video')}."]
        if untold
        else []
    )
    return Section("licences", "Licences", tuple(content), tuple(gaps))


def _conflict(source: str, videos: Sequence[Video], known: Known) -> list[str]:
    """What the licences of a source's videos have against each other and against its card."""
    told = sorted({video.licence for video in videos if video.licence is not None})
    found = [f"{source}: its videos have {len(told)} licences: {_few(told)}"] if len(told) > 1 else []
    card = known.cards.get(source)
    theirs = text_or_none(card.licence) if card is not None else None
    if theirs is not None and (other := [licence for licence in told if licence != theirs]):
        noted = {name for name, note in known.ledger.notes.items() if "licence" in note}
        differing = [video for video in videos if video.licence in other]
        by_note = sum(video.video_id in noted for video in differing)
        found.append(
            f"{source}: {counted(len(differing), 'video')} with {_few(other)}, where the card says {_short(theirs)}"
            + (f"; {by_note:,} of them by a note in the ledger" if by_note else "")
        )
    return found


def _few(values: Sequence[str]) -> str:
    shown = ", ".join(map(_short, values[:_SHOWN_VALUES]))
    return f"{shown} and {len(values) - _SHOWN_VALUES:,} more" if len(values) > _SHOWN_VALUES else shown


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST_TEXT else f"{words[:_LONGEST_TEXT].rstrip()} ..."


def counts_of(values: Iterable[str]) -> str:
    """`MIT`, or `MIT 3, unknown 1`; of many the most frequent."""
    counts = Counter(values)
    if len(counts) == 1:
        return _short(next(iter(counts)))
    most = sorted(counts, key=lambda value: (-counts[value], value))
    shown = ", ".join(f"{_short(value)} {counts[value]:,}" for value in most[:_SHOWN_VALUES])
    return f"{shown} and {len(most) - _SHOWN_VALUES:,} more" if len(most) > _SHOWN_VALUES else shown


# -- groups and splits


def groups_and_splits(known: Known, unit: Unit) -> Section:
    """Of each source: its groups, what a group is, videos without one; and the official splits."""
    groups = grouped(known.videos, lambda video: video.source)
    refused = Counter(one.source for one in known.refused if one.reason == NO_GROUP)
    lone = [source for source, videos in groups if len(videos) > 1 and _num_groups(videos) == len(videos)]

    def row(name: str, several: Sequence[Group]) -> tuple[Cell, ...]:
        counts = [_num_groups(videos) for _, videos in several]
        sizes = Counter((video.source, video.group_id) for _, videos in several for video in videos if video.group_id)
        kinds = {_kind(source, known) for source, _ in several}
        missing = sum(not video.group_id for _, videos in several for video in videos)
        refusals = sum(refused[source] for source, _ in several)
        return (
            name, sum(len(videos) for _, videos in several), sum(counts), max(sizes.values(), default=0),
            kinds.pop() if len(kinds) == 1 else "", missing, refusals,
        )  # fmt: skip

    header = ("source", "videos", "groups", "largest", "what a group is (card)", "without a group", "refused for it")
    content = [
        cut_table(header, groups, row, lambda group: group[0], total="all"),
        element("h3", "Splits"),
        _splits(groups, unit),
        faint(
            "Splits are the official ones of a source, by its card. Training may draw from all; audits hold out those of tests."
        ),
    ]
    gaps = []
    if unclear := [source for source, _ in groups if _kind(source, known) in (_UNKNOWN, "no card")]:
        gaps.append(f"What a group is (patient, case, lesion) is not known of {_few(unclear)}.")
    if lone:
        gaps.append(f"Every video is a group of its own in {_few(lone)}: true only if no patient has two videos there.")
    if missing := sum(not video.group_id for video in known.videos):
        gaps.append(f"Without a group id: {counted(missing, 'video')} of {len(known.videos):,}.")
    return Section("groups", "Groups and splits", tuple(content), tuple(gaps))


def _num_groups(videos: Sequence[Video]) -> int:
    return len({video.group_id for video in videos if video.group_id})


def _kind(source: str, known: Known) -> str:
    card = known.cards.get(source)
    if card is None:
        return "no card"
    return _UNKNOWN if card.group is UNKNOWN else str(card.group)


def _splits(groups: Sequence[Group], unit: Unit) -> Html:
    """A row a source and split; a source without official splits has one row."""
    parts: list[tuple[str, str, list[Video]]] = []
    for source, videos in groups:
        by_split: Mapping[str, list[Video]] = defaultdict(list)
        for video in videos:
            by_split[video.split or "none"].append(video)
        parts += [(source, name, by_split[name]) for name in sorted(by_split)]

    def row(name: str, several: Sequence[tuple[str, str, list[Video]]]) -> tuple[Cell, ...]:
        mine = [video for _, _, videos in several for video in videos]
        split = several[0][1] if len(several) == 1 and name == several[0][0] else ""
        return name, split, len(mine), unit(sum(video.seconds for video in mine))

    return cut_table(("source", "split", "videos", unit.name), parts, row, lambda part: part[0], total="all")
