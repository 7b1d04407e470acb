"""What a release folder is: its files, and the checksums that hold them together.

In: a folder. Out: its checksums written, or checked file by file. It is its own file because writing (`release`) and reading
(`load`) must agree on every name, and because nothing of a release is read before this check has passed.

    encoder.safetensors          weights, float32                   config.json          architecture, variant, step
    decoder|predictor.safetensors  the other half of the objective  preprocessing.json   what the encoder expects to see
    README.md, CITATION.cff      for people                         videos_seen.csv      ids of what it was trained on, where known
    SHA256SUMS                   of all the others; `sha256sum -c` reads it

The SHA-256 of `SHA256SUMS` is the *checksum of the release*: it stands for every byte of it, wherever and however it is kept.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from surgrec.hub.contents import ReleaseError, refuse_unsafe_content, refuse_unsafe_name

__all__ = ["ReleaseError", "checksum_of", "head_file", "read_sums", "sha256_of", "sums_text", "verify"]

FORMAT_VERSION = 1
ENCODER_FILE = "encoder.safetensors"
CONFIG_FILE = "config.json"
PREPROCESSING_FILE = "preprocessing.json"
CARD_FILE = "README.md"
CITATION_FILE = "CITATION.cff"
SEEN_FILE = "videos_seen.csv"
SUMS_FILE = "SHA256SUMS"
REQUIRED_FILES = (ENCODER_FILE, CONFIG_FILE, PREPROCESSING_FILE)
HEADS = ("decoder", "predictor")

_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")


def head_file(head: str) -> str:
    """The file of a decoder's or predictor's weights."""
    return f"{head}.safetensors"


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_text(folder: Path) -> str:
    """The content of `SHA256SUMS` for the files that lie in `folder` now."""
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in _visible(folder) if name != SUMS_FILE)


def checksum_of(folder: Path) -> str:
    """The checksum of the release in `folder`: the SHA-256 of its `SHA256SUMS`."""
    return sha256_of(folder / SUMS_FILE)


def verify(folder: Path, checksum: str | None = None) -> dict[str, str]:
    """Check every file of a release against `SHA256SUMS`, and that list against `checksum` where it is given; returns name to digest.

    Raises `ReleaseError`, naming the file: one that is missing, changed, not listed, a pickle or an archive by its name or by its bytes,
    or of an unknown format. What git and the hub's client put beside a release (`.git`, `.gitattributes`, `.cache`) is never read.
    """
    sums = read_sums(folder)
    if checksum is not None and (found := checksum_of(folder)) != checksum:
        raise ReleaseError(f"{folder} is another release than was asked for: its checksum is {found}, not {checksum}")
    there = sorted(path.name for path in folder.iterdir())
    for name in sorted({*there, *sums} - {SUMS_FILE}):
        refuse_unsafe_name(folder, name)
    visible = {name for name in there if not name.startswith(".")}
    if unlisted := sorted(visible - set(sums) - {SUMS_FILE}):
        raise ReleaseError(
            f"{folder} holds {unlisted[0]}, which {SUMS_FILE} does not list; remove it or fetch the release anew"
        )
    for name, digest in sums.items():
        refuse_changed(folder, name, digest)
    for name in sums:
        refuse_unsafe_content(folder, name)
    if absent := [name for name in REQUIRED_FILES if name not in sums]:
        raise ReleaseError(f"{folder} is no whole release: {SUMS_FILE} does not list {', '.join(absent)}")
    return sums


def refuse_changed(folder: Path, name: str, digest: str) -> None:
    """Raise `ReleaseError` where a file is missing or has another digest."""
    if not (folder / name).is_file():
        raise ReleaseError(f"{name} is missing from {folder}; fetch the release anew")
    if sha256_of(folder / name) != digest:
        raise ReleaseError(
            f"{name} in {folder} is not the file that {SUMS_FILE} lists; fetch the release anew, or, if you changed it "
            f"yourself, renew its line with sha256sum"
        )


def read_sums(folder: Path) -> dict[str, str]:
    """File names to digests, as `SHA256SUMS` lists them. Raises `ReleaseError` for a missing or malformed list."""
    path = folder / SUMS_FILE
    if not path.is_file():
        raise ReleaseError(f"{folder} is no release: it has no {SUMS_FILE}; `surgrec export` writes releases")
    return parse_sums(path.read_bytes(), path)


def parse_sums(content: bytes, where: object) -> dict[str, str]:
    """The same of the content of a `SHA256SUMS`; `where` it came from stands in the error."""
    sums: dict[str, str] = {}
    for line in content.decode("utf-8", errors="replace").splitlines():
        match = _SUM_LINE.fullmatch(line)
        if (
            match is None
            or match[2].startswith(".")
            or Path(match[2]).name != match[2]
            or match[2] in (*sums, SUMS_FILE)
        ):
            raise ReleaseError(
                f"{where} has a line that is no checksum of a file beside it: {line[:80]!r}; fetch the release anew"
            )
        sums[match[2]] = match[1]
    return sums


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
