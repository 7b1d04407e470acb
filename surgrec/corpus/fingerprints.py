"""The fingerprints of all videos of a manifest, in one file that need not fit into memory.

In: a manifest and its folder of surveys. Out: `Gathered`: `Moments` in the order of the manifest's rows. It is its own file because it is
where footage is read for an audit: surveys that are missing are made, in worker processes, and what was gathered once is kept beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgrec.core.atomic import atomic_path
from surgrec.core.errors import UserError
from surgrec.corpus.fingerprint import DIMENSIONS, WINDOWS, Fingerprint, fingerprint
from surgrec.corpus.isolated import Failed, Limits, map_isolated
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.shared_footage import Moments
from surgrec.corpus.survey import VERSION as SURVEY_VERSION
from surgrec.corpus.survey import read_survey, survey_limits, survey_video, write_survey
from surgrec.video.errors import VideoError

VERSION = 1
Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


@dataclass(frozen=True)
class Gathered:
    """`moments` of the videos, numbered like the rows that were asked for; `failures`: number -> why there are none of it."""

    moments: Moments
    failures: dict[int, VideoError]


@dataclass(frozen=True)
class _Job:
    path: Path
    duration_seconds: float
    survey: Path


def survey_path(surveys: Path, video_id: str) -> Path:
    """Where the survey of a video lies."""
    return surveys / f"{video_id}.npz"


def default_surveys(manifest: Path) -> Path:
    """The folder of surveys beside a manifest."""
    return manifest.with_name(f"{manifest.stem}.surveys")


def gather(manifest: Manifest, rows: Sequence[int], surveys: Path, num_workers: int, progress: Progress) -> Gathered:
    """Fingerprints of the videos in `rows`. Interrupted, it continues: surveys are kept one by one."""
    names = [str(manifest.video_ids[row]) for row in rows]
    durations = manifest.column("duration_seconds")
    kept = surveys / f"fingerprints_{_key(names)}.npz"
    vectors_path = kept.with_suffix(".bin")
    if (known := _read_kept(kept, vectors_path)) is not None:
        return known
    jobs = [
        _Job(manifest.path_of(row), float(durations[row]), survey_path(surveys, name))
        for row, name in zip(rows, names, strict=True)
    ]
    found, failures = _make(jobs, num_workers, progress)
    counts = np.array([len(found[number].times_seconds) if number in found else 0 for number in range(len(rows))])
    with atomic_path(vectors_path) as temporary, temporary.open("wb") as file:
        for number in sorted(found):
            file.write(found[number].vectors.tobytes())
    times = np.concatenate([np.zeros(0, np.float32), *(found[number].times_seconds for number in sorted(found))])
    if not failures:  # a disk that was away is asked again
        with atomic_path(kept) as temporary:
            np.savez(temporary, version=VERSION, counts=counts, times_seconds=times)
    return Gathered(_moments(vectors_path, counts, times), failures)


def _make(
    jobs: Sequence[_Job], num_workers: int, progress: Progress
) -> tuple[dict[int, Fingerprint], dict[int, VideoError]]:
    found: dict[int, Fingerprint] = {}
    failures: dict[int, VideoError] = {}
    with progress("looking at videos", len(jobs)) as advance:
        for number, result in map_isolated(_of_one, jobs, num_workers, _limits_of):
            told = result.as_error() if isinstance(result, Failed) else result
            if isinstance(told, Fingerprint):
                found[number] = told
            else:
                failures[number] = told
            advance()
    return found, failures


def _limits_of(job: _Job) -> Limits:
    return survey_limits(job.duration_seconds)


def _of_one(job: _Job) -> Fingerprint | VideoError:
    """Runs in a worker process."""
    try:
        return fingerprint(read_survey(job.survey))
    except UserError:
        pass  # there is none yet, or it is damaged or of another version
    try:
        survey = survey_video(job.path, job.duration_seconds)
    except VideoError as error:
        return error
    write_survey(survey, job.survey)
    return fingerprint(survey)


def _key(names: Sequence[str]) -> str:
    text = "\n".join([f"{VERSION} {SURVEY_VERSION}", *names])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _read_kept(path: Path, vectors: Path) -> Gathered | None:
    if not (path.is_file() and vectors.is_file()):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            counts, times = file["counts"], file["times_seconds"]
    except (OSError, ValueError, KeyError):
        return None
    is_whole = vectors.stat().st_size == int(counts.sum()) * len(WINDOWS) * DIMENSIONS
    return Gathered(_moments(vectors, counts, times), {}) if is_whole else None


def _moments(vectors: Path, counts: np.ndarray, times: np.ndarray) -> Moments:
    shape = (int(counts.sum()), len(WINDOWS), DIMENSIONS)
    mapped = np.memmap(vectors, np.int8, "r", shape=shape) if shape[0] else np.zeros(shape, np.int8)
    return Moments(mapped, times, np.repeat(np.arange(len(counts), dtype=np.int32), counts))
