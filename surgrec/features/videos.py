"""Which videos to extract features of: a manifest, a folder or a single file, all made alike.

In: the path that a user gave. Out: `Video`s, named by their content. It is its own file because features name a video by its
`video_id` only: where a folder is given, the ledger that tells which file is which is written beside the features, not into them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.card import Card
from surgrec.corpus.journal import Journal, journal_file
from surgrec.corpus.ledger import Gate, Ledger
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.refusal import Refusal, refusals_file, write_refusals
from surgrec.corpus.scan import scan, video_id
from surgrec.features.store import check_video_id
from surgrec.hub.folder import sha256_of
from surgrec.video.errors import VideoError
from surgrec.video.probe import probe

SOURCE = "video"  # the source in the ids of videos that no manifest lists


@dataclass(frozen=True)
class Video:
    """A file, its name in everything that is published, how long it is, and how large it was when that was found out."""

    video_id: str
    path: Path
    duration_seconds: float
    size_bytes: int | None = None

    def refuse_other(self) -> None:
        """Raise `VideoError` where the file is of another size than was listed: its features would have the name of another video."""
        try:
            size = self.path.stat().st_size
        except OSError:
            return  # opening it tells why
        if self.size_bytes not in (None, size):
            raise VideoError("changed")


@dataclass(frozen=True)
class Found:
    """The videos, what was refused on the way, and the ledger where one was written."""

    videos: list[Video]
    refusals: list[Refusal]
    ledger: Path | None = None


def find_videos(path: Path, ledger: Path, num_workers: int) -> Found:
    """The videos of a manifest (`.parquet`), of all that lies in a folder, or of one file.

    For a folder, its manifest is written to `ledger`, which also keeps what it listed before; nothing is read twice. What a ledger of
    removals keeps out (`surgrec corpus remove`), beside the list or of this machine, is refused. Raises `UserError` where there is nothing
    to read.
    """
    path = Path(path)
    if path.is_dir():
        return _in_folder(path, ledger, num_workers)
    if not path.is_file():
        raise UserError(f"there is nothing at {path}; give --videos a video, a folder of videos or a manifest.parquet")
    if path.suffix == ".parquet":
        return Found(_listed(Manifest.read([path])), [])
    return Found([_single(path, Ledger.of_manifest(ledger))], [])


def _listed(manifest: Manifest) -> list[Video]:
    ids, seconds = manifest.video_ids.tolist(), manifest.column("duration_seconds").tolist()
    for name in ids:
        check_video_id(name)
    sizes = manifest.table["size_bytes"].to_pylist()
    return [Video(name, manifest.path_of(row), seconds[row], sizes[row]) for row, name in enumerate(ids)]


def _single(path: Path, removed: Ledger) -> Video:
    try:
        info = probe(path)
    except VideoError as error:
        raise UserError(f"{path} cannot be read as a video: {error.detail}") from None
    sha256 = sha256_of(path)
    name = video_id(SOURCE, sha256)
    row = {"video_id": name, "sha256": sha256, "path": path.name, "group_id": ""}
    if (refusal := Gate(removed).refusal_of(row)) is not None:
        raise UserError(f"{path} must not be used: {refusal.detail}, and a removal is for good")
    return Video(name, path, info.duration_seconds)


def _in_folder(path: Path, ledger: Path, num_workers: int) -> Found:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    removed = Ledger.of_manifest(ledger)
    listed = Manifest.read([ledger], as_is=True).table if ledger.exists() else None
    before = None if listed is None else removed.without_removed(listed)
    with Journal(journal_file(ledger), SOURCE, path) as journal:
        kept_out = Gate(removed).refusal_of
        result = scan(path, Card(SOURCE, "other"), num_workers, True, before, journal, kept_out)
        write_refusals(refusals_file(ledger), SOURCE, path, result.refusals)
        if len(result.rows) == 0:
            raise UserError(f"none of {counted(len(result.refusals), 'video')} in {path} can be read")
        rows = result.rows
        if before is not None:
            is_new = pc.is_in(before["video_id"], rows["video_id"])
            rows = pa.concat_tables([before.filter(pc.invert(is_new)), rows]).combine_chunks()
        if listed is None or not rows.equals(listed):
            Manifest(rows).write(ledger)
        journal.forget()
    return Found(_listed(Manifest(result.rows)), result.refusals, ledger)
