"""A large manifest as a file that every process of a machine maps into memory, instead of a copy in each.

In: Parquet manifests. Out: a `Manifest` whose rows lie in an Arrow file that was written once. It is its own file because it is the
answer to size alone: a manifest below `MAPPED_FROM` rows is read as ever, and nobody who is given one can tell the difference.

The file has what the manifests have, names of files included: it is as private as they are, and its folder is for its owner alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from surgrec.core.atomic import read_or_write, sync_path, write_json
from surgrec.corpus.ledger import Ledger
from surgrec.corpus.manifest import FINGERPRINT_VERSION, Manifest

MAPPED_FROM = 100_000  # rows; below, reading takes less than a second and little memory
_TABLE, _FACTS = "manifest.arrow", "manifest.json"
_ROWS_PER_BATCH = 1 << 16
_FOOTER_BYTES = 1 << 16
_UNUSED_SECONDS = 30 * 24 * 3600.0


class MappedManifest(Manifest):
    """The manifest in `folder`, which `open_manifest` wrote. Opening it takes no memory that grows with the number of rows."""

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        source = pa.memory_map(str(folder / _TABLE))
        vars(self).update(folder=folder, table=pa.ipc.open_file(source).read_all(), fingerprint=facts["fingerprint"])

    @property
    def name(self) -> str:
        """Of the files that it was made from, in their state and order: row numbers belong to it."""
        return str(vars(self)["folder"].name)

    def __reduce__(self) -> tuple[object, ...]:
        """It travels to another process as the name of its folder."""
        return (MappedManifest, (vars(self)["folder"],))


def open_manifest(paths: Sequence[Path], cache: Path, mapped_from: int = MAPPED_FROM) -> Manifest:
    """The manifests as `Manifest.read` has them; from `mapped_from` rows on, mapped from a file in `cache`, written where it is not there.

    A manifest that changes, or its ledger, is checked and written anew. Raises `ManifestError`.
    """
    if sum(map(_num_rows, paths)) < mapped_from:
        return Manifest.read(paths)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    cache.chmod(0o700)
    folder = cache / f"manifest_{_key(paths)}"
    is_new = not folder.exists()
    manifest = read_or_write(folder, MappedManifest, lambda partial: _write(Manifest.read(paths), partial))
    os.utime(folder)
    if is_new:
        _remove_unused(cache)
    return manifest


def _write(manifest: Manifest, folder: Path) -> None:
    with pa.OSFile(str(folder / _TABLE), "wb") as sink, pa.ipc.new_file(sink, manifest.table.schema) as writer:
        writer.write_table(manifest.table, max_chunksize=_ROWS_PER_BATCH)
    sync_path(folder / _TABLE)
    write_json(folder / _FACTS, {"fingerprint": manifest.fingerprint})


def _remove_unused(cache: Path) -> None:
    """Files of manifests as they were before, and of mixtures of them, that no run has opened for long."""
    for folder in (*cache.glob("manifest_*"), *cache.glob("mixture_*")):
        if time.time() - folder.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def holding(cache: Path, names: Collection[str]) -> list[Path]:
    """The folders in `cache` of manifests that list one of the videos `names`, by id."""
    wanted = pa.array(sorted(names), pa.string())

    def lists_one(folder: Path) -> bool:
        try:
            return bool(pc.any(pc.is_in(MappedManifest(folder).table["video_id"], wanted)).as_py())
        except (OSError, ValueError, KeyError):
            return True  # nobody knows what it holds

    return [folder for folder in sorted(cache.glob("manifest_*")) if lists_one(folder)]


def _num_rows(path: Path) -> int:
    """Of a Parquet file; 0 for anything else, of which `Manifest.read` will tell."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowInvalid):
        return 0


def _key(paths: Sequence[Path]) -> str:
    """Of which files in which state it is: their size and time, their last bytes (Parquet keeps sizes and ranges of all columns there),
    and the whole of the ledgers that hold for them."""
    digest = hashlib.sha256(str(FINGERPRINT_VERSION).encode())
    for path in paths:
        state = path.stat()
        digest.update(f"{path.resolve()}/{state.st_size}/{state.st_mtime_ns}".encode())
        with path.open("rb") as file:
            file.seek(max(0, state.st_size - _FOOTER_BYTES))
            digest.update(file.read())
        for ledger in Ledger.files_of(path):
            digest.update(ledger.read_bytes() if ledger.is_file() else b"missing")
    return digest.hexdigest()[:16]
