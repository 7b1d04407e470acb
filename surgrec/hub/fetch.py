"""From an address to a release folder on this machine.

In: an `Address`. Out: a folder, which nobody has verified for its reader yet. It is its own file because it decides what is kept: releases
from the web lie in the cache under their checksum, so a pinned one is fetched once and for all, and one that changes on its server never
takes the place of another. The cache is `$SURGREC_CACHE`, else `surgrec` in `$XDG_CACHE_HOME` or `~/.cache`; it may be deleted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surgrec.core.atomic import sync_path
from surgrec.core.lock import only_writer
from surgrec.hub.address import Address, Kind
from surgrec.hub.archive import MOST_SUMS_BYTES, sums_in, unpack
from surgrec.hub.contents import ReleaseError, refuse_unsafe_name
from surgrec.hub.folder import SUMS_FILE, checksum_of, parse_sums, refuse_changed, sha256_of, verify
from surgrec.hub.hub_download import fetch_from_hub
from surgrec.hub.web import beside, download, read_small


def fetch(address: Address) -> Path:
    """The folder of a release, fetched first where it is elsewhere. Raises `ReleaseError`; what is not pinned is said in a warning."""
    match address.kind:
        case Kind.folder:
            return address.path
        case Kind.archive:
            return _from_archive(address.path, address.checksum)
        case Kind.hub:
            return fetch_from_hub(address.place, address.revision, address.checksum is not None)
        case Kind.list_url:
            folder = _from_list(address.place, address.checksum)
        case Kind.archive_url:
            folder = _from_archive_url(address.place, address.checksum)
    if address.checksum is None:
        warnings.warn(
            f"{address.place} is not pinned, and may be another release tomorrow; this one is "
            f"{address.place}#sha256={checksum_of(folder)}",
            stacklevel=2,
        )
    return folder


def cache_folder() -> Path:
    """Where releases from elsewhere are kept."""
    own, common = os.environ.get("SURGREC_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return (Path(own) if own else Path(common or "~/.cache") / "surgrec").expanduser() / "releases"


def _from_list(url: str, checksum: str | None) -> Path:
    """The files beside a `SHA256SUMS`, each judged by its name before it is fetched and by its digest after."""
    if checksum is not None and (cache_folder() / checksum).is_dir():
        return cache_folder() / checksum
    content = read_small(url, MOST_SUMS_BYTES, checksum is not None)
    sums = parse_sums(content, url)
    for name in sums:
        refuse_unsafe_name(url, name)
    with _cached(content, checksum, url) as partial:
        for name, digest in sums.items() if partial is not None else ():
            assert partial is not None
            target, part = partial / name, partial / f"{name}.part"
            if target.is_file() and sha256_of(target) == digest:
                continue
            download(beside(url, name), part, checksum is not None)
            part.replace(target)
            try:
                refuse_changed(partial, name, digest)
            except ReleaseError:
                target.unlink()
                raise ReleaseError(
                    f"{name} of {url} is not the file that {SUMS_FILE} lists; tell whoever keeps it there"
                ) from None
    return cache_folder() / hashlib.sha256(content).hexdigest()


def _from_archive_url(url: str, checksum: str | None) -> Path:
    if checksum is not None and (cache_folder() / checksum).is_dir():
        return cache_folder() / checksum
    archive = cache_folder() / f".{hashlib.sha256(url.encode()).hexdigest()[:16]}.partial.zip"
    with only_writer(archive):
        download(url, archive, checksum is not None)  # what breaks off stays, to go on with
        try:
            return _from_archive(archive, checksum, url)
        finally:
            archive.unlink(missing_ok=True)


def _from_archive(archive: Path, checksum: str | None, where: object = None) -> Path:
    content = sums_in(archive)
    with _cached(content, checksum, where or archive) as partial:
        if partial is not None:
            for leftover in partial.iterdir():
                leftover.unlink()
            unpack(archive, partial)
    return cache_folder() / hashlib.sha256(content).hexdigest()


@contextmanager
def _cached(content: bytes, checksum: str | None, where: object) -> Iterator[Path | None]:
    """The folder to fill with the files of the release whose `SHA256SUMS` has this `content`; None where it is in the cache.

    What is filled in is verified and then renamed; what an interruption or an error left is there the next time, for the same release.
    """
    found = hashlib.sha256(content).hexdigest()
    if checksum is not None and found != checksum:
        raise ReleaseError(f"{where} is another release than was asked for: its checksum is {found}, not {checksum}")
    folder = cache_folder() / found
    with only_writer(folder):
        if folder.is_dir():
            yield None
            return
        partial = folder.with_name(f".{found}.partial")
        partial.mkdir(exist_ok=True)
        yield partial
        (partial / SUMS_FILE).write_bytes(content)
        try:
            verify(partial)
        except ReleaseError:
            shutil.rmtree(partial)  # nothing of it is good for a second attempt
            raise
        for path in (*partial.iterdir(), partial):
            sync_path(path)
        partial.rename(folder)
        sync_path(folder.parent)
