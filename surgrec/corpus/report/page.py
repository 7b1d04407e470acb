"""The report as a page, and as a few lines for the console.

In: a `Known` and its stills. Out: HTML and text. It is its own file because here is the order of the sections, and what stands at the top:
the size of the corpus, and all that is not known of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from surgrec.core.html import element, page, table
from surgrec.core.wording import counted
from surgrec.corpus.report.composition import composition, forms
from surgrec.corpus.report.copies import contamination, duplicates, overlaps
from surgrec.corpus.report.known import Known
from surgrec.corpus.report.layout import Section, Unit, faint, share
from surgrec.corpus.report.pictures import Still
from surgrec.corpus.report.refused import refusals, removals
from surgrec.corpus.report.terms import groups_and_splits, licences
from surgrec.corpus.report.yields import filters
from surgrec.corpus.split_finding import percent


def sections(known: Known, stills: Sequence[Still] | None) -> list[Section]:
    """All of them, whatever is known; `stills`: None where no pictures are wanted."""
    unit = Unit.of(known.videos)
    return [
        composition(known, unit),
        forms(known, unit),
        licences(known),
        groups_and_splits(known, unit),
        filters(known, unit, stills),
        duplicates(known),
        contamination(known, unit),
        overlaps(known),
        refusals(known),
        removals(known),
    ]


def as_html(known: Known, stills: Sequence[Still] | None) -> str:
    """One page that needs no script and no other file; the same for the same corpus."""
    parts = sections(known, stills)
    links = [element("li", element("a", part.title, href=f"#{part.anchor}")) for part in parts]
    body = [piece for part in parts for piece in (element("h2", part.title, id=part.anchor), *part.content)]
    gaps = [element("li", sentence) for part in parts for sentence in part.gaps]
    unknown = element("div", element("h3", "Not known"), element("ul", *gaps), class_="panel warning") if gaps else ""
    origin = faint(
        "Videos are named by the ids of the manifest, whose content has the SHA-256 ",
        element("code", known.fingerprint[:16]),
        " ...; it alone tells which files they are.",
    )
    return page("Corpus report", _size(known), unknown, element("nav", element("ul", *links)), *body, origin)


def _size(known: Known) -> object:
    videos, unit = known.videos, Unit.of(known.videos)
    total, usable = sum(video.seconds for video in videos), sum(video.account.usable for video in videos)
    groups = {(video.source, video.group_id) for video in videos}
    header = ("videos", "sources", "groups", unit.name, f"usable {unit.name}", "usable share", "frames")
    frames = sum(video.num_frames for video in videos)
    row = (
        len(videos),
        len(known.sources),
        len(groups),
        unit(total),
        unit(usable),
        percent(share(usable, total)),
        frames,
    )
    return table(header, [row])


def as_text(known: Known, stills: Sequence[Still] | None) -> str:
    """A summary for a terminal: the size, and what is not known."""
    unit = Unit.of(known.videos)
    total, usable = sum(video.seconds for video in known.videos), sum(video.account.usable for video in known.videos)
    lines = [
        f"{counted(len(known.videos), 'video')} of {counted(len(known.sources), 'source')}, {unit(total):,.2f} {unit.name}, "
        f"{percent(share(usable, total))} of them usable"
    ]
    lines += [f"  not known: {sentence}" for part in sections(known, stills) for sentence in part.gaps]
    if failed := [still for still in stills or () if still.jpeg is None]:
        reasons = ", ".join(sorted({still.failure for still in failed}))
        lines.append(f"  {len(failed)} of {len(stills or ())} pictures could not be taken ({reasons})")
    return "\n".join(lines)
