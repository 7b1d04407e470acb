"""What a file of a release may hold, by its bytes and not by its name.

In: a file. Out: nothing, or a `ReleaseError` that names it. It is its own file because a name proves nothing: a pickle that is called
`decoder.safetensors` or `README.md` runs its code as soon as somebody opens it with `torch.load`. So every file must be what its suffix
says: safetensors whose header accounts for every byte, JSON, or text that begins as text of its kind does. None of these can be read as a
pickle or as an archive: pickles of protocol 2 and later begin with 0x80, which is no text, the older ones are text that begins with other
letters than these may; archives hold zero bytes, or end with a directory, which the tail of weights is searched for.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from surgrec.core.errors import UserError

_MOST_TEXT_BYTES = 1 << 28
_PICKLE_SUFFIXES = (".bin", ".ckpt", ".dill", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")
# By which text of a kind begins. None of them begins a pickle that could run anything.
_BEGINNINGS = {".md": ("---", "#", "<"), ".cff": ("cff-version:", "#"), ".csv": ("video_id",)}
_BESIDE = (".git", ".cache", ".gitattributes", ".gitignore")  # what git and the hub's client put beside; never read


class ReleaseError(UserError):
    """A release that is not whole, not what its checksums say, or not safe to read."""


def refuse_unsafe_name(folder: object, name: str) -> None:
    """Raise `ReleaseError` for the name of a pickle, of a format that is no part of a release, or of a hidden file."""
    suffix = Path(name).suffix.lower()
    if suffix in _PICKLE_SUFFIXES:
        raise ReleaseError(f"{folder} holds {name}, a pickle, which can run any code when it is read; remove it")
    if name in _BESIDE:
        return
    if name.startswith(".") or "/" in name or suffix not in _CHECKS:
        raise ReleaseError(f"{folder} holds {name}, which is no part of a release; remove it")


def refuse_unsafe_content(folder: Path, name: str) -> None:
    """Raise `ReleaseError` for a file that is not what its suffix says. Reads no more of weights than their header and tail."""
    path = folder / name
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and path.stat().st_size > _MOST_TEXT_BYTES:
        raise ReleaseError(f"{folder} holds {name} of {path.stat().st_size:,} bytes, which no text of a release has")
    reason = _CHECKS[suffix](path)
    if reason is not None:
        raise ReleaseError(f"{folder} holds {name}, which {reason}; fetch the release anew, from where you trust it")


def _of_weights(path: Path) -> str | None:
    """The library checks that the header is JSON, that tensors follow one another without a gap, and that the file ends with the last."""
    try:
        with safe_open(path, "np"):
            pass
    except (SafetensorError, OSError) as error:
        kind = _archive_or_pickle(path)
        return f"is {kind} under the name of weights" if kind else f"is no readable safetensors file ({_line(error)})"
    return "has an archive hidden behind its weights" if zipfile.is_zipfile(path) else None


def _of_json(path: Path) -> str | None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        kind = _archive_or_pickle(path)
        return f"is {kind} under the name of JSON" if kind else f"is no JSON ({_line(error)})"
    return None if isinstance(content, dict | list) else "is no JSON object"


def _of_text(path: Path) -> str | None:
    content = path.read_bytes()
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return f"is {_archive_or_pickle(path) or 'no text'} under the name of text"
    beginnings = _BEGINNINGS[path.suffix.lower()]
    return None if text.startswith(beginnings) else f"does not begin as such a file does ({' or '.join(beginnings)})"


def _archive_or_pickle(path: Path) -> str | None:
    """For the error only: what it is that is no file of a release."""
    with path.open("rb") as file:
        first = file.read(2)
    if zipfile.is_zipfile(path):
        return "a zip archive (torch saves pickles as one)"
    return "a pickle" if first[:1] == b"\x80" else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    ".safetensors": _of_weights,
    ".json": _of_json,
    ".md": _of_text,
    ".cff": _of_text,
    ".csv": _of_text,
}
