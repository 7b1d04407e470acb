"""The manifest: one row per video, the table that the rest of the house reads instead of folders.

In: Parquet files (or rows of a scan). Out: a checked `Manifest`. It is its own file because its columns are a contract with
users and with every later stage. `root` and `path` are the only columns that hold a file name: the manifest is the ledger,
everything else names a video by its `video_id`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from surgrec.core.atomic import atomic_path
from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.ledger import Ledger

SCHEMA_VERSION = 1
_ROUNDING_SECONDS = 1e-3
FINGERPRINT_VERSION = 2  # how `Manifest.fingerprint` is computed
_ROWS_AT_ONCE = 1 << 18
DOMAINS = ("endoscopy", "laparoscopy", "cataract", "robotic", "other")

SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("procedure", pa.string()),
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("root", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("num_frames", pa.int64(), nullable=False),
        pa.field("duration_seconds", pa.float64(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("codec", pa.string(), nullable=False),
        pa.field(
            "usable",
            pa.list_(pa.struct([pa.field("start_seconds", pa.float64()), pa.field("end_seconds", pa.float64())])),
            nullable=False,
        ),
        pa.field("licence", pa.string()),
        pa.field("split", pa.string()),
        pa.field("schema_version", pa.int32(), nullable=False),
        # Beyond the published columns: what tells `surgrec index` that a file has not changed since it was read.
        pa.field("size_bytes", pa.int64()),
        pa.field("modified_nanoseconds", pa.int64()),
        # Pixels of the upright picture, even numbers: what is inside bars and black corners, written by `surgrec filter` and cut out by
        # `surgrec prepare`; null: unknown.
        pa.field("content_box", pa.struct([pa.field(edge, pa.int32()) for edge in ("left", "top", "right", "bottom")])),
        # Of the file that this training copy was made from; null for an original.
        pa.field("original_sha256", pa.string()),
    ]
)
_OPTIONAL = ("size_bytes", "modified_nanoseconds", "content_box", "original_sha256")
_PLACE = ("root", "path", *_OPTIONAL)  # where a copy of the corpus lies, and what no run reads; no part of what it is


class ManifestError(UserError):
    """A manifest that is missing, damaged, empty or contradicts itself."""


@dataclass(frozen=True)
class Manifest:
    """A table with the columns of `SCHEMA`, one row per video, `video_id` unique."""

    table: pa.Table

    @classmethod
    def read(cls, paths: Sequence[Path], as_is: bool = False) -> Manifest:
        """Read Parquet manifests one after another.

        Raises `ManifestError`; also for manifests that list nothing, or a video which a ledger has removed, unless `as_is`: to be
        mended.
        """
        if not paths:
            raise ManifestError("no manifest was named; write one with `surgrec index` or `surgrec synthesize`")
        tables = [_read_table(Path(path)) for path in paths]
        if not as_is:
            for path, each in zip(paths, tables, strict=True):
                _refuse_removed(Path(path), each)
        named = ", ".join(str(path) for path in paths)
        table = pa.concat_tables(tables).combine_chunks()
        if len(table) == 0 and not as_is:
            raise ManifestError(f"the manifest {named} lists no videos; index a folder that holds some")
        return cls(checked(table, named))

    def write(self, path: Path) -> None:
        """Write as Parquet, whole or not at all."""
        with atomic_path(path) as temporary:
            pq.write_table(self.table, temporary, compression="zstd")

    def __len__(self) -> int:
        return len(self.table)

    def path_of(self, row: int) -> Path:
        """Where the video of `row` lies."""
        return Path(self.table["root"][row].as_py()) / self.table["path"][row].as_py()

    def column(self, name: str) -> npt.NDArray:
        """A column as a NumPy array (strings as objects; not for `usable`)."""
        return self.table[name].to_numpy()

    @cached_property
    def video_ids(self) -> npt.NDArray[np.str_]:
        """Of each row, (num_videos,)."""
        return self.column("video_id").astype(np.str_)

    @cached_property
    def sources(self) -> npt.NDArray[np.str_]:
        """Of each row, (num_videos,)."""
        return self.column("source").astype(np.str_)

    def id_of(self, row: int) -> str:
        """The `video_id` of one row; cheap in a manifest of any size, which `video_ids` is not."""
        return str(self.table["video_id"][row].as_py())

    @property
    def ids(self) -> Sequence[str]:
        """The `video_id` of each row, looked up where it is asked for."""
        return _Ids(self)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the rows say, whatever their order and wherever the files lie: column by column, in the order of the ids."""
        order = pc.sort_indices(self.table["video_id"])
        digest = hashlib.sha256(f"{FINGERPRINT_VERSION}/{len(self)}".encode())
        for field in SCHEMA:
            if field.name not in _PLACE:
                digest.update(field.name.encode())
                column = self.table[field.name]
                for first in range(0, len(self), _ROWS_AT_ONCE):
                    part = column.take(order.slice(first, _ROWS_AT_ONCE)).combine_chunks()
                    for piece in _bytes_of(part):
                        digest.update(piece)
        return digest.hexdigest()


class _Ids(Sequence[str]):
    """The ids of a manifest, none of them copied."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def __len__(self) -> int:
        return len(self._manifest)

    def __getitem__(self, row: Any) -> Any:
        return self._manifest.id_of(range(len(self))[row])


def _bytes_of(values: pa.Array) -> Iterator[bytes | memoryview]:
    """What an array says, the same for equal values however they are kept in memory."""
    yield np.packbits(values.is_valid().to_numpy(zero_copy_only=False)).tobytes()
    if pa.types.is_struct(values.type):
        for field in values.type:
            yield from _bytes_of(pc.struct_field(values, field.name))
    elif pa.types.is_list(values.type):
        yield pc.fill_null(pc.list_value_length(values), 0).to_numpy().tobytes()
        yield from _bytes_of(pc.list_flatten(values))
    elif pa.types.is_string(values.type):
        filled = pc.fill_null(values, "")
        yield pc.binary_length(filled).to_numpy().tobytes()
        _, offsets, text = filled.buffers()
        if text is not None:
            ends = np.frombuffer(offsets, dtype=np.int32)[[filled.offset, filled.offset + len(filled)]]
            yield memoryview(text)[ends[0] : ends[1]]
    else:
        yield pc.fill_null(values, 0).to_numpy(zero_copy_only=False).tobytes()


def _read_table(path: Path) -> pa.Table:
    if not path.is_file():
        raise ManifestError(f"there is no manifest at {path}; write one with `surgrec index` or `surgrec synthesize`")
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowInvalid, OSError):
        raise ManifestError(f"{path} is not a Parquet file; write a manifest with `surgrec index`") from None
    if missing := [name for name in SCHEMA.names if name not in table.column_names and name not in _OPTIONAL]:
        raise ManifestError(
            f"{path} is not a manifest of this version: it lacks the columns {', '.join(missing)}; "
            "write it again with `surgrec index`"
        )
    columns = [
        table[name] if name in table.column_names else pa.nulls(len(table), SCHEMA.field(name).type)
        for name in SCHEMA.names
    ]
    try:
        table = pa.table(columns, names=SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, ValueError) as error:
        raise ManifestError(
            f"{path} has a column of the wrong type ({error}); write it again with `surgrec index`"
        ) from None
    if len(table) and pc.max(table["schema_version"]).as_py() > SCHEMA_VERSION:
        raise ManifestError(f"{path} was written by a newer surgrec; update surgrec or index the videos again")
    return table


def _refuse_removed(path: Path, table: pa.Table) -> None:
    """Raise where a row came back, by an old copy of the manifest or a removal that was interrupted."""
    is_removed = Ledger.of_manifest(path).is_removed(table)
    if pc.any(is_removed).as_py():
        names = table["video_id"].filter(is_removed)
        raise ManifestError(
            f"{path} lists {counted(len(names), 'removed video')}, such as {names[0]}; "
            f"`surgrec corpus remove --manifest {path}` takes out what ledgers have removed"
        )


def checked(table: pa.Table, named: str) -> pa.Table:
    """`table`, or a `ManifestError` that names the file or files `named`: required values present, `video_id` unique,
    names that may name files."""
    for field in SCHEMA:
        if not field.nullable and table[field.name].null_count:
            raise ManifestError(
                f"{named}: the column {field.name} has empty values; write it again with `surgrec index`"
            )
    if pc.count_distinct(table["video_id"]).as_py() < len(table):
        counts = pc.value_counts(table["video_id"])
        repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
        raise ManifestError(
            f"{named}: {counted(len(repeated), 'video')} listed twice, such as {repeated[0]}; name each manifest once"
        )
    _refuse_impossible_times(table, named)
    _refuse_unsafe_names(table, named)
    return table


def _refuse_impossible_times(table: pa.Table, named: str) -> None:
    """What is used of a video lies in it, or it would be trained on without having been looked at."""
    seconds, rates = table["duration_seconds"].to_numpy(), table["fps"].to_numpy()
    is_wrong = ~(np.isfinite(seconds) & np.isfinite(rates))
    usable = table["usable"].combine_chunks() if len(table) else pa.array([], SCHEMA.field("usable").type)
    pieces, row = pc.list_flatten(usable), pc.list_parent_indices(usable).to_numpy()
    start, end = (pc.struct_field(pieces, name).to_numpy(zero_copy_only=False) for name in pieces.type.names)
    is_inside = (start >= 0) & (start <= end) & (end <= seconds[row] + _ROUNDING_SECONDS)  # False for NaN, too
    is_wrong[row[~is_inside]] = True
    if is_wrong.any():
        first = table["video_id"][int(np.flatnonzero(is_wrong)[0])]
        raise ManifestError(
            f"{named}: usable of {first} lies outside its duration, or its duration or fps is not finite; "
            "write it again with `surgrec index`"
        )


def _refuse_unsafe_names(table: pa.Table, named: str) -> None:
    """Copies and surveys lie in files of these names, and a manifest from elsewhere must not say where else to write."""
    for column in ("source", "video_id"):
        is_safe = pc.match_substring_regex(table[column], r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\z")
        if pc.any(pc.invert(is_safe)).as_py():
            row = is_safe.to_pylist().index(False)
            raise ManifestError(
                f"{named}: the {column} in row {row} is not made of letters, digits, dot, dash and underscore, beginning with a letter or "
                "digit; write it again with `surgrec index`"
            )
