"""Where a release is, and which one exactly.

In: what a user writes: a folder, an archive, a name on the Hugging Face hub, a URL; with or without pins. Out: an `Address`. It is its own
file because every command and `init=surgrec:...` take the same text, so the pins must fit into it:

    releases/jepa                                   a folder that `surgrec export` wrote
    jepa.zip                                        a release as one file, by `surgrec publish --zip`
    surgeons/surgrec-jepa@COMMIT                    of the hub, at a commit (40 hexadecimal digits), branch or tag
    https://example.org/jepa/SHA256SUMS             a release on any web server: the list, and the files beside it
    https://example.org/jepa.zip                    or the archive
    ...#sha256=CHECKSUM                             after any of these: the checksum of the release, which then must be this one
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from surgrec.hub.contents import ReleaseError
from surgrec.hub.folder import SUMS_FILE

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_CHECKSUM = re.compile(r"[0-9a-fA-F]{64}")
_PIN = "#sha256="
COMMIT = re.compile(r"[0-9a-f]{40}")


class Kind(Enum):
    """What is found at an address."""

    folder = "a release folder"
    archive = "an archive of a release"
    hub = "a repository on the hub"
    list_url = "the URL of a SHA256SUMS"
    archive_url = "the URL of an archive"


@dataclass(frozen=True)
class Address:
    """`place`: path, name or URL without pins; `revision` of the hub; `checksum`: what that of the release must be."""

    kind: Kind
    place: str
    revision: str | None = None
    checksum: str | None = None

    @property
    def path(self) -> Path:
        """Of a folder or archive on this machine."""
        return Path(self.place).expanduser()


def parse_address(text: str | Path, revision: str | None = None, checksum: str | None = None) -> Address:
    """Read an address. `revision` and `checksum` say the same as pins in `text`; raises `ReleaseError` where they contradict them, for a
    revision of anything but the hub, and for what is neither there nor a name of the hub nor a URL."""
    place, inner = without_checksum(str(text))
    checksum = _agreed("checksum", inner, checksum)
    if checksum is not None and not _CHECKSUM.fullmatch(checksum):
        raise ReleaseError(
            f"the checksum {checksum!r} is not 64 hexadecimal digits; `surgrec publish` prints that of a release"
        )
    checksum = None if checksum is None else checksum.lower()
    kind = _kind_here(place) or _kind_of_url(place)
    if kind is not None:
        if revision is not None:
            raise ReleaseError(
                f"{place} has no revisions, so revision={revision} means nothing; pin it with its checksum"
            )
        return Address(kind, place, None, checksum)
    name, _, inner_revision = place.partition("@")
    if not _HUB_NAME.fullmatch(name):
        raise ReleaseError(f"there is no release folder {place}; `surgrec export` writes one")
    return Address(Kind.hub, name, _agreed("revision", inner_revision or None, revision), checksum)


def without_checksum(text: str) -> tuple[str, str | None]:
    """An address without its pin `#sha256=CHECKSUM`, and that checksum where it has one."""
    if _PIN not in text or Path(text).expanduser().exists():
        return text, None
    place, _, checksum = text.rpartition(_PIN)
    return place, checksum


def _agreed(what: str, inner: str | None, given: str | None) -> str | None:
    if inner is not None and given is not None and inner.lower() != given.lower():
        raise ReleaseError(f"the address says {what} {inner} and the argument {given}; give one of them")
    return given if inner is None else inner


def _kind_here(place: str) -> Kind | None:
    path = Path(place).expanduser()
    if path.is_dir():
        return Kind.folder
    if not path.exists():
        return None
    if path.suffix.lower() != ".zip" or not path.is_file():
        raise ReleaseError(f"{path} is a file; give the release folder that `surgrec export` wrote, or a .zip of it")
    return Kind.archive


def _kind_of_url(place: str) -> Kind | None:
    if "://" not in place:
        return None
    parts = urlsplit(place)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ReleaseError(f"{place} is no address of a web server; give one that begins with https://")
    name = PurePosixPath(parts.path).name
    if name == SUMS_FILE:
        return Kind.list_url
    if name.lower().endswith(".zip"):
        return Kind.archive_url
    raise ReleaseError(f"{place} is neither the {SUMS_FILE} of a release nor a .zip of one; give the URL of either")
