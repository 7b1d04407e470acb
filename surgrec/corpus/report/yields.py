"""What the filters refused: how much time, for which reason, of which source; and pictures of it.

In: videos with their accounts, stills. Out: a section. It is its own file because a filter is trusted only by those who have seen what it
takes and what it leaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from surgrec.core.html import Cell, Html, bar, element, gallery, picture, table
from surgrec.core.wording import counted
from surgrec.corpus.filters.find import OF_REGIONS
from surgrec.corpus.report.accounts import BESIDE, LOSSES, UNEXPLAINED
from surgrec.corpus.report.composition import Group, grouped
from surgrec.corpus.report.known import Known, Video
from surgrec.corpus.report.layout import Section, Unit, cut_table, faint, gap, share, text
from surgrec.corpus.report.pictures import BOX_CAPTION, KEPT_CAPTION, Still
from surgrec.corpus.split_finding import percent

_NAMES = {
    "unreadable": "could not be decoded", "black": "black", "low_information": "low information: uniform, colour bars, menus",
    "frozen": "frozen", "out_of_body": "out of the body", "blur": "blur", "text": "burned-in text", "overlay": "overlay: logos, marks",
    "picture_in_picture": "picture in picture", BESIDE: "beside what was refused: margins, rests too short to use",
    UNEXPLAINED: "not usable, and no finding says why", KEPT_CAPTION: "Kept", BOX_CAPTION: "Content boxes",
}  # fmt: skip
_SHOWN = (
    "What was found to be text is painted over, and what was refused as low information or out of the body is shown in large blocks, since "
    "screens name patients and rooms show people; what no filter found is as it is. Moments are drawn by a hash, a source at a time. "
    "Scores are those of docs/filters.md."
)
_SHOWN_AS_IS = (
    "There are no findings here, so nothing is painted over: burned-in text, screens and rooms are shown as they are. Moments are drawn by "
    "a hash, a source at a time."
)
_NO_PICTURES = "There are no pictures: the report was made with --no-pictures."


def filters(known: Known, unit: Unit, stills: Sequence[Still] | None) -> Section:
    """`stills`: None where none were asked for."""
    groups = grouped(known.videos, lambda video: video.source)
    gaps = _gaps(known, unit)
    content: list[Html] = [gap(sentence) for sentence in gaps]
    content += [element("h3", "Time lost"), _total(known.videos, unit), *_by_source(groups, unit)]
    content += [element("h3", "Told with their place, the time staying usable"), _regions(known.videos, unit)]
    if stills is None:
        content.append(text(_NO_PICTURES))
    else:
        content += _pictures(stills, known)
    return Section("filters", "What the filters took", tuple(content), gaps)


def _gaps(known: Known, unit: Unit) -> tuple[str, ...]:
    untouched = [video for video in known.videos if not video.is_filtered]
    copies = sum(video.is_copy for video in untouched)
    gaps = []
    if not known.has_findings:
        gaps.append(
            "Not filtered, or the findings are not here: run surgrec filter, or name its findings with --findings."
        )
    if len(untouched) > copies:
        where = f"{len(untouched) - copies:,} of {counted(len(known.videos), 'video')}"
        gaps.append(
            f"No filter is known to have looked at {where}; all of their time counts as usable: run surgrec filter."
        )
    if copies:
        gaps.append(
            f"Training copies of which it is not known whether they were filtered: {copies:,}; --findings names findings."
        )
    if unheeded := unit(sum(video.account.unheeded for video in known.videos)):
        gaps.append(
            f"The manifest calls {unheeded:,.3f} {unit.name} usable that a filter refused: run surgrec filter again, unless this was meant."
        )
    if known.num_stray:
        gaps.append(f"{counted(known.num_stray, 'finding')} about videos that the manifest does not list.")
    return tuple(gaps)


def _lost(videos: Sequence[Video]) -> dict[str, float]:
    lost: dict[str, float] = defaultdict(float)
    for video in videos:
        for reason, seconds in video.account.lost.items():
            lost[reason] += seconds
    return lost


def _total(videos: Sequence[Video], unit: Unit) -> Html:
    """One row for what is usable and one for each reason; together they are all the time."""
    total, lost = sum(video.seconds for video in videos), _lost(videos)
    usable = sum(video.account.usable for video in videos)
    rows: list[Sequence[Cell]] = [
        ("usable", sum(video.account.usable > 0 for video in videos), unit(usable), _share(usable, total))
    ]
    for reason in LOSSES:
        count = sum(reason in video.account.lost for video in videos)
        rows.append((_NAMES[reason], count, unit(lost.get(reason, 0.0)), _share(lost.get(reason, 0.0), total)))
    rows.append(("all", len(videos), unit(total), _share(total, total)))
    return table(("what became of it", "videos", unit.name, "share"), rows)


def _share(part: float, whole: float) -> Html:
    return bar(share(part, whole), percent(share(part, whole)))


def _by_source(groups: Sequence[Group], unit: Unit) -> tuple[Html, ...]:
    """A column for each reason that took anything at all."""
    present = [
        reason for reason in LOSSES if any(reason in video.account.lost for _, videos in groups for video in videos)
    ]

    def row(name: str, several: Sequence[Group]) -> tuple[Cell, ...]:
        videos = [video for _, members in several for video in members]
        lost = _lost(videos)
        empty = sum(video.account.usable == 0 for video in videos)
        hours, usable = sum(video.seconds for video in videos), sum(video.account.usable for video in videos)
        return (
            name,
            unit(hours),
            unit(usable),
            unit(sum(lost.values())) or 0,
            *(unit(lost[reason]) or 0 for reason in present),
            empty,
        )

    header = (
        "source",
        unit.name,
        "usable",
        "lost",
        *(reason.replace("_", " ") for reason in present),
        "empty videos",
    )
    absent = [reason.replace("_", " ") for reason in LOSSES if reason not in present]
    nothing = (faint(f"Nothing was lost as {', '.join(absent)}."),) if absent else ()
    return cut_table(header, groups, row, lambda group: group[0], total="all"), *nothing


def _regions(videos: Sequence[Video], unit: Unit) -> Html:
    rows = []
    for reason in OF_REGIONS:
        marked = [video for video in videos if any(found.reason == reason for found in video.findings)]
        seconds = sum(_length(video, reason) for video in marked)
        rows.append((_NAMES[reason], len(marked), unit(seconds), _share(len(marked), len(videos))))
    return table(("what", "videos", unit.name, "share of videos"), rows)


def _length(video: Video, reason: str) -> float:
    """Seconds in which it is seen at least once: several regions at a time count once."""
    length, end = 0.0, 0.0
    for found in sorted((one for one in video.findings if one.reason == reason), key=lambda one: one.start_seconds):
        length += max(0.0, found.end_seconds - max(end, found.start_seconds))
        end = max(end, found.end_seconds)
    return length


# -- pictures


def _pictures(stills: Sequence[Still], known: Known) -> list[Html]:
    by_kind: dict[str, list[Still]] = defaultdict(list)
    for still in stills:
        by_kind[still.moment.kind].append(still)
    content = [
        element("h3", "Pictures"),
        element(
            "p",
            element(
                "b", "These are pictures of patients, and perhaps of others: keep this page as you keep the videos. "
            ),
            _SHOWN if known.has_findings else _SHOWN_AS_IS,
            class_="panel note",
        ),
    ]
    for kind, name in _NAMES.items():
        if found := by_kind.get(kind):
            content += [element("h4", name[0].upper() + name[1:]), gallery(_figure(still) for still in found)]
    if missing := sorted({reason for reason in _NAMES if reason in (*OF_REGIONS, *LOSSES[:-2])} - set(by_kind)):
        names = ", ".join(_NAMES[reason].partition(":")[0] for reason in missing)
        content.append(
            faint(
                "There is nothing to show of: ", names, "." if known.has_findings else ", since there are no findings."
            )
        )
    return content


def _figure(still: Still) -> Html:
    moment = still.moment
    start, end = moment.span
    kind = _NAMES[moment.kind].partition(":")[0]
    score = "" if moment.score is None else f", score {moment.score:.3g}"
    caption = (
        moment.video.source,
        element("br"),
        element("code", moment.video.video_id),
        element("br"),
        f"{start:.1f} to {end:.1f} s{score}",
    )
    if still.jpeg is not None:
        return picture(still.jpeg, f"{kind}, {moment.video.video_id} at {moment.seconds:.1f} seconds", *caption)
    failure = element("div", f"no picture: {still.failure.replace('_', ' ')}", class_="missing")
    return element("figure", failure, element("figcaption", *caption))
