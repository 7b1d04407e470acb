"""Whether a text names an original file.

In: a manifest, and texts that are about to be published. Out: yes or no. It is its own file because people call sources, notes of licence
and settings as they like, sometimes by the very file that they are about; and a release must not carry the name of a patient's file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from surgrec.corpus.manifest import Manifest

_WORDS = re.compile(r"[^\W_]+")
# Shorter names, and short numbers, are words and counts far more often than they are names of files.
_FEWEST_LETTERS = 4
_FEWEST_DIGITS = 6


class OriginalNames:
    """Names of the files of a manifest, with and without their suffix, whatever the case and whatever stands between their words."""

    def __init__(self, manifest: Manifest) -> None:
        self._names: set[tuple[str, ...]] = set()
        for path in map(PurePath, manifest.table["path"].to_pylist()):
            self._names |= {words for name in (path.name, path.stem) if _is_telling(words := _words(name))}
        self._longest = max((len(words) for words in self._names), default=0)

    def are_in(self, text: str) -> bool:
        """Whether one of them stands in `text`, as whole words."""
        return any(words in self._names for words in self._runs(_words(text)))

    def _runs(self, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for first in range(len(words)):
            for stop in range(first + 1, min(len(words), first + self._longest) + 1):
                yield words[first:stop]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in _WORDS.findall(text))


def _is_telling(words: tuple[str, ...]) -> bool:
    joined = "".join(words)
    return len(joined) >= (_FEWEST_DIGITS if joined.isdigit() else _FEWEST_LETTERS)
