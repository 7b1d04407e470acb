"""Files of checked lines that only grow: what was written before a crash is still there, and what was torn is not believed.

In: records (JSON objects). Out: lines `CRC-32 RECORD`, appended and read back. It is its own file because the journal of `surgrec
index` and the ledger of a manifest both must survive `kill -9`, and the ledger a loss of power.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surgrec.core.atomic import sync_path

Record = dict[str, Any]


def read_lines(path: Path) -> tuple[list[Record], int]:
    """The records of `path` in their order, and how many lines are damaged; none of either where there is no such file.

    A last line without its end is of a process that was killed while it wrote, and is neither.
    """
    if not Path(path).is_file():
        return [], 0
    *whole, _torn = Path(path).read_bytes().split(b"\n")
    found = [_record_of(line) for line in whole if line]
    return [record for record in found if record is not None], sum(record is None for record in found)


def line_of(record: Record) -> bytes:
    """A record as a line."""
    body = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _record_of(line: bytes) -> Record | None:
    check, _, body = line.partition(b" ")
    try:
        record = json.loads(body) if int(check, 16) == zlib.crc32(body) else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class Appender:
    """Appends records to a file, which is made with the first of them. One process at a time: see `surgrec.core.lock`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    def add(self, records: Sequence[Record]) -> None:
        """Records one after another, seen by whoever reads the file next."""
        if self._descriptor is None:
            is_new = not self.path.exists()
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if is_new:
                sync_path(self.path.parent)
            _cut_torn_line(self.path)
        data = b"".join(map(line_of, records))
        while data:  # a disk that is nearly full takes a part
            data = data[os.write(self._descriptor, data) :]

    def sync(self) -> None:
        """Flush to disk."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Flush and close."""
        if self._descriptor is not None:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = None


def _cut_torn_line(path: Path) -> None:
    """Cut off what follows the last end of a line, so that it does not spoil the line that is added."""
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
