"""What the corpus is made of: videos and hours by domain, source and procedure, and the forms that the files have.

In: videos. Out: two sections. It is its own file because here everything is counted from the manifest alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from surgrec.core.html import Cell, Html, bar, element, table
from surgrec.core.wording import counted
from surgrec.corpus.report.known import Known, Video
from surgrec.corpus.report.layout import Section, Unit, cut_table, faint, share, text
from surgrec.corpus.split_finding import percent

_LENGTHS = (
    (10, "under 10 s"),
    (60, "10 s to 1 min"),
    (300, "1 to 5 min"),
    (900, "5 to 15 min"),
    (3600, "15 to 60 min"),
)
_LENGTHS_LONG = ((7200, "1 to 2 h"), (float("inf"), "2 h and more"))
_MAX_FORMS = 15
Group = tuple[str, list[Video]]


def composition(known: Known, unit: Unit) -> Section:
    """By domain, source and procedure."""
    parts: tuple[tuple[str, Callable[[Video], str]], ...] = (
        ("domain", lambda video: video.domain),
        ("source", lambda video: video.source),
        ("procedure", lambda video: video.procedure or "unknown"),
    )
    content = [
        piece
        for name, key in parts
        for piece in (element("h3", f"By {name}"), _parts(name, grouped(known.videos, key), known.videos, unit))
    ]
    untold = sum(video.procedure is None for video in known.videos)
    gaps = (f"The procedure of {untold:,} of {counted(len(known.videos), 'video')} is unknown.",) if untold else ()
    note = faint(
        "Groups: patients, cases or whatever else the videos of one group share. Share: of all ", unit.name, ". Usable: as the manifest "
        "says; without filters that is everything."
    )  # fmt: skip
    return Section("composition", "Composition", (*content, note), gaps)


def grouped(videos: Iterable[Video], key: Callable[[Video], str]) -> list[Group]:
    """Videos by key, those with most seconds first."""
    found: dict[str, list[Video]] = defaultdict(list)
    for video in videos:
        found[key(video)].append(video)
    return sorted(found.items(), key=lambda group: (-sum(video.seconds for video in group[1]), group[0]))


def _parts(name: str, groups: Sequence[Group], videos: Sequence[Video], unit: Unit) -> Html:
    total = sum(video.seconds for video in videos)

    def row(label: str, several: Sequence[Group]) -> tuple[Cell, ...]:
        mine = [video for _, members in several for video in members]
        seconds, usable = sum(video.seconds for video in mine), sum(video.account.usable for video in mine)
        return (
            label, len(mine), len({(video.source, video.group_id) for video in mine}), unit(seconds),
            _bar(share(seconds, total)), unit(usable), _bar(share(usable, seconds)),
        )  # fmt: skip

    header = (name, "videos", "groups", unit.name, "share", f"usable {unit.name}", "usable share")
    return cut_table(header, groups, row, lambda group: group[0], total="all")


def _bar(part: float) -> Html:
    return bar(part, percent(part))


def forms(known: Known, unit: Unit) -> Section:
    """Distributions of resolution, rate, length, codec and container."""
    videos = known.videos
    lengths = _Lengths()
    content = [
        *_form("Resolution", "pixels", videos, unit, lambda video: f"{video.width}x{video.height}"),
        *_form("Frames a second", "rate", videos, unit, lambda video: f"{video.fps:.2f}".rstrip("0").rstrip(".")),
        *_form("Length", "length", videos, unit, lengths, order=lengths.order),
        *_form("Codec", "codec", videos, unit, lambda video: video.codec),
        *_form("Container, by the suffix of the file", "container", videos, unit, lambda video: video.container),
        element("h3", "Picture inside bars and black corners"),
        _cropped(videos),
    ]
    frames = sum(video.num_frames for video in videos)
    return Section(
        "forms", "Files", (text(f"{counted(frames, 'frame')} in {counted(len(videos), 'video')}."), *content)
    )


class _Lengths:
    """Names how long a video is, and puts these names in their order."""

    def __init__(self) -> None:
        self._steps = (*_LENGTHS, *_LENGTHS_LONG)

    def __call__(self, video: Video) -> str:
        return next(name for stop, name in self._steps if video.seconds < stop)

    def order(self, name: str) -> int:
        return [entry for _, entry in self._steps].index(name)


def _form(
    title: str,
    what: str,
    videos: Sequence[Video],
    unit: Unit,
    key: Callable[[Video], str],
    order: Callable[[str], int] | None = None,
) -> tuple[Html, Html]:
    """A distribution: the commonest values, or all in their own order."""
    counts: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for video in videos:
        counts[key(video)] += 1
        seconds[key(video)] += video.seconds
    names = sorted(counts, key=order) if order else sorted(counts, key=lambda name: (-counts[name], name))
    shown, rest = names[:_MAX_FORMS], names[_MAX_FORMS:]
    rows = [(name, counts[name], unit(seconds[name]), _bar(counts[name] / len(videos))) for name in shown]
    if rest:
        count = sum(counts[name] for name in rest)
        hours = unit(sum(seconds[name] for name in rest))
        rows.append((f"and {len(rest):,} more", count, hours, _bar(count / len(videos))))
    return element("h3", title), table((what, "videos", unit.name, "share of videos"), rows)


def _cropped(videos: Sequence[Video]) -> Html:
    """How much of the picture content boxes leave out."""
    boxed = [video for video in videos if video.content_box is not None]
    parts = [area(video) for video in boxed]
    steps = (
        ("whole picture", 0.995, 2.0), ("90 % of it and more", 0.9, 0.995), ("70 to 90 %", 0.7, 0.9), ("50 to 70 %", 0.5, 0.7),
        ("less than half", -1.0, 0.5),
    )  # fmt: skip
    rows = [(name, sum(low <= part < high for part in parts)) for name, low, high in steps]
    copies = sum(video.is_copy for video in videos if video.content_box is None)
    rows += [("training copies, cut already or whole", copies)] if copies else []
    rows.append(("unknown: not filtered, or not decodable", len(videos) - len(boxed) - copies))
    return table(("what is inside", "videos", "share of videos"), [(*row, _bar(row[1] / len(videos))) for row in rows])


def area(video: Video) -> float:
    """The part of the picture that the content box keeps; 1 where it is unknown."""
    if video.content_box is None:
        return 1.0
    left, top, right, bottom = video.content_box
    return (right - left) * (bottom - top) / (video.width * video.height)
