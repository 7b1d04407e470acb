"""Training copies of a corpus: which are missing, making them in worker processes, the manifest of those that are there.

In: a manifest, an output folder, a `CopySpec`. Out: the copies, a record beside each, and `manifest.parquet` once every
video has been tried. It is its own file because everything that makes it safe to stop and start again lives here:

    DIR/prepared.json                        the parameters; others in the same folder are an error
    DIR/videos/<source>/<video_id>.mp4       (or .frames)
    DIR/records/<source>/<video_id>.json     written after its copy is in place: what it was made from, what it is; or why
                                             none could be made
    DIR/quarantine.jsonl, DIR/manifest.parquet

A copy counts only with its record, and both appear under their names by renaming what is complete on disk. The manifest is
computed from the records, so it does not matter who made them, in how many attempts or on how many machines.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from surgrec.core.atomic import atomic_path, remove_old_leftovers, write_json, write_text
from surgrec.core.errors import UserError
from surgrec.corpus.isolated import Failed, Limits, map_isolated
from surgrec.corpus.manifest import SCHEMA, Manifest
from surgrec.corpus.survey import SLOWEST_FRAME_SECONDS
from surgrec.corpus.unchanged import refuse_changed, sha256_of
from surgrec.video.decode import PACK_SUFFIX
from surgrec.video.errors import VideoError, unforeseen
from surgrec.video.pack import CODEC, VERSION
from surgrec.video.probe import probe
from surgrec.video.transcode import CopySpec, PixelBox, copy_size, timeline, write_frames, write_video, writing_failed
from surgrec.video.verify import verify_pack, verify_video

# A copy may take so long: some ten times what it takes on one slow core at 1080p, in proportion for larger pictures.
_SECONDS = 120.0
_SECONDS_PER_SECOND = 10.0
_FULL_HD_PIXELS = 1920 * 1080
_MEMORY_BYTES = 4 << 30
_FILE_BYTES = 64 << 20
_FILE_BYTES_PER_SECOND = 10 << 20  # ten times what quality 90 at 25 frames a second takes
_TRIED_AGAIN = ("missing", "changed")  # reasons that a look at the file settles
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One copy to make: everything that a worker process needs to know."""

    folder: Path
    row: Row
    spec: CopySpec

    @property
    def copy(self) -> str:
        """Path of the copy relative to the output folder."""
        suffix = ".mp4" if self.spec.format == "video" else PACK_SUFFIX
        return f"videos/{self.row['source']}/{self.row['video_id']}{suffix}"

    @property
    def record(self) -> Path:
        return self.folder / "records" / self.row["source"] / f"{self.row['video_id']}.json"

    @property
    def made_from(self) -> Row:
        """What the copy depends on besides the folder's parameters."""
        return {"original_sha256": self.row["sha256"], "content_box": self.row["content_box"]}


@dataclass(frozen=True)
class State:
    """How far a folder is: the record of each video that has been tried, by any shard, and the jobs that are left to this."""

    records: dict[str, Row]
    jobs: list[Job]


def claim(folder: Path, spec: CopySpec) -> None:
    """Write down the parameters of a new folder. Raises `UserError` where it holds copies made with others."""
    path = folder / "prepared.json"
    wanted = spec.parameters() | ({"pack_version": VERSION} if spec.format == "frames" else {})
    if not path.is_file():
        write_json(path, {"schema_version": 1, "parameters": wanted})
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["parameters"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; name another folder, or delete this one") from None
    if "group_frames" in found:
        found.setdefault("skippable_frames", 0)  # a folder that was begun before there were any
    if "jpeg_quality" in found and found.setdefault("pack_version", 1) != VERSION and "pack_version" in wanted:
        raise UserError(
            f"the packs in {folder} are of version {found['pack_version']}, which this version of surgrec does not read; name another, "
            "or delete it"
        )
    differing = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if differing:
        shown = ", ".join(f"{name} {found.get(name)} and not {wanted.get(name)}" for name in differing)
        raise UserError(f"the copies in {folder} were made with {shown}; give the same again or name another folder")


@contextmanager
def only_process(folder: Path, shard: tuple[int, int]) -> Iterator[None]:
    """Hold the lock of a shard; the system lets it go when the process ends. Raises `UserError` where another holds it, and where other
    processes divide the work into another number of shards: two of them would then be at the same video."""
    folder.mkdir(parents=True, exist_ok=True)
    with _same_division(folder, shard[1]), (folder / f".shard_{shard[0]}_of_{shard[1]}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is preparing this shard in {folder}; wait for it or stop it") from None
        except OSError:  # a file system without locks
            pass
        remove_old_leftovers(folder)  # of the folder itself; other shards may be writing theirs
        yield


@contextmanager
def _same_division(folder: Path, num_shards: int) -> Iterator[None]:
    """Hold a share of the lock that all shards of a division have in common. The first to come writes down how many they are."""
    with (folder / ".shards.lock").open("a+") as file:
        try:
            while not _agreed(file, num_shards):
                time.sleep(0.05)  # another process has just come, and is writing its number
        except OSError:  # a file system without locks
            pass
        yield


def _agreed(file: TextIO, num_shards: int) -> bool:
    """Whether the lock is held together with processes of the same division. Raises `UserError` for another one."""
    if _is_locked(file, fcntl.LOCK_EX):  # nobody else is there
        file.truncate(0)
        file.write(str(num_shards))
        file.flush()
    if not _is_locked(file, fcntl.LOCK_SH):
        return False
    file.seek(0)
    if (found := file.read()) != str(num_shards):
        raise UserError(
            f"other processes prepare this folder in {found} part(s), this one in {num_shards}; give --shard the same number of parts, "
            "or wait for them"
        )
    return True


def _is_locked(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def look(
    manifest: Manifest, folder: Path, spec: CopySpec, shard: tuple[int, int] = (0, 1), retry: bool = False
) -> State:
    """What is there of the whole manifest, and the jobs of `shard`, (which, of how many), longest video first.

    `retry`: try again what was refused, not only what was missing.
    """
    records: dict[str, Row] = {}
    jobs: list[Job] = []
    rows = sorted(manifest.table.to_pylist(), key=lambda row: (-row["duration_seconds"], row["video_id"]))
    for number, row in enumerate(rows):
        job = Job(folder, row, spec)
        record = _settled(job)
        if record is not None:
            records[row["video_id"]] = record
        is_open = record is None or ("refused" in record and (retry or record["refused"]["reason"] in _TRIED_AGAIN))
        if is_open and number % shard[1] == shard[0]:
            jobs.append(job)
    return State(records, jobs)


def _settled(job: Job) -> Row | None:
    """The record of a video, None where there is none that holds for the job."""
    try:
        record = json.loads(job.record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if any(record.get(name) != value for name, value in job.made_from.items()):
        return None
    if "refused" in record:
        return record
    with suppress(OSError):
        if (job.folder / job.copy).stat().st_size == record["copy"]["size_bytes"]:
            return record
    return None


# -- making copies


def make_copies(jobs: list[Job], num_workers: int) -> Iterator[tuple[Job, Row]]:
    """Make each copy; pairs (job, its record) as they finish, records written. See `map_isolated` about `num_workers`."""
    for index, result in map_isolated(_make, jobs, num_workers, limits_of):
        job = jobs[index]
        if isinstance(result, dict):
            yield job, result
            continue
        if isinstance(result, Failed):
            _remove_partial(job)
        error = result.as_error() if isinstance(result, Failed) else result
        (job.folder / job.copy).unlink(missing_ok=True)  # of an earlier content box, say
        record = {**job.made_from, "refused": {"reason": error.reason, "detail": error.detail}}
        write_json(job.record, record)
        yield job, record


def limits_of(job: Job) -> Limits:
    """In proportion to the length of the video, as far as its frames can fill it, and to its pictures where they are larger than 1080p."""
    seconds = min(job.row["duration_seconds"], SLOWEST_FRAME_SECONDS * job.row["num_frames"])
    pixels = job.row["width"] * job.row["height"]
    return Limits(
        _SECONDS + _SECONDS_PER_SECOND * seconds * max(1.0, pixels / _FULL_HD_PIXELS),
        _MEMORY_BYTES,
        int(_FILE_BYTES + _FILE_BYTES_PER_SECOND * seconds),
    )


def _make(job: Job) -> Row | VideoError:
    """Write, check and record one copy; runs in a worker process."""
    try:
        refuse_changed(_source(job), job.row)
        _remove_partial(job)
        facts = _write(job)
        record = {**job.made_from, "copy": facts}
        write_json(job.record, record)
    except VideoError as error:
        return error
    except OSError as error:
        failure = writing_failed(error)
        if isinstance(failure, VideoError):
            return failure
        raise failure from None
    except (MemoryError, UserError):
        raise
    except Exception as error:  # one damaged file must not end the preparation of all others
        return unforeseen(error)
    return record


def _source(job: Job) -> Path:
    return Path(job.row["root"]) / job.row["path"]


def _write(job: Job) -> Row:
    """The copy under its name, and its facts for the manifest."""
    source, spec = _source(job), job.spec
    box = PixelBox(**job.row["content_box"]) if job.row["content_box"] is not None else None
    info = probe(source)
    wanted, size = timeline(info, spec.fps), copy_size(info, spec, box)
    with atomic_path(job.folder / job.copy) as partial:
        if spec.format == "video":
            write_video(source, partial, info, spec, box)
            verify_video(partial, wanted, size, spec.group_frames)
        else:
            write_frames(source, partial, info, spec, box)
            verify_pack(partial, wanted, size)
        return {
            "path": job.copy,
            "sha256": sha256_of(partial),
            "size_bytes": partial.stat().st_size,
            "num_frames": wanted.num_frames,
            "duration_seconds": wanted.duration_seconds,
            "fps": float(wanted.rate),
            "width": size[1],
            "height": size[0],
            "codec": "h264" if spec.format == "video" else CODEC,
        }


def _remove_partial(job: Job) -> None:
    """What a process that was killed left behind; the lock of the shard says that nobody is still writing it."""
    copy = job.folder / job.copy
    for path in (copy, job.record):
        for partial in path.parent.glob(f".{path.stem}.*.partial{path.suffix}"):
            partial.unlink(missing_ok=True)


# -- what is known when all are done


def prepared_manifest(manifest: Manifest, folder: Path, records: dict[str, Row]) -> Manifest:
    """The rows of the videos that have copies, in the order of `manifest`; ids, groups, splits, licences as they were."""
    root = str(folder.resolve())
    rows = [
        _prepared_row(row, root, records[row["video_id"]]["copy"])
        for row in manifest.table.to_pylist()
        if "copy" in records[row["video_id"]]
    ]
    return Manifest(pa.Table.from_pylist(rows, schema=SCHEMA))


def _prepared_row(row: Row, root: str, copy: Row) -> Row:
    end = copy["duration_seconds"]
    usable = [
        {"start_seconds": part["start_seconds"], "end_seconds": min(part["end_seconds"], end)}
        for part in row["usable"]
        if part["start_seconds"] < end
    ]
    original = row["original_sha256"] or row["sha256"]
    nothing = {"modified_nanoseconds": None, "content_box": None}
    return {**row, **copy, **nothing, "root": root, "usable": usable, "original_sha256": original}


def write_quarantine(folder: Path, records: dict[str, Row]) -> None:
    """`quarantine.jsonl`: of every video without a copy its id and why, no path; the file goes when nothing is refused."""
    path = folder / "quarantine.jsonl"
    refused = {name: record["refused"] for name, record in sorted(records.items()) if "refused" in record}
    lines = [json.dumps({"video_id": name, **why}) for name, why in refused.items()]
    if lines:
        write_text(path, "\n".join(lines) + "\n")
    else:
        path.unlink(missing_ok=True)


def num_workers_of_this_process() -> int:
    """Cores that this process may use, which a cluster makes fewer than the machine has."""
    return len(os.sched_getaffinity(0))
