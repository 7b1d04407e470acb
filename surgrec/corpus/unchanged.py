"""Whether a file is still the one that was indexed.

In: a path and its row of a manifest. Out: nothing, or a `VideoError`. It is its own file because everything that decodes footage under an
id must ask it: what is made of a file that was replaced would bear the name of another video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgrec.video.errors import VideoError

FACTS = ("sha256", "size_bytes", "modified_nanoseconds")  # of a row, that tell


def refuse_changed(path: Path, row: Mapping[str, Any]) -> None:
    """Raise `VideoError`, missing or changed, where the file does not hold what `row` says.

    It is read only where its time differs, as after copying; a row that knows no time (of a training copy) is believed by its size.
    """
    try:
        status = path.stat()
        if row["size_bytes"] not in (None, status.st_size):
            raise VideoError(
                "changed", f"it has {status.st_size} bytes, not {row['size_bytes']}; run `surgrec index` again"
            )
        if row["modified_nanoseconds"] in (None, status.st_mtime_ns):
            return
        digest = sha256_of(path)
    except OSError as error:
        raise VideoError("missing", error.strerror or "") from None
    if digest != row["sha256"]:
        raise VideoError("changed", "it was replaced by another file of the same size; run `surgrec index` again")


def sha256_of(path: Path) -> str:
    """Of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
