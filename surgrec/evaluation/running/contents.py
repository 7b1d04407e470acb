"""What a video is, by its bytes.

In: a file, or a folder of pictures. Out: a digest of what is in it. It is its own file because features are kept by content: a video that
was replaced under its name must never be answered with the features of the old one. The digest of a file is its SHA-256, as in a
manifest, so that test videos can be looked for among those of a pretraining.

Digests are noted beside the features, under a hash of path, size and time of change, so that a terabyte is read once. The notes hold no
names.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from surgrec.core.atomic import write_json
from surgrec.core.errors import UserError

_BLOCK_BYTES = 1 << 22


class Contents:
    """Digests of videos; `file`: where they are noted."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._noted: dict[str, str] = _read(file)
        self._is_changed = False

    def of(self, video: Path) -> str:
        """64 hexadecimal digits. Raises `UserError` where the video is not there."""
        key = _state(video)
        if key not in self._noted:
            self._noted[key] = _digest(video)
            self._is_changed = True
        return self._noted[key]

    def save(self) -> None:
        """Note what is new. Of several processes the last one's notes stay; what others noted is read again when it is needed."""
        if self._is_changed:
            write_json(self._file, _read(self._file) | self._noted)
            self._is_changed = False


def _read(file: Path) -> dict[str, str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # it only saves time
    return content if isinstance(content, dict) else {}


def _files(video: Path) -> list[Path]:
    if video.is_dir():
        return sorted(path for path in video.iterdir() if path.is_file())
    if not video.is_file():
        raise UserError("a video of the task is not where the task says; put the archive back, or leave the task out")
    return [video]


def _state(video: Path) -> str:
    stats = [(path.name, path.stat()) for path in _files(video)]
    told = ["sha256", str(video.resolve()), *(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)]
    return hashlib.blake2b("\n".join(told).encode(), digest_size=16).hexdigest()


def _digest(video: Path) -> str:
    digest = hashlib.sha256()
    for path in _files(video):
        if video.is_dir():  # whose pictures stand in the order of their names
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
