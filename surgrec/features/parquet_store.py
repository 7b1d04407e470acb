"""Features as Parquet: one file a video, one row a window.

In: chunks of features. Out: a folder that pandas, pyarrow, DuckDB or R read as one table. It is its own file because rows need a
flat form of what Zarr keeps as arrays; the shape of a row's feature is in the marker and in each file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from surgrec.core.atomic import atomic_path, remove_leftovers, sync_path, write_json
from surgrec.features.origin import Chunks, Origin, StoreError
from surgrec.features.windows import WindowFeatures

MARKER = "_features.json"  # readers of a folder of Parquet files pass over names that begin with an underscore or a dot


class ParquetStore:
    """`FEATURES/VIDEO_ID.parquet` has the columns video_id, window, start_seconds, end_seconds, valid, padded, feature (flat).

    The metadata of each file have the origin (`surgrec`) and the digest of its features (`features_sha256`).
    """

    def __init__(self, path: Path, origin: Origin) -> None:
        self.path, self.origin = path, origin

    @classmethod
    def create(cls, path: Path, origin: Origin) -> ParquetStore:
        """A new, empty store in an absent or empty folder."""
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new.", dir=path) as folder:  # other shards may begin at the same time
            write_json(Path(folder) / MARKER, origin.to_dict())
            (Path(folder) / MARKER).replace(path / MARKER)
        sync_path(path)
        return cls(path, origin)

    @classmethod
    def open(cls, path: Path) -> ParquetStore:
        """The store in `path`. Raises `StoreError` for a damaged one."""
        try:
            return cls(path, Origin.from_dict(json.loads((path / MARKER).read_text(encoding="utf-8"))))
        except (ValueError, AttributeError):
            raise StoreError(f"{path / MARKER} is damaged; choose another --out") from None

    def video_ids(self) -> set[str]:
        """The videos whose features are there, whole."""
        return {file.name.removesuffix(".parquet") for file in self.path.glob("[!.]*.parquet")}

    @contextmanager
    def writer(self, video_id: str, num_windows: int) -> Iterator[Chunks]:
        """Takes the features of one video; it is in the store once the context ends without an exception, else it is not."""
        schema = self._schema()
        remove_leftovers(self.path / f"{video_id}.parquet")  # of a killed process: a video has one writer
        with (
            atomic_path(self.path / f"{video_id}.parquet") as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as file,
        ):
            chunks = Chunks(
                self.origin,
                num_windows,
                lambda first, block: file.write_table(self._table(video_id, first, block, schema)),
            )
            yield chunks
            chunks.finish()
            file.add_key_value_metadata({"features_sha256": chunks.features_sha256})

    def read(self, video_id: str) -> WindowFeatures:
        """All windows of a video. Raises `KeyError` where it is not there."""
        if video_id not in self.video_ids():
            raise KeyError(video_id)
        table = pq.read_table(self.path / f"{video_id}.parquet", partitioning=None).combine_chunks()
        flat = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return WindowFeatures(
            table["start_seconds"].to_numpy(),
            table["end_seconds"].to_numpy(),
            table["valid"].to_numpy().astype(bool),
            table["padded"].to_numpy().astype(bool),
            flat.reshape(len(table), *self.origin.feature_shape),
        )

    def _schema(self) -> pa.Schema:
        number = pa.float16() if self.origin.dtype == "float16" else pa.float32()
        columns = [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("window", pa.int64(), nullable=False),
            pa.field("start_seconds", pa.float64(), nullable=False),
            pa.field("end_seconds", pa.float64(), nullable=False),
            pa.field("valid", pa.bool_(), nullable=False),
            pa.field("padded", pa.bool_(), nullable=False),
            pa.field("feature", pa.list_(pa.field("item", number, nullable=False)), nullable=False),
        ]
        return pa.schema(columns, metadata={"surgrec": json.dumps(self.origin.to_dict())})

    def _table(self, video_id: str, first: int, block: WindowFeatures, schema: pa.Schema) -> pa.Table:
        size = int(np.prod(self.origin.feature_shape))
        flat = pa.array(block.features.astype(self.origin.dtype).ravel())
        offsets = pa.array(np.arange(len(block) + 1, dtype=np.int32) * size)
        columns = [
            pa.array([video_id] * len(block)),
            pa.array(np.arange(first, first + len(block))),
            pa.array(block.start_seconds),
            pa.array(block.end_seconds),
            pa.array(block.is_valid),
            pa.array(block.is_padded),
            pa.ListArray.from_arrays(offsets, flat, type=schema.field("feature").type),
        ]
        return pa.table(columns, schema=schema)
