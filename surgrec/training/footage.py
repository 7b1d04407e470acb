"""What a run could draw from, written down while it is so.

In: the manifest that a run reads, and the step from which it does. Out: `footage.jsonl` and `footage/` of the run folder. It is its own
file because a manifest changes after a run (videos are added, or removed at a patient's wish), and which video a step drew is a function
of the manifest as it was: with this record, the configuration and `failures.jsonl`, it can be computed exactly, years later. It names
ids and hashes, never a path.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from surgrec.core.atomic import atomic_path, write_bytes, write_text
from surgrec.core.errors import UserError
from surgrec.corpus.manifest import FINGERPRINT_VERSION, Manifest
from surgrec.training.folder import RunFolder

# all that decides what is drawn, and who it is
_COLUMNS = ("video_id", "source", "domain", "procedure", "group_id", "sha256", "usable")


@dataclass(frozen=True)
class Stretch:
    """From the update after `from_step` on, a run drew from the footage of this `fingerprint` (`Manifest.fingerprint`).

    `version`: how that was computed. `clusters`: SHA-256 of the clusters that it was drawn by, where it was.
    """

    from_step: int
    fingerprint: str
    num_videos: int
    version: int = 1
    clusters: str | None = None


def record_footage(folder: RunFolder, manifest: Manifest, step: int, clusters: Path | None = None) -> str | None:
    """Note that the run draws from `manifest`, by `clusters`, from `step` on; returns a sentence where it drew from something else before.

    What was noted for later steps is void: the run was set back. Killed in between, the same call does the same.
    """
    old = footage_of(folder)
    kept = [stretch for stretch in old if stretch.from_step <= step]
    digest = None if clusters is None else hashlib.sha256(clusters.read_bytes()).hexdigest()
    new = Stretch(step, manifest.fingerprint, len(manifest), FINGERPRINT_VERSION, digest)
    if not kept or not _is_same(folder, kept[-1], new, manifest):
        _write_table(table_file(folder, new), manifest)
        if clusters is not None and digest is not None:
            write_bytes(clusters_copy(folder, digest), clusters.read_bytes())
        kept = [*(stretch for stretch in kept if stretch.from_step < step), new]
    if kept != old:
        write_text(folder.footage_file, "".join(json.dumps(asdict(stretch)) + "\n" for stretch in kept))
    if len(kept) > 1 and kept[-1].from_step == step:
        if kept[-2].fingerprint == new.fingerprint:
            return (
                f"the clusters of mix.clusters have changed: from step {step} on, this run draws by what they are now"
            )
        return (
            f"the footage has changed ({kept[-2].num_videos} -> {new.num_videos} videos): from step {step} on, this run draws from what "
            "its manifests list now"
        )
    return None


def _is_same(folder: RunFolder, old: Stretch, new: Stretch, manifest: Manifest) -> bool:
    """Whether two stretches are of the same footage. Where an older version computed the fingerprint, what it listed is compared."""
    if old.clusters != new.clusters:
        return False
    if old.version == new.version:
        return old.fingerprint == new.fingerprint
    try:
        listed = read_footage(folder, old).table
    except UserError:
        return False
    return bool(listed.equals(_drawn_from(manifest).select(listed.column_names)))


def clusters_copy(folder: RunFolder, digest: str) -> Path:
    """Where the clusters that a stretch was drawn by are kept."""
    return folder.footage / f"clusters_{digest[:16]}.parquet"


def footage_of(folder: RunFolder) -> list[Stretch]:
    """What a run has drawn from, in its order; nothing for a run of a version that did not record it."""
    if not folder.footage_file.is_file():
        return []
    return [Stretch(**json.loads(line)) for line in folder.footage_file.read_text().splitlines()]


def footage_until(folder: RunFolder, step: int) -> tuple[str, ...]:
    """Fingerprints of all footage that the checkpoint of `step` was trained on, in their order."""
    return tuple(stretch.fingerprint for stretch in footage_of(folder) if stretch.from_step < max(step, 1))


def read_footage(folder: RunFolder, stretch: Stretch) -> Manifest:
    """The columns of the manifest that decide what is drawn. Raises `UserError` where they are not there any more."""
    file = table_file(folder, stretch)
    try:
        return Manifest(pq.read_table(file, partitioning=None))
    except (pa.ArrowInvalid, OSError):
        raise UserError(f"{file} is missing or damaged, so what this run drew cannot be told; restore it") from None


def table_file(folder: RunFolder, stretch: Stretch) -> Path:
    """Where the footage of a stretch is listed."""
    return folder.footage / f"{stretch.fingerprint[:16]}.parquet"


def _write_table(file: Path, manifest: Manifest) -> None:
    with atomic_path(file) as temporary:
        pq.write_table(_drawn_from(manifest), temporary, compression="zstd")


def _drawn_from(manifest: Manifest) -> pa.Table:
    """What `_COLUMNS` say, in the order of the ids."""
    return manifest.table.select(list(_COLUMNS)).sort_by("video_id")
