"""Features as Zarr: one group a video.

In: chunks of features. Out: a Zarr hierarchy (format 3). It is its own file because a group is many files: it grows under a name that
begins with a dot and moves to its own when it is whole.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zarr

from surgrec.core.atomic import sync_path
from surgrec.features.origin import Chunks, Origin, StoreError
from surgrec.features.windows import WindowFeatures

MARKER = "zarr.json"
SUFFIX = ".partial"


class ZarrStore:
    """`FEATURES/VIDEO_ID/` holds `features` (n, ...), `start_seconds`, `end_seconds`, `valid` and `padded` (n,).

    The attributes `surgrec` of the root and of every group tell the origin, `features_sha256` of a group the digest of its features.
    """

    def __init__(self, path: Path, origin: Origin) -> None:
        self.path, self.origin = path, origin

    @classmethod
    def create(cls, path: Path, origin: Origin) -> ZarrStore:
        """A new, empty store in an absent or empty folder."""
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new.", dir=path) as folder:  # other shards may begin at the same time
            zarr.create_group(store=folder, zarr_format=3, attributes={"surgrec": origin.to_dict()})
            sync_path(Path(folder) / MARKER)
            (Path(folder) / MARKER).replace(path / MARKER)
        sync_path(path)
        return cls(path, origin)

    @classmethod
    def open(cls, path: Path) -> ZarrStore:
        """The store in `path`. Raises `StoreError` for a Zarr group of somebody else."""
        attributes = dict(zarr.open_group(path, mode="r").attrs)
        if "surgrec" not in attributes:
            raise StoreError(f"{path} is a Zarr group that surgrec did not write; choose another --out")
        return cls(path, Origin.from_dict(attributes["surgrec"]))  # type: ignore[arg-type]

    def video_ids(self) -> set[str]:
        """The videos whose features are there, whole."""
        return {entry.name for entry in self.path.iterdir() if (entry / MARKER).is_file()}

    @contextmanager
    def writer(self, video_id: str, num_windows: int) -> Iterator[Chunks]:
        """Takes the features of one video; it is in the store once the context ends without an exception, else it is not."""
        unique = re.compile(re.escape(f".{video_id}.") + r"[^.]+" + re.escape(SUFFIX))  # ids have dots, too
        for entry in list(self.path.iterdir()):
            if unique.fullmatch(entry.name):  # of a killed process: a video has one writer
                shutil.rmtree(entry, ignore_errors=True)
        with TemporaryDirectory(prefix=f".{video_id}.", suffix=SUFFIX, dir=self.path) as folder:
            partial = Path(folder) / video_id
            group = zarr.create_group(store=partial, zarr_format=3, attributes=self._attributes(video_id))
            arrays = self._arrays(group, num_windows)

            def write(first: int, block: WindowFeatures) -> None:
                for name, values in _columns(block).items():
                    arrays[name][first : first + len(block)] = values.astype(arrays[name].dtype)

            chunks = Chunks(self.origin, num_windows, write)
            yield chunks
            chunks.finish()
            group.attrs["features_sha256"] = chunks.features_sha256
            for path in [*partial.rglob("*"), partial]:
                sync_path(path)
            partial.rename(self.path / video_id)
            sync_path(self.path)

    def read(self, video_id: str) -> WindowFeatures:
        """All windows of a video. Raises `KeyError` where it is not there."""
        if video_id not in self.video_ids():
            raise KeyError(video_id)
        group = zarr.open_group(self.path / video_id, mode="r")
        names = ("start_seconds", "end_seconds", "valid", "padded", "features")
        return WindowFeatures(*(np.asarray(group[name][:]) for name in names))  # type: ignore[index]

    def _attributes(self, video_id: str) -> dict[str, Any]:
        return {"video_id": video_id, "surgrec": self.origin.to_dict()}

    def _arrays(self, group: zarr.Group, num_windows: int) -> dict[str, zarr.Array]:
        per_chunk = min(num_windows, self.origin.windows_per_chunk)
        shape = self.origin.feature_shape
        layers = ["layer"] if self.origin.layers else []
        axes = {"pooled": ["feature"], "time": ["time", "feature"], "all": ["token", "feature"]}[self.origin.layout]
        arrays = {
            "features": group.create_array(
                "features", shape=(num_windows, *shape), chunks=(per_chunk, *shape), dtype=self.origin.dtype,
                fill_value=np.nan, dimension_names=["window", *layers, *axes],
            )
        }  # fmt: skip
        for name, dtype in (("start_seconds", "f8"), ("end_seconds", "f8"), ("valid", "?"), ("padded", "?")):
            arrays[name] = group.create_array(
                name, shape=(num_windows,), chunks=(num_windows,), dtype=dtype, dimension_names=["window"]
            )
        return arrays


def _columns(block: WindowFeatures) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "features": block.features,
        "start_seconds": block.start_seconds,
        "end_seconds": block.end_seconds,
        "valid": block.is_valid,
        "padded": block.is_padded,
    }
