"""What is known of a checkpoint, and what it is judged by.

In: the files of a checkpoint and the run that wrote them. Out: `checkpoint.json`, written last into its folder: sizes and SHA-256 of all
other files, the run's progress, and with which software, on how many processes and from what footage it was written; and whether the
files still are those. It is its own file because writing, choosing and loading rest on the same facts. The sum over the facts
themselves shows that nobody changed one. A checkpoint of a version without such a file has `progress.json`: its sums are unknown.
"""

from __future__ import annotations

import errno
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import surgrec
from surgrec.core.atomic import write_text
from surgrec.core.errors import UserError
from surgrec.training.progress import Progress

FACTS_FILE = "checkpoint.json"
CONFIG_FILE = "config.yaml"
_OLD_PROGRESS_FILE = "progress.json"  # all that an older version wrote
_FORMAT = 1


@dataclass(frozen=True)
class FileSum:
    """Of one file: its size, and the SHA-256 of its content."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint comes from: the run's configuration, its manifest's fingerprint, how processes shared the work."""

    config_file: Path
    manifest_fingerprint: str
    strategy: str


def software() -> dict[str, str]:
    """Name to version."""
    return {"surgrec": surgrec.__version__, "torch": torch.__version__, "python": platform.python_version()}


@dataclass(frozen=True)
class CheckpointFacts:
    """All that is known of a checkpoint. `files` is None where an older version wrote it, `strategy` and `manifest_fingerprint` where its
    modules were not those of a configured run.
    """

    progress: Progress
    world_size: int | None = None
    strategy: str | None = None
    manifest_fingerprint: str | None = None
    software: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, FileSum] | None = None

    def write(self, folder: Path) -> None:
        """Put them into the checkpoint `folder`, whole or not at all."""
        values = {"format": _FORMAT, "step": self.progress.step, **asdict(self), "progress": self.progress.to_values()}
        write_text(folder / FACTS_FILE, json.dumps({"sha256": _sum_of(values), **values}, indent=1) + "\n")


class DamagedError(UserError):
    """A checkpoint is not what was written. Its arguments: the folder, and what of it is not."""

    @property
    def fault(self) -> str:
        """What of it is not what was written."""
        return str(self.args[1])

    def __str__(self) -> str:
        return f"{self.args[0]} is damaged: {self.fault}; take another checkpoint"


def read_facts(folder: Path) -> CheckpointFacts:
    """The facts of the checkpoint `folder`. Raises `DamagedError` where there are none, or not those that were written, and `OSError`
    where that cannot be told.
    """
    try:
        values = _read_json(folder / FACTS_FILE)
        if values is not None:
            return _facts_in(folder, values)
        old = _read_json(folder / _OLD_PROGRESS_FILE)
        if old is not None:
            return CheckpointFacts(Progress.from_values(old))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, OSError) and not _is_damage(error):
            raise
        raise DamagedError(folder, f"{FACTS_FILE} cannot be read ({type(error).__name__})") from error
    raise DamagedError(folder, f"{FACTS_FILE} is missing")


def _facts_in(folder: Path, values: dict[str, Any]) -> CheckpointFacts:
    if values.pop("sha256", None) != _sum_of(values):
        raise DamagedError(folder, f"{FACTS_FILE} is not what was written")
    if values["format"] > _FORMAT:
        raise UserError(
            f"{folder} was written by a newer version of surgrec; update surgrec, then run the same command again"
        )
    known = {name: values[name] for name in ("world_size", "strategy", "manifest_fingerprint", "software")}
    sums = values["files"]
    files = None if sums is None else {name: FileSum(**each) for name, each in sums.items()}
    return CheckpointFacts(Progress.from_values(values["progress"]), files=files, **known)


def read_progress(folder: Path) -> Progress:
    """The progress that the checkpoint `folder` holds. Raises `DamagedError`."""
    return read_facts(folder).progress


def size_fault(folder: Path, facts: CheckpointFacts) -> str | None:
    """What is missing or of another size, without reading the files; None where nothing is."""
    for name, wanted in (facts.files or {}).items():
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            if not _is_damage(error):
                raise
            return f"{name} is missing"
        if size != wanted.num_bytes:
            return f"{name} has {size:,} bytes, not {wanted.num_bytes:,}"
    return None


def sum_fault(folder: Path, facts: CheckpointFacts, names: list[str]) -> str | None:
    """Which of the files `names` is not what was written; None where all are. Reads them whole."""
    for name in names:
        try:
            found = file_sum(folder / name)
        except OSError as error:
            if not _is_damage(error):
                raise
            return f"{name} cannot be read ({error.strerror})"
        if facts.files is not None and found != facts.files[name]:
            return f"{name} is not what was written (SHA-256)"
    return None


def file_sum(path: Path) -> FileSum:
    """Of the file as it is. Other threads go on meanwhile."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileSum(file.tell(), digest.hexdigest())


def _is_damage(error: OSError) -> bool:
    """Whether the file is not whole; not that this user may not read it, or that a server does not answer: then it may well be."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} holds no object")
    return values


def _sum_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
