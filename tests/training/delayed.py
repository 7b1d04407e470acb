"""A run as `surgrec train` makes it, in which one video is slow to read on the last rank.

In: overrides on the command line, the launcher's variables. Out: the run folder. It is its own file because it runs under launchers,
outside pytest.
"""

from __future__ import annotations

import os
import time
from typing import Any

from surgrec import train
from surgrec.data.clips import ClipReader

SECONDS = 1.0


def main() -> int:
    """On the last rank, reading the first video of the source alpha takes `SECONDS` more."""
    read = ClipReader._frames

    def late(self: ClipReader, row: int, *options: Any) -> Any:
        if self.manifest.id_of(row) == min(name for name in self.manifest.ids if name.startswith("alpha")):
            time.sleep(SECONDS)
        return read(self, row, *options)

    if int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
        ClipReader._frames = late  # type: ignore[method-assign]
    return train.main()
