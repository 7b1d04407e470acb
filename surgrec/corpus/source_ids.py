r"""Which clips come from the same recording, told from their paths.

In: paths, and a regular expression or none. Out: a key for each path, or a guess at the expression. It is its own file because
the guesses are facts about the file names of public datasets, each documented here, and will grow.

An expression is searched in the path. What it names `group` (and everything it names `group_...`, in order) is the key; without
names, its first group; without groups, the whole match. This is how cards read theirs (`surgrec.corpus.card`), and one
thing more: a lesion that is numbered within its folder needs two parts, `(?P<group_class>[^/]+)/WL\((?P<group_lesion>\d+)\)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from surgrec.core.errors import UserError

_MIN_SHARE_MATCHED = 0.95  # of all clips: a guess must explain the naming, not some of it
_MIN_CLIPS_PER_GROUP = 1.2  # below, the key names the clip rather than the recording


class SourcePattern:
    """A compiled expression. Raises `UserError` where it is none."""

    def __init__(self, expression: str) -> None:
        try:
            self._pattern = re.compile(expression)
        except re.error as error:
            raise UserError(f"the group pattern {expression!r} is no regular expression: {error}") from None
        self.expression = expression
        self._names = [name for name in self._pattern.groupindex if name == "group" or name.startswith("group_")]

    def key_of(self, path: str) -> str | None:
        """The key of a path; None where the expression does not match, or what it names is empty."""
        match = self._pattern.search(path)
        if match is None:
            return None
        if self._names:
            return "/".join(match[name] or "" for name in self._names) or None
        return match[1 if self._pattern.groups else 0] or None


@dataclass(frozen=True)
class Guess:
    """An expression that fits a naming known from public datasets. `unit`: what one key stands for; `seen_in`: where."""

    unit: str
    expression: str
    seen_in: str


# Keys hold the file name up to the number, because some sets number the videos of train and test both from 1
# (M2CAI16: workflow_video_01 and test_workflow_video_01 are two operations).
GUESSES: tuple[Guess, ...] = (
    Guess("trial", r"([^/]*_[A-Z]\d{3})_capture\d", "JIGSAWS: task, subject and trial"),
    Guess("subject", r"_([A-Z])\d{3}_capture\d", "JIGSAWS: subject (surgeon)"),
    Guess("video", r"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})", "HyperKvasir: a UUID before the number"),
    Guess("video", r"(?:^|/)([0-9a-f]{12,32})_\d+-\d+", "Kvasir-Capsule: hexadecimal name before the frames"),
    Guess("video", r"(?:^|/)((?:[01]_)?\d+)_\d+_\d+_(?:no_)?polyps?", "LDPolypVideo: video before start and end"),
    Guess("case", r"(?:^|/)([SB]BP\d+)", "MultiBypass140: centre and case"),
    Guess("case", r"([^/]*case[_-]?\d+)", "Cataract-101, Cataract-1K, Cataract-21, LapGyn4: case_269"),
    Guess("patient", r"([^/]*(?:patient|subject)[_-]?\d+)", "patient_12, subject-3"),
    Guess("video", r"([^/]*vid(?:eo)?[_-]?\d+)", "M2CAI16, SAR-RARP50, PitVis, CholecT50: video_01, VID12"),
    Guess(
        "lesion",
        r"(?P<group_class>[^/]+)/(?:WL|NBI)[ _-]?\(?(?P<group_lesion>\d+)\)?\.",
        "Colonoscopic: number within the class, filmed in white light (WL) and narrow band (NBI)",
    ),
    Guess("video", r"(?:^|/)([A-Za-z]+\d*_\d+)_\d+\.\w+$", "Cholec80, AutoLaparo: cholec80_01_1, label_01_1"),
)


@dataclass(frozen=True)
class Fit:
    """A guess that fits: `num_matched` of the clips have a key, of `num_groups` different ones."""

    guess: Guess
    num_matched: int
    num_groups: int


def fitting_guesses(paths: Sequence[str]) -> list[Fit]:
    """The guesses that explain the names of `paths` (distinct): nearly all match, into at least two groups that hold
    several clips each. In the order of `GUESSES`; of two that group the paths alike the first."""
    fits, partitions = [], set()
    for guess in GUESSES:
        pattern = SourcePattern(guess.expression)
        keys = [pattern.key_of(path) for path in paths]
        num_matched, num_groups = len(paths) - keys.count(None), len(set(keys) - {None})
        is_explained = num_matched >= _MIN_SHARE_MATCHED * len(paths)
        partition = _partition(keys)
        if is_explained and num_groups >= 2 and num_matched >= _MIN_CLIPS_PER_GROUP * num_groups:
            if partition not in partitions:
                fits.append(Fit(guess, num_matched, num_groups))
            partitions.add(partition)
    return fits


def _partition(keys: Sequence[str | None]) -> tuple[int, ...]:
    """Equal for two lists of keys that group alike, whatever the keys are."""
    first: dict[str | None, int] = {}
    return tuple(first.setdefault(key, len(first)) for key in keys)
