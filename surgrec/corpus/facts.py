"""The kinds of facts that a card holds, each with the values that it may take.

In: values of a card. Out: small frozen records that refuse what cannot be true. It is its own file because a card is a
list of facts, and what one fact may say is easier to read apart from how they agree with each other (`card.py`).

A fact is a value or `UNKNOWN`. Nothing is guessed, and nothing is left out in silence: what nobody has found out is
written as `unknown` in the card, read as `UNKNOWN` here and printed as `unknown` again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import Enum
from typing import Literal

from surgrec.core.errors import UserError


class CardError(UserError):
    """A card that cannot be read or says something impossible."""


class Unknown(Enum):
    """The type of `UNKNOWN`: a fact that nobody has found out. It is no text, so that no licence is ever called "unknown"."""

    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return "unknown"


UNKNOWN = Unknown.UNKNOWN

Text = str | Unknown
Texts = tuple[str, ...] | Unknown
Count = int | Unknown
Amount = float | Unknown
Amounts = tuple[float, ...] | Unknown

# open: a link; form: a form that is answered by a link; registration: an account; request: somebody decides;
# closed: not given out (any more).
Access = Literal["open", "form", "registration", "request", "closed"]
# what the source's files are: videos, pictures of videos in order, single pictures
Media = Literal["videos", "frames", "images"]
GroupKind = Literal["patient", "case", "lesion", "video", "subject"]
# same_videos: the same recordings, whole; subset: some recordings are in both; same_patients_possible: the authors or the
# circumstances do not exclude it.
OverlapKind = Literal["same_videos", "subset", "same_patients_possible"]
# removed: the authors say that they took it out or blanked it.
Finding = Literal["present", "removed", "absent"]


def text_or_none(value: Text | None) -> str | None:
    """A text fact for a table, whose word for unknown is null."""
    return value if isinstance(value, str) else None


@dataclass(frozen=True)
class Published:
    """How much the authors say there is. `frames` are pictures of videos, all of them or those that are given out; `images`
    are pictures outside any video. Raises `CardError` for a negative count, or one that contradicts another."""

    videos: Count = UNKNOWN
    hours: Amount = UNKNOWN
    frames: Count = UNKNOWN
    images: Count = UNKNOWN

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not isinstance(value, Unknown) and not (math.isfinite(value) and value >= 0):
                raise CardError(f"published.{entry.name} is {value}; a count is 0 or more, or unknown")
        if isinstance(self.videos, int) and isinstance(self.frames, int) and self.frames < self.videos:
            raise CardError(f"published.frames is {self.frames}, less than published.videos, {self.videos}")
        if self.videos == 0 and isinstance(self.hours, (int, float)) and self.hours > 0:
            raise CardError(f"published.hours is {self.hours}, but published.videos is 0")


@dataclass(frozen=True)
class PersonalData:
    """What in the files could lead to a person: as the authors say, or as seen in the files.

    `out_of_body`: views outside the body, where faces and rooms show. `dates`: of the recording, in names, text or metadata.
    """

    faces: Finding | Unknown = UNKNOWN
    out_of_body: Finding | Unknown = UNKNOWN
    on_screen_text: Finding | Unknown = UNKNOWN
    audio: Finding | Unknown = UNKNOWN
    dates: Finding | Unknown = UNKNOWN
    note: Text = UNKNOWN


@dataclass(frozen=True)
class Overlap:
    """Recordings or patients that this source shares with another; `cite`: where that is said."""

    source: str
    how: OverlapKind
    note: str
    cite: str


@dataclass(frozen=True)
class Example:
    """A path of the official layout, the text of its group and its official split (None: it has none)."""

    path: str
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """Where facts come from: the keys of the card that `cite` (an address, a paper, a page) tells."""

    facts: tuple[str, ...]
    cite: str
