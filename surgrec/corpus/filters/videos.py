"""Surveys and findings of the videos of a manifest, in parallel.

In: rows of a manifest and a folder of surveys. Out: an `Outcome` a video. It is its own file because it is what worker processes run:
decoding where there is no survey yet, then the filters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from surgrec.corpus.content_box import ContentBox
from surgrec.corpus.filters.find import find, usable_intervals
from surgrec.corpus.filters.intervals import Finding
from surgrec.corpus.filters.out_of_body import load_model
from surgrec.corpus.filters.thresholds import Thresholds
from surgrec.corpus.isolated import Failed, map_isolated
from surgrec.corpus.surveys import SurveyJob, limits_of, read_or_make
from surgrec.video.errors import VideoError


@dataclass(frozen=True)
class Outcome:
    """What the filters say of a video. `failure`: why it could not be decoded; then nothing of it is usable. `box`: what to cut it to."""

    findings: list[Finding]
    usable: list[tuple[float, float]]
    box: ContentBox | None
    is_new: bool = False  # the survey was made just now
    failure: VideoError | None = None


def filter_videos(jobs: Sequence[SurveyJob], thresholds: Thresholds, num_workers: int) -> Iterator[tuple[int, Outcome]]:
    """Pairs (index, outcome) as they finish; surveys that are missing, damaged or of another version are made and written."""
    load_model(thresholds.out_of_body.model)  # a wrong name is told before the work begins
    for index, result in map_isolated(partial(_filter_video, thresholds), jobs, num_workers, limits_of):
        yield index, _failed(jobs[index], result.as_error()) if isinstance(result, Failed) else result


def _filter_video(thresholds: Thresholds, job: SurveyJob) -> Outcome:
    """Runs in a worker process."""
    read = read_or_make(job)
    if isinstance(read, VideoError):
        return _failed(job, read)
    survey, is_new = read
    findings = find(survey, job.duration_seconds, thresholds, load_model(thresholds.out_of_body.model))
    usable = usable_intervals(findings, job.duration_seconds, thresholds.usable)
    box = survey.inscribed if thresholds.content_box.round_view == "inscribed" else survey.box
    return Outcome(findings, usable, box, is_new)


def _failed(job: SurveyJob, error: VideoError) -> Outcome:
    return Outcome([Finding("unreadable", 0.0, job.duration_seconds, 1.0)], [], None, failure=error)
