"""Where features are kept: Zarr or Parquet, one entry a video, each whole or absent.

In: a folder. Out: a `FeatureStore` that NumPy, pandas and friends can read without torch and without surgrec. It is its own file
because it decides who may write: a store knows which model made it and takes no features of another.

    FEATURES/VIDEO_ID/{features,start_seconds,end_seconds,valid,padded}    zarr.open_group("FEATURES")["VIDEO_ID/features"]
    FEATURES/VIDEO_ID.parquet                                              pandas.read_parquet("FEATURES")
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Literal, Protocol, get_args

from surgrec.features import parquet_store, zarr_store
from surgrec.features.origin import Chunks, Origin, StoreError
from surgrec.features.parquet_store import ParquetStore
from surgrec.features.parts import PARTIAL, remove_of_whole
from surgrec.features.windows import WindowFeatures
from surgrec.features.zarr_store import ZarrStore

Format = Literal["zarr", "parquet"]
LEFT_BEHIND_SECONDS = 3600.0
_VIDEO_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class FeatureStore(Protocol):
    """A folder of features. `origin` says which model they come from, and how."""

    path: Path
    origin: Origin

    def video_ids(self) -> set[str]:
        """The videos whose features are there, whole."""
        ...

    def writer(self, video_id: str, num_windows: int) -> AbstractContextManager[Chunks]:
        """Takes the features of one video; it is in the store once the context ends without an exception, else it is not."""
        ...

    def read(self, video_id: str) -> WindowFeatures:
        """All windows of a video. Raises `KeyError` where it is not there."""
        ...


def open_store(path: Path) -> FeatureStore:
    """The store that lies in `path`, whatever its format. Raises `StoreError` where there is none."""
    path = Path(path)
    if (path / parquet_store.MARKER).is_file():
        return ParquetStore.open(path)
    if (path / zarr_store.MARKER).is_file():
        return ZarrStore.open(path)
    raise StoreError(f"{path} holds no features; `surgrec extract` writes them")


def claim_store(path: Path, file_format: str, origin: Origin, is_shared: bool = False) -> FeatureStore:
    """The store in `path` to add features of `origin` to, made where there is none. What a killed process left half written is removed,
    where other processes may be writing too (`is_shared`) only after an hour.

    Raises `StoreError` where the folder holds something else, or features of another model, layout, stride or format.
    """
    path = Path(path)
    if file_format not in get_args(Format):
        raise StoreError(f"there is no format {file_format!r}; choose one of {', '.join(get_args(Format))}")
    kind = ZarrStore if file_format == "zarr" else ParquetStore
    if not path.exists() or (path.is_dir() and not any(entry for entry in path.iterdir() if _is_content(entry))):
        return kind.create(path, origin)
    if not path.is_dir() or not any((path / marker).is_file() for marker in (parquet_store.MARKER, zarr_store.MARKER)):
        raise StoreError(f"{path} exists and holds no features; choose another --out")
    store = open_store(path)
    if not isinstance(store, kind):
        raise StoreError(
            f"{path} holds features in another format than {file_format}; choose another --out or --format"
        )
    if differing := origin.differences(store.origin):
        raise StoreError(
            f"{path} holds features of another extraction (different: {', '.join(differing)}); choose another --out"
        )
    _clear_leftovers(path, LEFT_BEHIND_SECONDS if is_shared else 0.0)
    remove_of_whole(path, store.video_ids())
    return store


def _is_content(entry: Path) -> bool:
    """Not what another shard has just begun."""
    return not entry.name.startswith(".new.")


def check_video_id(video_id: str) -> None:
    """Raise `StoreError` for an id that cannot name a file."""
    if not _VIDEO_ID.fullmatch(video_id):
        raise StoreError(f"the video_id {video_id!r} has other signs than letters, digits, dot, dash and underscore")


def _clear_leftovers(path: Path, seconds: float) -> None:
    """Remove what was half written that long ago. Parts of videos stay: they are whole."""
    for leftover in [*path.glob(".*.partial.parquet"), *path.glob(f".*{zarr_store.SUFFIX}"), *path.glob(".new.*")]:
        if leftover.name == PARTIAL:
            continue
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime < seconds:
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()
