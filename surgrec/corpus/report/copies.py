"""What is in the corpus twice, and what of test material is in it.

In: videos, refusals, audits, cards. Out: three sections. It is its own file because all three
are about footage that is somewhere else, too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from surgrec.core.html import Cell, Html, element
from surgrec.core.wording import counted
from surgrec.corpus.contamination import plain_name
from surgrec.corpus.refusal import DUPLICATE, OTHER_SOURCE
from surgrec.corpus.report.known import Audits, Known
from surgrec.corpus.report.layout import Section, Unit, faint, gap, ids, listed, text

_KINDS = {"bytes": "same file", "group": "same patient or case", "footage": "same footage"}
_MAX_INTERVALS = 200
_LISTED_BYTES = (
    "Copies that were encoded anew have other bytes and are not among these; within the corpus nobody looks for them."
)


def duplicates(known: Known) -> Section:
    """By hash: what the index refused because its bytes were there already, and what is listed all the same."""
    by_hash: dict[str, list[str]] = defaultdict(list)
    for video in known.videos:
        by_hash[video.sha256].append(video.video_id)
    twice = sorted(names for names in by_hash.values() if len(names) > 1)
    refused = [one for one in known.refused if one.reason in (DUPLICATE, OTHER_SOURCE)]
    content: list[Html] = []
    if refused:
        counts = Counter((one.source, (one.same_bytes or "").rpartition("_")[0] or "unknown") for one in refused)
        rows = [(*pair, counts[pair]) for pair in sorted(counts, key=lambda pair: (-counts[pair], pair))]
        content += [text(f"The index kept out {counted(len(refused), 'file')} whose bytes it had already:")]
        content += listed(("files of the source", "have the bytes of", "files"), rows)
        pairs = sorted((one.same_bytes or "unknown", one.video_id or "unknown", one.reason) for one in refused)
        content += [element("h3", "Which"), *listed(("listed video", "would have been", "reason"), pairs)]
    else:
        content.append(
            text("No list beside the manifest says that the index kept out any file whose bytes it had already.")
        )
    if twice:
        total = sum(len(names) - 1 for names in twice)
        content.append(
            text(
                f"The manifest lists {counted(total, 'video')} more than there are different files; each is drawn so much more often:"
            )
        )
        content += listed(("videos with the same bytes",), [(", ".join(sorted(names)),) for names in twice])
    else:
        content.append(text("No two videos of the manifest have the same bytes."))
    content.append(faint(_LISTED_BYTES))
    return Section("duplicates", "Duplicates", tuple(content))


# -- contamination


def contamination(known: Known, unit: Unit) -> Section:
    """What audits found that still holds for the manifest, and what they did not compare."""
    audits = known.audits
    if audits is None:
        sentence = "Not audited for test material: run surgrec audit contamination."
        return Section("contamination", "Contamination", (gap(sentence),), (sentence,))
    gaps = tuple(
        f"Not wholly compared with {test.label}: {counted(test.num_open, 'video')} of {audits.num_videos:,}."
        for test in audits.outcomes
        if test.num_open
    )
    rows = [(test.label, test.num_found, test.num_open) for test in audits.outcomes]
    content = [*listed(("test set", "videos that show it", "videos not wholly compared"), rows), *map(gap, gaps)]
    content += _findings(known, audits, unit)
    return Section("contamination", "Contamination", tuple(content), gaps)


def _findings(known: Known, audits: Audits, unit: Unit) -> list[Html]:
    if not audits.findings:
        return [text("Nothing of these test sets was found in what the manifest uses and was compared.")]
    videos = {video.video_id: video for video in known.videos}
    groups: dict[tuple[str, str], set[str]] = defaultdict(set)
    for video_id, one, label in audits.findings:
        groups[label, one.kind].add(video_id)
    rows: list[Sequence[Cell]] = []
    for (label, kind), names in sorted(groups.items()):
        sources = Counter(videos[name].source for name in names)
        shown = ", ".join(f"{source} {count:,}" for source, count in sorted(sources.items()))
        rows.append(
            (label, _KINDS.get(kind, kind), len(names), unit(sum(videos[name].seconds for name in names)), shown)
        )
    found = {video_id for video_id, _, _ in audits.findings}
    intervals = [
        (video_id, _seconds(one.seconds), _KINDS.get(one.kind, one.kind), label, one.test_video[0][:12])
        for video_id, one, label in audits.findings
    ]
    return [
        element(
            "p", element("b", f"Test material in {counted(len(found), 'video')} of {len(known.videos):,}. "),
            "Training refuses such a mixture unless it is told to allow it.", class_="panel error",
        ),
        *listed(("test set", "evidence", "videos", f"{unit.name} of these videos", "by source"), rows),
        *listed(("video", "seconds", "evidence", "test set", "SHA-256 of the test video"), intervals, _MAX_INTERVALS),
    ]  # fmt: skip


def _seconds(interval: tuple[float, float]) -> Html:
    return element("span", f"{interval[0]:.1f} to {interval[1]:.1f}", class_="unbroken")


# -- overlaps


def overlaps(known: Known) -> Section:
    """What the cards say of two sources that are both here."""
    by_name = {plain_name(source): source for source in known.sources}
    told: dict[tuple[str, str], tuple[str, str]] = {}
    for source, card in known.cards.items():
        for overlap in card.overlaps:
            other = by_name.get(plain_name(overlap.source))
            if other is not None:
                first, second = sorted((source, other))
                told.setdefault((first, second), (overlap.how.replace("_", " "), overlap.note))
    rows = [(*pair, *what) for pair, what in sorted(told.items())]
    content: list[Html] = []
    if rows:
        content += listed(("source", "and", "how", "what is shared"), rows)
    else:
        content.append(text("The cards know of no overlap between the sources of the manifest."))
    lone = [source for source in known.sources if source not in known.cards]
    gaps = (
        (f"{counted(len(lone), 'source')} of {len(known.sources):,} without a card: nothing is known of overlaps.",)
        if lone
        else ()
    )
    content += [gap(*gaps), ids(lone)] if lone else []
    return Section("overlaps", "Known overlaps", tuple(content), gaps)
