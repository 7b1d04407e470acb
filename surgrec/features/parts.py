"""What is computed of a video that is not whole yet: it outlives a killed process.

In: features of consecutive windows, as they come. Out: files beside the store, and what is in them. It is its own file because a video
enters a store whole or not at all, and an operation of many hours must not begin anew for that.

A part is a `.npz` of the windows `FIRST-END`; it has its name once it is whole.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from surgrec.core.atomic import sync_path
from surgrec.features.origin import joined
from surgrec.features.windows import WindowFeatures

PARTIAL = ".partial"  # folder within a store
SAVE_SECONDS = 30.0
_SAVE_BYTES = 64 << 20
_NAME = re.compile(r"(\d{9})-(\d{9})\.npz")


class Parts:
    """The windows 0 to `num_done` of a video, of which some are in files and the newest in memory."""

    def __init__(self, store: Path, video_id: str) -> None:
        self.folder = store / PARTIAL / video_id
        self._files: list[Path] = []
        self._waiting: list[WindowFeatures] = []
        self._waits_since = 0.0
        self.num_done = 0
        for end, file in self._found():
            self._files.append(file)
            self.num_done = end

    def _found(self) -> Iterator[tuple[int, Path]]:
        """The files that follow each other from window 0 on."""
        end = 0
        for file in sorted(self.folder.glob("*.npz")):
            match = _NAME.fullmatch(file.name)
            if match is not None and int(match[1]) == end:
                end = int(match[2])
                yield end, file

    def add(self, batch: WindowFeatures) -> None:
        """Take the next windows; they are in a file half a minute later, or sooner where they are large."""
        if not self._waiting:
            self._waits_since = time.monotonic()
        self._waiting.append(batch)
        self.num_done += len(batch)
        held = sum(each.features.nbytes for each in self._waiting)
        if held >= _SAVE_BYTES or time.monotonic() - self._waits_since >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what is in memory only."""
        if self._waiting:
            self._make_folder()
            block = joined(self._waiting)
            file = self.folder / f"{self.num_done - len(block):09}-{self.num_done:09}.npz"
            temporary = file.with_suffix(".new")
            with temporary.open("wb") as opened:
                np.savez(opened, **vars(block))
            sync_path(temporary)
            temporary.replace(file)
            sync_path(self.folder)
            self._files.append(file)
            self._waiting = []

    def _make_folder(self) -> None:
        while not self.folder.is_dir():
            with suppress(FileNotFoundError):  # another shard has just removed the folder of all, which was empty
                self.folder.mkdir(parents=True, exist_ok=True)

    def __iter__(self) -> Iterator[WindowFeatures]:
        """All windows so far, in order."""
        for file in self._files:
            with np.load(file, allow_pickle=False) as columns:
                yield WindowFeatures(**{name: columns[name] for name in columns.files})
        yield from self._waiting

    def remove(self) -> None:
        """Forget the video."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # other videos are under way
            self.folder.parent.rmdir()


def remove_of_whole(store: Path, video_ids: set[str]) -> None:
    """Remove what is left of videos that are in the store, by a process that was killed between the one and the other."""
    for name in [entry.name for entry in (store / PARTIAL).glob("*") if entry.name in video_ids]:
        Parts(store, name).remove()
