"""What a long fit had when it was stopped, so that the same command goes on from there.

In: what the fit depends on, its state now and then. Out: the state, when the same fit begins again. It is its own file because a state
must never be taken for that of another fit: its name is the digest of all that the fit depends on.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import torch

from surgrec.core.atomic import atomic_path, remove_leftovers


class Unfinished:
    """The state of one fit in `folder`, written no more often than every `every_seconds`; nothing is kept without a folder.

    `depends_on`: bytes that decide what the fit computes; of what they leave out, say the pixels of the clips, `folder` is for one only.
    """

    def __init__(self, folder: Path | None, depends_on: bytes, every_seconds: float) -> None:
        name = hashlib.blake2b(depends_on, digest_size=16).hexdigest()
        self._file = None if folder is None else folder / f"unfinished-{name}.pt"
        self._every_seconds, self._written = every_seconds, time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """The last state that was written, on the CPU; None where there is none, or a damaged one."""
        if self._file is None or not self._file.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
        except Exception:  # what half a pickle raises is anything
            return None
        return state

    def write(self, state: dict[str, Any], is_last: bool) -> None:
        """Keep the state, if it is time or the last one."""
        if self._file is None or (not is_last and time.monotonic() - self._written < self._every_seconds):
            return
        with atomic_path(self._file) as temporary:
            torch.save(state, temporary)
        self._written = time.monotonic()

    def forget(self) -> None:
        """Once nothing is left to do."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
            remove_leftovers(self._file)
