"""Files of JSON lines that may be large, and that another process is writing.

In: a file, one object a line. Out: its end, a place in its middle, the lines that have a key. It is its own file because a run's lines come
to hundreds of megabytes, of which a look at the run needs a few; so the file is mapped, never read as a whole.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_NEW_LINE = b"\n"


class JsonLines:
    """The whole lines of a file, empty where there is none; a context manager.

    Attributes:
        is_unfinished: whether something stands after the last whole line: half a line, which is being written or never will be.
    """

    def __init__(self, path: Path) -> None:
        self.is_unfinished = False
        self._torn: set[int] = set()
        self._map: mmap.mmap | None = None
        self._stop = 0
        if not path.is_file():
            return
        with path.open("rb") as file:  # of what was opened: another file may have its name by now
            if os.fstat(file.fileno()).st_size:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._map is not None:
            self._stop = self._map.rfind(_NEW_LINE) + 1
            self.is_unfinished = self._stop < len(self._map)

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._map is not None:
            self._map.close()

    @property
    def num_torn(self) -> int:
        """Whole lines met so far that are no JSON object."""
        return len(self._torn)

    def __len__(self) -> int:
        """Number of whole lines, torn ones included."""
        if self._map is None:
            return 0
        step, ends = 1 << 24, range(0, self._stop, 1 << 24)
        return sum(self._map[first : min(first + step, self._stop)].count(_NEW_LINE) for first in ends)

    def last(self, number: int) -> list[dict[str, Any]]:
        """The last `number` lines or fewer, in their order."""
        if self._map is None:
            return []
        first = self._stop
        for _ in range(number):
            if first == 0:
                break
            first = self._map.rfind(_NEW_LINE, 0, first - 1) + 1
        return list(self._parsed(first, self._stop))

    def at(self, share: float) -> dict[str, Any] | None:
        """The line at about this `share` of the file, from 0 to 1; None where there is none from there on."""
        if self._map is None:
            return None
        offset = int(share * self._stop)
        first = 0 if offset == 0 else self._map.find(_NEW_LINE, offset - 1, self._stop) + 1
        return next(self._parsed(first, self._stop), None)

    def having(self, key: str) -> Iterator[dict[str, Any]]:
        """The objects with `key`, in their order."""
        if self._map is None:
            return
        word, offset = json.dumps(key).encode() + b":", 0
        while (found := self._map.find(word, offset, self._stop)) >= 0:
            first = self._map.rfind(_NEW_LINE, 0, found) + 1
            offset = self._map.find(_NEW_LINE, found, self._stop) + 1
            yield from (line for line in self._parsed(first, offset) if key in line)

    def _parsed(self, first: int, stop: int) -> Iterator[dict[str, Any]]:
        """The objects of the lines from `first` up to `stop`."""
        assert self._map is not None
        while first < stop:
            end = self._map.find(_NEW_LINE, first, stop) + 1
            try:
                value = json.loads(self._map[first:end])
            except ValueError:
                value = None
            if isinstance(value, dict):
                yield value
            else:
                self._torn.add(first)
            first = end
