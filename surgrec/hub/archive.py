"""A release as one file: a zip archive.

In: a release folder, or an archive. Out: an archive, or a folder. It is its own file because an archive from elsewhere may name paths
outside of its folder, links, the same file twice, or a terabyte of zeros; so nothing is unpacked before its list has been judged. Zip, not
tar: a release is a few plain files, and zip has a directory that can be judged beforehand, and no devices or owners. The same release
always makes the same archive.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from surgrec.core.atomic import atomic_path
from surgrec.hub.contents import ReleaseError, refuse_unsafe_name
from surgrec.hub.folder import SUMS_FILE, parse_sums, verify

MOST_SUMS_BYTES = 1 << 20
_MOST_FILES = 64
# Weights hardly shrink and text does tenfold; zeros shrink a thousandfold.
_MOST_UNPACKED_SHARE = 20
_UNPACKED_BYTES_OF_NO_CONCERN = 1 << 26
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date that the format has
_AT_ONCE = 1 << 20
# What reading an archive raises where bytes of it are damaged; the disk's own errors stay what they are
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, NotImplementedError)


def pack(folder: Path, archive: Path) -> None:
    """Write the release in `folder`, which is verified first, to `archive`, whole or not at all; uncompressed, in no folder."""
    names = sorted(verify(folder))
    with atomic_path(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
        for name in (SUMS_FILE, *names):
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            with (folder / name).open("rb") as source, file.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _AT_ONCE)


def sums_in(archive: Path) -> bytes:
    """The content of the `SHA256SUMS` in an archive, which is judged whole. Raises `ReleaseError`."""
    with _opened(archive) as file:
        return _sums(archive, file, _entries(archive, file))


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a release into the empty `folder`. Where the archive lists what no release has, it raises `ReleaseError` before it writes.

    The content is not compared with the checksums here: `verify` does.
    """
    with _opened(archive) as file:
        entries = _entries(archive, file)
        _sums(archive, file, entries)
        for name, entry in entries.items():
            try:
                with file.open(entry) as source, (folder / name).open("xb") as target:
                    shutil.copyfileobj(source, target, _AT_ONCE)
            except _DAMAGED as error:
                raise ReleaseError(
                    f"{name} in {archive} cannot be unpacked ({error}); fetch the archive anew"
                ) from None


def _opened(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except _DAMAGED as error:
        raise ReleaseError(f"{archive} is no whole zip archive ({error}); fetch it anew") from None


def _entries(archive: Path, file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Plain name to entry. All may lie in one common folder, which is left out; folders have no entry of their own."""
    infos = [info for info in file.infolist() if not info.is_dir()]
    if len(infos) > _MOST_FILES:
        raise ReleaseError(f"{archive} holds {len(infos)} files, which no release has; it was not unpacked")
    parents = {str(PurePosixPath(info.filename).parent) for info in infos}
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        is_plain = kind in (0, stat.S_IFREG) and not info.flag_bits & 0x1
        is_inside = len(parents) == 1 and len(path.parts) <= 2 and ".." not in path.parts and not path.is_absolute()
        if not is_plain or not is_inside or "\\" in info.filename or "\0" in info.orig_filename:
            raise ReleaseError(
                f"{archive} holds {info.filename[:80]!r}, a link, a locked file or a path of its own; it was not unpacked"
            )
        if path.name.lower() in {name.lower() for name in entries}:
            raise ReleaseError(f"{archive} holds {path.name} twice; it was not unpacked")
        most = max(_UNPACKED_BYTES_OF_NO_CONCERN, _MOST_UNPACKED_SHARE * info.compress_size)
        if info.file_size > most:
            raise ReleaseError(
                f"{path.name} in {archive} has {info.compress_size:,} bytes and unpacks to {info.file_size:,}; it was not unpacked"
            )
        entries[path.name] = info
    return entries


def _sums(archive: Path, file: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> bytes:
    """The list of checksums, with which the entries must agree in their names."""
    listed = entries.get(SUMS_FILE)
    if listed is None or listed.file_size > MOST_SUMS_BYTES:
        raise ReleaseError(
            f"{archive} is no release: it has no {SUMS_FILE}; `surgrec publish --zip` writes such archives"
        )
    try:
        content = file.read(listed)
    except _DAMAGED as error:
        raise ReleaseError(f"{SUMS_FILE} in {archive} cannot be unpacked ({error}); fetch the archive anew") from None
    sums = parse_sums(content, f"{SUMS_FILE} in {archive}")
    for name in sorted((entries.keys() | sums) - {SUMS_FILE}):
        refuse_unsafe_name(archive, name)
        if name not in sums or name not in entries:
            what = f"which {SUMS_FILE} does not list" if name in entries else f"but only in {SUMS_FILE}"
            raise ReleaseError(f"{archive} holds {name}, {what}; it was not unpacked")
    return content
