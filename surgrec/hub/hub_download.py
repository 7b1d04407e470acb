"""Releases from the Hugging Face hub.

In: the name of a repository and a revision. Out: the folder of a snapshot in the cache of `huggingface_hub`. It is its own file because a
repository is a stranger's folder: its list of files is judged before anything is fetched, a pickle in it is refused and not only left
there, and what was loaded can be named exactly, by its commit.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

from surgrec.hub import folder as layout
from surgrec.hub.address import COMMIT
from surgrec.hub.contents import ReleaseError, refuse_unsafe_name
from surgrec.hub.folder import HEADS, head_file, read_sums

_WANTED = (
    *(getattr(layout, constant) for constant in dir(layout) if constant.endswith("_FILE")),
    *map(head_file, HEADS),
)


def fetch_from_hub(name: str, revision: str | None, is_pinned: bool) -> Path:
    """The snapshot of a repository at `revision` (a commit, branch or tag; None: the newest).

    A commit that is whole in the cache is taken from there, without asking. For anything else the hub is asked which commit that is, and
    unless the release is pinned by its checksum a warning names it. Raises `ReleaseError`.
    """
    client = hub_client(name)
    cached = _in_cache(client, name, revision) if revision is not None and COMMIT.fullmatch(revision) else None
    if cached is not None:
        return cached
    try:
        info = client.HfApi().model_info(name, revision=revision)
        commit = str(info.sha)
        files = [sibling.rfilename for sibling in info.siblings or ()]
        for file in sorted(set(files) - {layout.SUMS_FILE}):
            refuse_unsafe_name(f"{name} at {commit}", file)
        folder = Path(client.snapshot_download(name, revision=commit, allow_patterns=list(_WANTED)))
    except hub_errors() as error:
        raise ReleaseError(
            f"there is no release folder {name} here, and the Hugging Face hub did not give one of that name "
            f"({told(error)}); check the name, the connection and the rights to it"
        ) from None
    if commit != revision and not is_pinned:
        warnings.warn(
            f"{name} is not pinned, and may be another release tomorrow; this one is {name}@{commit}", stacklevel=3
        )
    return folder


def hub_client(name: str) -> Any:
    """The package `huggingface_hub`. Raises `ReleaseError` where it is not installed."""
    try:
        import huggingface_hub
    except ImportError:
        raise ReleaseError(
            f"there is no folder {name} here, and for the Hugging Face hub the package huggingface_hub is needed: "
            "pip install huggingface_hub"
        ) from None
    return huggingface_hub


def hub_errors() -> tuple[type[Exception], ...]:
    """What a call of the hub's client ends in where the hub refuses or cannot be reached; its errors of connections are no `OSError`s."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return (HfHubHTTPError, HFValidationError, OSError, RuntimeError, ValueError, *_transport_errors())


def _transport_errors() -> tuple[type[Exception], ...]:
    """Of the HTTP library of the client, which changed from version to version."""
    found: list[type[Exception]] = []
    for package in ("httpx2", "httpx"):
        try:
            found.append(importlib.import_module(package).HTTPError)
        except ImportError:
            continue
    return tuple(found)


def told(error: Exception) -> str:
    """An error of the client on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _in_cache(client: Any, name: str, commit: str) -> Path | None:
    """The snapshot of a commit where the cache has all files that it lists."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            client.snapshot_download(name, revision=commit, allow_patterns=list(_WANTED), local_files_only=True)
        )
        return folder if all((folder / file).is_file() for file in read_sums(folder)) else None
    except (LocalEntryNotFoundError, ReleaseError, ValueError):
        return None
