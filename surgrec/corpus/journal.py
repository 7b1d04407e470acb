"""What an index has read so far, so that nothing is read again after an interruption, `kill -9` included.

In: what reading told of one file after another. Out: a file beside the manifest, and from it the same again. It is its own file
because it lives only as long as an index runs: once the manifest is written, it goes. It holds paths, like the manifest.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from surgrec.core.atomic import atomic_path, sync_path
from surgrec.corpus.lines import Appender, Record, line_of, read_lines

_SYNC_SECONDS = (
    1.0  # of reading are lost at most where the power fails; a killed process loses nothing that it has added
)


def journal_file(manifest: Path) -> Path:
    """The journal beside a manifest that is being made."""
    return manifest.with_name(f"{manifest.stem}.journal.jsonl")


class Journal:
    """The journal of one source and root in `path`, which may hold those of other interrupted ones; use it in a `with` block."""

    def __init__(self, path: Path, source: str, root: Path) -> None:
        self.path = Path(path)
        self._whose = {"source": source, "root": str(Path(root).resolve())}
        self._appender = Appender(self.path)
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._appender.close()

    def entries(self) -> list[Record]:
        """What was added in earlier runs, damaged lines left out."""
        return [record for record in read_lines(self.path)[0] if self._is_mine(record)]

    def add(self, **entry: Any) -> None:
        """Add what is known of a file; on disk within a second."""
        self._appender.add([self._whose | entry])
        now = time.monotonic()
        if now - self._synced > _SYNC_SECONDS:
            self._appender.sync()
            self._synced = now

    def forget(self) -> None:
        """Drop this source and root: the manifest has it all. The file goes with its last line."""
        self._appender.close()
        others = [record for record in read_lines(self.path)[0] if not self._is_mine(record)]
        if others:
            with atomic_path(self.path) as temporary:
                temporary.write_bytes(b"".join(map(line_of, others)))
        elif self.path.exists():
            self.path.unlink()
            sync_path(self.path.parent)

    def _is_mine(self, record: Record) -> bool:
        return all(record.get(key) == value for key, value in self._whose.items())
