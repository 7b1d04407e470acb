"""The fingerprints of all videos of a manifest, in one file that need not fit into memory.

In: a manifest and its folder of surveys. Out: `Gathered`: `Moments` in the order of the manifest's rows. It is its own file because it is
where footage is read for an audit: surveys that are missing are made, in worker processes, and what was gathered once is kept beside them.
No more than one video's vectors are in memory at a time.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from surgrec.core.atomic import atomic_path
from surgrec.corpus.fingerprint import DIMENSIONS, HOP_SAMPLES, MOMENT_SAMPLES, WINDOWS, Fingerprint, fingerprint
from surgrec.corpus.isolated import Failed, map_isolated
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.proposals import Moments, Progress
from surgrec.corpus.survey import SAMPLES_PER_SECOND, Survey
from surgrec.corpus.survey import VERSION as SURVEY_VERSION
from surgrec.corpus.surveys import SurveyJob, limits_of, read_or_make, survey_jobs
from surgrec.video.errors import VideoError

VERSION = 3
_UNREAD_SECONDS, _UNREAD_SHARE = 1.0, 0.01  # the larger: what a video may lack and still count as looked at
_MOMENT_BYTES = len(WINDOWS) * DIMENSIONS
_PIECE_BYTES = 1 << 24


@dataclass(frozen=True)
class Gathered:
    """`moments` of the videos, numbered like the rows that were asked for; `failures`: number -> why there are none of it, or not all."""

    moments: Moments
    failures: dict[int, VideoError]


@dataclass(frozen=True)
class _Looked:
    """`unread_seconds`: of the video, in no moment because of what could not be decoded."""

    fingerprint: Fingerprint
    unread_seconds: float


@dataclass
class _Index:
    """What is known of each video beside its vectors: how many moments, their times, and seconds that were not read."""

    counts: np.ndarray
    times_seconds: np.ndarray
    unread_seconds: np.ndarray
    checksum: int = 0  # CRC-32 of the file of vectors


def gather(manifest: Manifest, rows: Sequence[int], surveys: Path, num_workers: int, progress: Progress) -> Gathered:
    """Fingerprints of the videos in `rows`. Interrupted, it continues: surveys are kept one by one."""
    names = [str(manifest.video_ids[row]) for row in rows]
    durations = manifest.column("duration_seconds")[list(rows)]
    kept = surveys / f"fingerprints_{_key(names, durations)}.npz"
    vectors = kept.with_suffix(".bin")
    failures: dict[int, VideoError] = {}
    if (index := _read_kept(kept, vectors)) is None:
        jobs = survey_jobs(manifest, rows, surveys)
        index, failures = _make(jobs, vectors, num_workers, progress)
        if not failures:  # a disk that was away is asked again
            with atomic_path(kept) as temporary:
                np.savez(temporary, version=VERSION, **asdict(index))
    return Gathered(_moments(vectors, index), failures | _partly_read(index.unread_seconds, durations))


def _make(
    jobs: Sequence[SurveyJob], vectors: Path, num_workers: int, progress: Progress
) -> tuple[_Index, dict[int, VideoError]]:
    """Look at all videos; their vectors go into a nameless file as they come, and from there to `vectors` in the order of `jobs`."""
    counts, unread = np.zeros(len(jobs), np.int64), np.zeros(len(jobs), np.float32)
    times = [np.zeros(0, np.float32)] * len(jobs)
    begins: dict[int, int] = {}
    failures: dict[int, VideoError] = {}
    vectors.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=vectors.parent) as heap:
        with progress("looking at videos", len(jobs)) as advance:
            for number, result in map_isolated(_of_one, jobs, num_workers, limits_of):
                told = result.as_error() if isinstance(result, Failed) else result
                if isinstance(told, _Looked):
                    begins[number], counts[number] = heap.tell(), len(told.fingerprint)
                    heap.write(told.fingerprint.vectors.tobytes())
                    times[number], unread[number] = told.fingerprint.times_seconds, told.unread_seconds
                else:
                    failures[number] = told
                del result, told  # or it would be held while the next is awaited
                advance()
        with atomic_path(vectors) as temporary, temporary.open("wb") as file:
            checksum = 0
            for number in sorted(begins):
                heap.seek(begins[number])
                piece = heap.read(int(counts[number]) * _MOMENT_BYTES)
                checksum = zlib.crc32(piece, checksum)
                file.write(piece)
    return _Index(counts, np.concatenate([np.zeros(0, np.float32), *times]), unread, checksum), failures


def _of_one(job: SurveyJob) -> _Looked | VideoError:
    """Runs in a worker process."""
    read = read_or_make(job)
    return read if isinstance(read, VideoError) else _looked(read[0], job)


def _looked(survey: Survey, job: SurveyJob) -> _Looked:
    # made when it was listed as shorter
    num_absent = max(0, int(job.duration_seconds * SAMPLES_PER_SECOND) - len(survey))
    whole = np.ones(len(survey), np.bool_)
    num_lost = np.count_nonzero(_in_moments(whole) & ~_in_moments(survey.is_readable))
    return _Looked(fingerprint(survey), float(num_absent + num_lost) / SAMPLES_PER_SECOND)


def _in_moments(is_readable: np.ndarray) -> np.ndarray:
    """Which samples belong to a moment that can be read throughout; a short video is one moment."""
    if len(is_readable) <= MOMENT_SAMPLES:
        return np.full(len(is_readable), is_readable.all())
    covered = np.zeros(len(is_readable), np.bool_)
    windows = np.lib.stride_tricks.sliding_window_view(is_readable, MOMENT_SAMPLES)[::HOP_SAMPLES]
    starts = HOP_SAMPLES * np.flatnonzero(windows.all(axis=1))
    for offset in range(MOMENT_SAMPLES):
        covered[starts + offset] = True
    return covered


def _partly_read(unread_seconds: np.ndarray, durations: np.ndarray) -> dict[int, VideoError]:
    """The videos of which so much was not read that they do not count as looked at."""
    limits = np.maximum(_UNREAD_SECONDS, _UNREAD_SHARE * durations)
    return {
        int(number): VideoError(
            "corrupt", f"{unread_seconds[number]:.1f} of {durations[number]:.1f} s could not be decoded"
        )
        for number in np.flatnonzero(unread_seconds > limits)
    }


def _key(names: Sequence[str], durations: np.ndarray) -> str:
    text = "\n".join([f"{VERSION} {SURVEY_VERSION}", *names, *map(str, durations)])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _read_kept(path: Path, vectors: Path) -> _Index | None:
    """What was gathered before; None where it is not there, or not as it was written."""
    if not (path.is_file() and vectors.is_file()):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            index = _Index(file["counts"], file["times_seconds"], file["unread_seconds"], int(file["checksum"]))
        is_whole = vectors.stat().st_size == int(index.counts.sum()) * _MOMENT_BYTES
        return index if is_whole and _checksum(vectors) == index.checksum else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _moments(vectors: Path, index: _Index) -> Moments:
    shape = (int(index.counts.sum()), len(WINDOWS), DIMENSIONS)
    mapped = np.memmap(vectors, np.int8, "r", shape=shape) if shape[0] else np.zeros(shape, np.int8)
    return Moments(mapped, index.times_seconds, np.repeat(np.arange(len(index.counts), dtype=np.int32), index.counts))
