"""The folder of surveys beside a manifest: where each lies, and making those that are missing.

In: rows of a manifest. Out: a survey each, kept in its file. It is its own file because the filters and the audit of contamination both
look at videos, and what one has made the other reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from surgrec.core.errors import UserError
from surgrec.corpus.isolated import Limits
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.survey import Survey, read_survey, survey_limits, survey_video, write_survey
from surgrec.corpus.unchanged import FACTS, refuse_changed
from surgrec.video.errors import VideoError, error_or

_COLUMNS = (*FACTS, "duration_seconds", "num_frames")  # of a row, that a job reads


@dataclass(frozen=True)
class SurveyJob:
    """A video, where its survey lies or will lie, and what its `row` of the manifest says of the file."""

    path: Path
    survey: Path
    row: Mapping[str, Any]

    @property
    def duration_seconds(self) -> float:
        return float(self.row["duration_seconds"])


def default_surveys(manifest: Path) -> Path:
    """The folder of surveys beside a manifest."""
    return manifest.with_name(f"{manifest.stem}.surveys")


def survey_path(surveys: Path, video_id: str) -> Path:
    """Where the survey of a video lies."""
    return surveys / f"{video_id}.npz"


def survey_jobs(manifest: Manifest, rows: Sequence[int], surveys: Path) -> list[SurveyJob]:
    """One for each of `rows`."""
    facts = manifest.table.select(_COLUMNS).take(pa.array(rows, pa.int64())).to_pylist()
    paths = [survey_path(surveys, str(manifest.video_ids[row])) for row in rows]
    return [SurveyJob(manifest.path_of(row), path, fact) for row, path, fact in zip(rows, paths, facts, strict=True)]


def limits_of(job: SurveyJob) -> Limits:
    """What a worker that runs `read_or_make` may take."""
    return survey_limits(job.duration_seconds, job.row["num_frames"])


def read_or_make(job: SurveyJob) -> tuple[Survey, bool] | VideoError:
    """(the survey, whether it was made just now); runs in a worker process. One that is damaged or of another version is made again."""
    try:
        return read_survey(job.survey), False
    except UserError:
        pass
    survey = error_or(lambda: _make(job))
    if isinstance(survey, VideoError):
        return survey
    write_survey(survey, job.survey)
    return survey, True


def _make(job: SurveyJob) -> Survey:
    refuse_changed(job.path, job.row)
    return survey_video(job.path, job.duration_seconds)
