"""Surveys and findings of the videos of a manifest, in parallel.

In: rows of a manifest and a folder of surveys. Out: an `Outcome` a video. It is its own file because it is what worker processes run:
decoding where there is no survey yet, then the filters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from surgrec.core.errors import UserError
from surgrec.corpus.content_box import ContentBox
from surgrec.corpus.filters.find import find, usable_intervals
from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.filters.out_of_body import load_model
from surgrec.corpus.filters.thresholds import Thresholds
from surgrec.corpus.isolated import Failed, Limits, map_isolated
from surgrec.corpus.survey import Survey, read_survey, survey_limits, survey_video, write_survey
from surgrec.corpus.unchanged import FACTS, refuse_changed
from surgrec.video.errors import VideoError, unforeseen

COLUMNS = (*FACTS, "duration_seconds", "num_frames")  # of a row, that a job reads


@dataclass(frozen=True)
class Job:
    """A video, where its survey lies or will lie, and what its `row` of the manifest says of the file."""

    path: Path
    survey: Path
    row: Mapping[str, Any]

    @property
    def duration_seconds(self) -> float:
        return float(self.row["duration_seconds"])


@dataclass(frozen=True)
class Outcome:
    """What the filters say of a video. `failure`: why it could not be decoded; then nothing of it is usable. `box`: what to cut it to."""

    findings: list[Finding]
    usable: list[tuple[float, float]]
    box: ContentBox | None
    is_new: bool = False  # the survey was made just now
    failure: VideoError | None = None


def filter_videos(jobs: Sequence[Job], thresholds: Thresholds, num_workers: int) -> Iterator[tuple[int, Outcome]]:
    """Pairs (index, outcome) as they finish; surveys that are missing, damaged or of another version are made and written."""
    load_model(thresholds.out_of_body.model)  # a wrong name is told before the work begins
    for index, result in map_isolated(partial(_filter_video, thresholds), jobs, num_workers, _limits_of):
        yield index, _failed(jobs[index], result.as_error()) if isinstance(result, Failed) else result


def _limits_of(job: Job) -> Limits:
    return survey_limits(job.duration_seconds, job.row["num_frames"])


def _filter_video(thresholds: Thresholds, job: Job) -> Outcome:
    """Runs in a worker process."""
    survey, is_new = _read(job), False
    if survey is None:
        made = _make(job)
        if isinstance(made, VideoError):
            return _failed(job, made)
        survey, is_new = made, True
        write_survey(survey, job.survey)
    findings = find(survey, job.duration_seconds, thresholds, load_model(thresholds.out_of_body.model))
    usable = usable_intervals(findings, job.duration_seconds, thresholds.usable)
    box = survey.inscribed if thresholds.content_box.round_view == "inscribed" else survey.box
    return Outcome(findings, usable, box, is_new)


def _read(job: Job) -> Survey | None:
    """The survey, where there is a whole one of this version and this length."""
    if not job.survey.is_file():
        return None
    try:
        return read_survey(job.survey)
    except UserError:
        return None


def _make(job: Job) -> Survey | VideoError:
    try:
        refuse_changed(job.path, job.row)
        return survey_video(job.path, job.duration_seconds)
    except VideoError as error:
        return error
    except OSError as error:
        return VideoError("missing", f"the file cannot be read: {error.strerror}")
    except MemoryError:
        raise
    except Exception as error:  # one damaged file must not end the work on all others
        return unforeseen(error)


def _failed(job: Job, error: VideoError) -> Outcome:
    return Outcome([Finding("unreadable", 0.0, job.duration_seconds, 1.0)], [], None, failure=error)
