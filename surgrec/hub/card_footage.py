"""What the card of a release says of the footage that it was trained on.

In: sources, fingerprints, ids, what is known of test material. Out: Markdown. It is its own file because this is what peers leave out and
readers of scores need most: which footage, under which licence, and which test sets it may have touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surgrec.core.wording import counted
from surgrec.corpus.downstream import Downstream
from surgrec.hub.folder import SEEN_FILE

UNKNOWN = "unknown"


@dataclass(frozen=True)
class TrainingSource:
    """One source of the training footage: usable `hours`, its share of the draws, `clips` really drawn; None where unknown."""

    name: str
    hours: float | None = None
    share: float | None = None
    clips: int | None = None
    licence: str | None = None


@dataclass(frozen=True)
class SeenVideo:
    """`video_id` of `source` was first seen by update number `first_step` of the run; 0: by the release that it began with."""

    video_id: str
    source: str
    first_step: int


@dataclass(frozen=True)
class Footage:
    """All that a card tells of the training footage.

    `fingerprints` of the corpora, one after another. `standings`: what was known of test material in them while it was trained.
    `is_allowed`: `allow_contamination` was set; None where nobody knows. `downstream`: what is known at the time of the release.
    `seen`: None where the run did not record it. `is_whole`: whether `seen` has what the starting weights had seen, too.
    """

    fingerprints: tuple[str, ...] = ()
    standings: tuple[str, ...] = ()
    is_allowed: bool | None = None
    downstream: tuple[Downstream, ...] = ()
    seen: tuple[SeenVideo, ...] | None = None
    is_whole: bool = True

    def seen_text(self) -> str:
        """The content of `videos_seen.csv`."""
        rows = (f"{one.video_id},{_quoted(one.source)},{one.first_step}" for one in self.seen or ())
        return "\n".join(["video_id,source,first_step", *rows]) + "\n"


def training_data(sources: Sequence[TrainingSource], footage: Footage) -> str:
    """The section on training data: sources with hours and licences, and which corpus and videos these were."""
    return f"{_sources(sources)}\n\n{_seen(footage)}\n\n{_corpus(footage.fingerprints)}"


def contamination(footage: Footage) -> str:
    """The section on test material: what was known in training, and a line for every known downstream set."""
    known = "; later: ".join(footage.standings) or UNKNOWN
    match footage.is_allowed:
        case None:
            allowed = f"Whether training on test material was allowed (`allow_contamination`): {UNKNOWN}."
        case True:
            allowed = (
                "**`allow_contamination` was set: the run was to go on even if its footage showed test material.**"
            )
        case False:
            allowed = "`allow_contamination` was not set: a mixture that is known to show test material would have been refused."
    if not footage.downstream:
        return (
            f"Test material in the corpus, as known in training: {known}.\n\n{allowed}\n\nDownstream sets: {UNKNOWN}."
        )
    rows = [f"| {cell(one.name)} | {one.status} | {cell(one.detail)} |" for one in footage.downstream]
    table = "\n".join(["| downstream set | in the training footage | why |", "|---|---|---|", *rows])
    return (
        f"Test material in the corpus, as known in training: {known}.\n\n{allowed}\n\n"
        "What is known when this card was written, of every downstream set that surgrec has a card of, and of test sets beyond them. "
        "*not compared* and *unknown* mean that this encoder may have seen it: do not report scores on it as if it had not.\n\n"
        f"{table}"
    )


def cell(text: str) -> str:
    """For a table."""
    return " ".join(text.split()).replace("|", "\\|")


def number(value: float | None, form: str) -> str:
    """Formatted, or unknown."""
    return UNKNOWN if value is None else format(value, form)


def _sources(sources: Sequence[TrainingSource]) -> str:
    if not sources:
        return f"Sources: {UNKNOWN}."
    rows = [
        f"| {cell(source.name)} | {number(source.hours, '.2f')} | {number(source.share, '.1%')} | "
        f"{number(source.clips, ',d')} | {cell(source.licence or UNKNOWN)} |"
        for source in sources
    ]
    table = "\n".join(["| source | hours | share of draws | clips seen | licence |", "|---|---:|---:|---:|---|", *rows])
    return f"{table}\n\nPatients, sites, devices and consent behind these sources: {UNKNOWN} to the software."


def _seen(footage: Footage) -> str:
    if footage.seen is None:
        return f"Ids of the videos that it has seen: {UNKNOWN}, the run did not record them."
    before = "" if footage.is_whole else " What its starting weights had seen before is not in that list."
    return (
        f"`{SEEN_FILE}` lists the {counted(len(footage.seen), 'video')} that it has seen, by ids that say nothing of a patient, with the "
        f"update that first read each.{before}"
    )


def _corpus(fingerprints: Sequence[str]) -> str:
    if not fingerprints:
        return f"Fingerprint of the corpus: {UNKNOWN}."
    names = ", then ".join(f"`{fingerprint}`" for fingerprint in fingerprints)
    return (
        f"Fingerprint of the corpus: {names}. It names what the run drew from and tells nothing of it; with it, whoever keeps the corpus "
        "can find out whether a video was in it."
    )


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(letter in text for letter in ',"\n\r') else text
