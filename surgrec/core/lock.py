"""One writer at a time.

In: the path of a file that a command rewrites. Out: a context in which no other process holds the same. It is its own file because
a manifest is read, changed and written by several commands, and two at once would lose what one of them did.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surgrec.core.atomic import real_path
from surgrec.core.errors import UserError


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, which need not exist. The system gives it back however this process ends.

    Raises `UserError` where another process holds it. Between machines it holds where their common file system has locks.
    """
    path = real_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f".{path.name}.lock")
    descriptor = _locked(file)
    if descriptor is None:
        raise UserError(f"another surgrec command is writing {path}; wait for it, then run this again")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # while it is held: whoever opened it before finds that it has no name any more
        os.close(descriptor)


def _locked(file: Path) -> int | None:
    """A descriptor of `file` that holds its lock; None where another process has it."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_still(descriptor, file):
            return descriptor
        os.close(descriptor)


def _is_still(descriptor: int, file: Path) -> bool:
    """Whether `file` names what `descriptor` has open, not a later file after its holder removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
