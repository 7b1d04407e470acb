"""Files that are either whole or absent.

In: what to write. Out: a file, or a folder of files, under a temporary name beside its place, flushed to disk, then renamed. It is its
own file because every stage writes files that a later run trusts.
"""

from __future__ import annotations

import glob
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

Content = TypeVar("Content")
_OLD_SECONDS = 600.0
_LEFT_BEHIND_SECONDS = 24 * 3600


def sync_path(path: Path) -> None:
    """Flush a file or a folder's entries to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def real_path(path: Path) -> Path:
    """Where a link leads, which then stays a link; any other path as it is."""
    path = Path(path)
    return path.resolve() if path.is_symlink() else path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, of its suffix; on success fsync and rename it to `path`, else delete it."""
    path = real_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # process numbers repeat on other machines and in containers, which may write the same file on a shared disk at the same time
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{secrets.randbelow(10**9):09d}.partial{path.suffix}")
    try:
        yield temporary
        sync_path(temporary)
        temporary.replace(path)
        sync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of writing `path`; only for whoever is its one writer."""
    path = real_path(path)
    # names have dots, too: what is left of `a.b` is none of `a`
    name = re.compile(re.escape(f".{path.stem}.") + r"\d+" + re.escape(f".partial{path.suffix}"))
    for leftover in path.parent.glob(f".{glob.escape(path.stem)}.*.partial{glob.escape(path.suffix)}"):
        if name.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)


def remove_old_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder that several write to: what nobody has written to for ten minutes."""
    for leftover in Path(folder).glob(".*.partial.*"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime > _OLD_SECONDS:
                leftover.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


def read_or_write(folder: Path, read: Callable[[Path], Content], write: Callable[[Path], object]) -> Content:
    """What `read` makes of `folder`, which `write` fills first where it is not there, and anew where what is there cannot be read: half of
    it deleted, or damaged. Several processes may do this at once."""
    if folder.is_dir():
        try:
            return read(folder)
        except PermissionError:
            raise
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            discarded = folder.with_name(f".{folder.name}.{_unique()}.partial")
            with suppress(FileNotFoundError):  # another process was faster
                folder.rename(discarded)
            shutil.rmtree(discarded, ignore_errors=True)
    partial = partial_folder(folder)
    write(partial)
    publish(partial, folder)
    return read(folder)


def publish(partial: Path, folder: Path) -> None:
    """Give a folder of files its name, unless another process was faster."""
    sync_path(partial)
    try:
        partial.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(partial)
    sync_path(folder.parent)


def partial_folder(folder: Path) -> Path:
    """An empty folder of this process beside `folder`; what killed processes left of it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(".*.partial"):
        if time.time() - leftover.stat().st_mtime > _LEFT_BEHIND_SECONDS:  # its writer may be on another machine
            shutil.rmtree(leftover, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{_unique()}.partial")
    partial.mkdir()
    return partial


def _unique() -> str:
    """Of this process among those of all machines and containers that share a disk, where process numbers repeat."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"
