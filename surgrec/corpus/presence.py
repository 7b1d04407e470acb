"""What of a source lies in a folder, against what its card says.

In: a folder and the card of the source in it. Out: a `Presence`: paths that are there, paths that the card does not expect,
and how many of the published files are missing. It is its own file because it looks at names only: no file is opened, so
that terabytes are checked in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.facts import Unknown
from surgrec.corpus.scan import VIDEO_SUFFIXES
from surgrec.corpus.walk import find_files


@dataclass(frozen=True)
class Presence:
    """Paths are relative to the checked folder, in order.

    `present`: files that the card takes and that have a group. `no_group`: taken, but the group pattern reads nothing.
    `unexpected`: videos, or files of the suffixes that the card takes, that fit no file pattern. `others`: the rest, such as
    labels. `missing`: how many fewer `present` are than published, None where the card does not say; `surplus`: how many
    more. `absent_examples`: documented paths that are not there.
    """

    source: str
    present: tuple[str, ...]
    no_group: tuple[str, ...]
    unexpected: tuple[str, ...]
    others: tuple[str, ...]
    num_groups: int
    splits: dict[str, int]
    expected: int | None
    absent_examples: tuple[str, ...]

    @property
    def missing(self) -> int | None:
        return None if self.expected is None else max(self.expected - len(self.present), 0)

    @property
    def surplus(self) -> int | None:
        return None if self.expected is None else max(len(self.present) - self.expected, 0)

    @property
    def is_as_published(self) -> bool:
        """Whether nothing is known to be missing or in excess, and every taken file has a group."""
        return not (self.missing or self.surplus or self.no_group or self.unexpected) and bool(self.present)


def look(root: Path, card: Card) -> Presence:
    """Compare the names below `root` with the card. Raises `UserError` where there is no such folder."""
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}; give the folder that holds the files of {card.name}")
    files, refused = find_files(root, lambda path: True)
    paths = sorted([*(file.path for file in files), *(refusal.path for refusal in refused)])
    taken = [path for path in paths if _is_taken(path, card)]
    suffixes = VIDEO_SUFFIXES | {PurePosixPath(pattern).suffix.lower() for pattern in card.file_pattern} - {""}
    rest = [path for path in paths if not _is_taken(path, card)]
    present = [path for path in taken if card.group_of(path) is not None]
    return Presence(
        source=card.name,
        present=tuple(present),
        no_group=tuple(path for path in taken if card.group_of(path) is None),
        unexpected=tuple(path for path in rest if PurePosixPath(path).suffix.lower() in suffixes),
        others=tuple(path for path in rest if PurePosixPath(path).suffix.lower() not in suffixes),
        num_groups=len({card.group_of(path) for path in present}),
        splits={name: sum(card.split_of(path) == name for path in present) for name in card.split},
        expected=_expected(card),
        absent_examples=tuple(example.path for example in card.examples if not (root / example.path).is_file()),
    )


def _is_taken(path: str, card: Card) -> bool:
    taken = card.takes(path)
    return PurePosixPath(path).suffix.lower() in VIDEO_SUFFIXES if taken is None else taken


def _expected(card: Card) -> int | None:
    """How many files there should be: a file a video, a picture or a frame; None where the card does not know."""
    counts = {"videos": card.published.videos, "frames": card.published.frames, "images": card.published.images}
    if isinstance(card.media, Unknown):
        return None
    count = counts[card.media]
    return None if isinstance(count, Unknown) else count
