"""What a release folder is: its files, and the checksums that hold them together.

In: a folder. Out: its checksums written, or checked file by file. It is its own file because writing (`release`) and reading
(`load`) must agree on every name, and because nothing of a release is read before this check has passed.

    encoder.safetensors          weights, float32                   config.json          architecture, variant, step
    decoder|predictor.safetensors  the other half of the objective  preprocessing.json   what the encoder expects to see
    README.md, CITATION.cff      for people                         SHA256SUMS           of all the others; `sha256sum -c` reads it
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from surgrec.core.errors import UserError

FORMAT_VERSION = 1
ENCODER_FILE = "encoder.safetensors"
CONFIG_FILE = "config.json"
PREPROCESSING_FILE = "preprocessing.json"
CARD_FILE = "README.md"
CITATION_FILE = "CITATION.cff"
SUMS_FILE = "SHA256SUMS"
REQUIRED_FILES = (ENCODER_FILE, CONFIG_FILE, PREPROCESSING_FILE)
HEADS = ("decoder", "predictor")

_PLAIN_SUFFIXES = (".safetensors", ".json", ".md", ".cff")  # formats that hold data and can run nothing
_PICKLE_SUFFIXES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".npy")
_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")


class ReleaseError(UserError):
    """A release folder that is not whole, not what its checksums say, or not safe to read."""


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


def verify(folder: Path) -> dict[str, str]:
    """Check every file of a release against `SHA256SUMS`; returns name to digest.

    Raises `ReleaseError`, naming the file: one that is missing, changed, not listed, a pickle, or of an unknown format. Names
    that begin with a dot (`.git`, `.gitattributes`) are neither checked nor ever read.
    """
    sums = read_sums(folder)
    there = _visible(folder)
    for name in sorted({*there, *sums} - {SUMS_FILE}):
        _refuse_unsafe(folder, name)
    if unlisted := sorted(set(there) - set(sums) - {SUMS_FILE}):
        raise ReleaseError(
            f"{folder} holds {unlisted[0]}, which {SUMS_FILE} does not list; remove it or fetch the release anew"
        )
    for name, digest in sums.items():
        if not (folder / name).is_file():
            raise ReleaseError(f"{name} is missing from {folder}; fetch the release anew")
        if sha256_of(folder / name) != digest:
            raise ReleaseError(
                f"{name} in {folder} is not the file that {SUMS_FILE} lists; fetch the release anew, or, if you changed it "
                f"yourself, renew its line with sha256sum"
            )
    if absent := [name for name in REQUIRED_FILES if name not in sums]:
        raise ReleaseError(f"{folder} is no whole release: {SUMS_FILE} does not list {', '.join(absent)}")
    return sums


def read_sums(folder: Path) -> dict[str, str]:
    """File names to digests, as `SHA256SUMS` lists them. Raises `ReleaseError` for a missing or malformed list."""
    path = folder / SUMS_FILE
    if not path.is_file():
        raise ReleaseError(f"{folder} is no release: it has no {SUMS_FILE}; `surgrec export` writes releases")
    sums: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _SUM_LINE.fullmatch(line)
        if match is None or Path(match[2]).name != match[2] or match[2] in sums:
            raise ReleaseError(
                f"{path} has a line that is no checksum of a file beside it: {line[:80]!r}; fetch the release anew"
            )
        sums[match[2]] = match[1]
    return sums


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _refuse_unsafe(folder: Path, name: str) -> None:
    suffix = Path(name).suffix.lower()
    if suffix in _PICKLE_SUFFIXES:
        raise ReleaseError(f"{folder} holds {name}, a pickle, which can run any code when it is read; remove it")
    if suffix not in _PLAIN_SUFFIXES or (folder / name).is_dir():
        raise ReleaseError(f"{folder} holds {name}, which is no part of a release; remove it")
