"""How a checkpoint comes to lie on disk, and goes.

In: a run's `checkpoints/` and the names of steps. Out: folders that are whole or absent at every moment, also to one who looks after a
kill, over a full disk, and on a network file system: written under a temporary name, flushed, renamed, then named by `latest`;
deleted in two steps. It is its own file because the order of these few calls is what a run's safety rests on.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

from surgrec.core.atomic import sync_path, write_text
from surgrec.core.errors import OutageError
from surgrec.training.checkpoint_facts import FACTS_FILE
from surgrec.training.runtime import SharedError

_VISIBLE_SECONDS = 90.0  # NFS remembers up to 60 s that a name was not there (acdirmax)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


class CheckpointError(SharedError):
    """A checkpoint cannot be written, or none can be read; those that were whole still are."""


class CheckpointOutageError(CheckpointError, OutageError):
    """One cannot be written since a disk or a network does not answer."""

    status = OutageError.status


def step_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return folder / f"step_{step:08d}"


def step_of(path: Path) -> int:
    """The reverse."""
    return int(path.name.removeprefix("step_"))


def partial_of(final: Path) -> Path:
    """Where a checkpoint is written before it is whole."""
    return final.with_name(f".{final.name}.partial")


def start_partial(final: Path) -> Path:
    """An empty folder to write the checkpoint `final` into. The first rank calls it."""
    partial = partial_of(final)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    return partial


def publish(partial: Path, final: Path) -> None:
    """Give a folder whose files are all flushed its name, and name it in `latest`. The first rank calls it."""
    sync_path(partial)
    if final.exists():
        delete(final)
    _rename(partial, final)
    sync_path(final.parent)
    await_there(final / FACTS_FILE)
    write_text(final.parent / "latest", final.name + "\n")


def delete(whole: Path) -> None:
    """In two steps, so that a checkpoint is whole or absent even while it goes; what cannot be deleted yet is when the next one goes."""
    going = whole.with_name(f".{whole.name}.old.partial")
    shutil.rmtree(going, ignore_errors=True)
    _rename(whole, going)
    shutil.rmtree(going, ignore_errors=True)


def delete_leftovers(folder: Path) -> None:
    """What interrupted saves and deletions left."""
    for leftover in folder.glob(".step_*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint so that nothing takes it for one; returns its new place, where the last damaged one of this step goes."""
    aside = path.with_name(f"damaged_{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    _rename(path, aside)
    return aside


def await_there(path: Path, seconds: float = _VISIBLE_SECONDS) -> None:
    """Until `path` is seen, which on a network file system may be later than another machine made it. Raises `CheckpointError`."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > deadline:
            raise CheckpointError(
                f"{path} is not to be seen after {seconds:.0f} seconds, though it was written; see to the file system, "
                "then the same command continues"
            )
        for parent in (path.parent.parent, path.parent):  # listing them makes the system ask the server again
            if parent.is_dir():
                os.listdir(parent)  # noqa: PTH208  # nothing but the call is wanted
        time.sleep(0.1)


def _rename(path: Path, target: Path) -> None:
    """Over NFS an answer may be lost and the question repeated: then it fails although it is done."""
    try:
        path.rename(target)
    except FileNotFoundError:
        if path.exists() or not target.exists():
            raise


# -- room


def check_room(folder: Path, num_bytes: int, what: str) -> None:
    """Raises `CheckpointError` where the file system of `folder` has less than `num_bytes` free. A quota shows only while writing."""
    usage = shutil.disk_usage(folder)
    if usage.total > 0 and usage.free < num_bytes:  # some file systems do not tell: all is 0
        raise _no_room(folder, num_bytes, what)


def refused(error: Exception, folder: Path, num_bytes: int, what: str) -> CheckpointError | None:
    """The sentence for what the system refused while `what` was written; None for any other error."""
    cause = system_error(error)
    if cause is None:
        return None
    if cause.errno in _NO_ROOM:
        return _no_room(folder, num_bytes, what, cause.strerror)
    at = f" ({cause.filename})" if cause.filename else ""
    is_right = cause.errno in _NOT_ALLOWED
    advice = "see to its rights" if is_right else "see to the disk or the network"
    return (CheckpointError if is_right else CheckpointOutageError)(
        f"{folder}: {what} ({num_bytes:,} bytes) cannot be written: {cause.strerror}{at}; those before are whole; "
        f"{advice}, then the same command continues"
    )


def _no_room(folder: Path, num_bytes: int, what: str, reason: str | None = None) -> CheckpointError:
    free = shutil.disk_usage(folder).free if folder.exists() else 0
    said = f" ({reason})" if reason else ""
    return CheckpointError(
        f"{folder}: there is no room for {what}{said}: it needs {num_bytes:,} bytes, {free:,} are free; those before are whole; "
        "free some space or lower trainer.keep_checkpoints, then the same command continues"
    )


def system_error(error: BaseException | None) -> OSError | None:
    """What the system said, also where torch raised something else while it closed the file."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        error = error.__cause__ or error.__context__
    return None
