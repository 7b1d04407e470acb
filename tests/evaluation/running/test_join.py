"""From cells to results: metrics, ranks, what is known of the test videos, gaps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.comparisons import compare_statistics
from surgrec.evaluation.metrics import accuracy
from surgrec.evaluation.report import write_report
from surgrec.evaluation.results import UNKNOWN, Gap, Results
from surgrec.evaluation.results_json import read_results, write_results
from surgrec.evaluation.running import run as running
from surgrec.evaluation.running.join import _ranks, join
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.run import run_cells
from surgrec.evaluation.statistics import counts_statistic
from surgrec.evaluation.tasks.task import ClipTask
from tests.evaluation.running import tiny
from tests.evaluation.running.tiny import QUICK


def test_results_are_read_as_written_and_make_a_report(whole: tuple[Plan, Results], tmp_path: Path) -> None:
    _, results = whole
    write_results(results, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == results
    page, text = write_report(results, tmp_path)
    assert page.stat().st_size > 1000 and "linear probe" in text.read_text()


def test_the_metric_that_is_compared_and_shown_first_can_be_chosen_and_costs_no_fit(
    whole: tuple[Plan, Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, results = whole
    monkeypatch.setattr(running.Bench, "run", None)
    other = join(replace(plan, main_metrics=("macro-F1", "edit")), {})
    for found, clips, dense in ((results, "balanced accuracy", "accuracy"), (other, "macro-F1", "edit")):
        main = {"halves": clips, "moments": dense}
        assert all(cell.scores[0].metric == main[cell.task] for cell in found.cells)
        assert found.comparisons and all(one.metric == main[one.task] for one in found.comparisons)
        assert {rank.metric for rank in found.ranks} == {clips, dense}
    assert [set(cell.scores) for cell in other.cells] == [set(cell.scores) for cell in results.cells]


def test_of_a_task_with_several_splits_the_first_is_ranked(videos: list[Path], tmp_path: Path) -> None:
    """The second, on which it is the other way round, is of the same patients and no second task."""
    task = tiny.clip_task(videos)
    other = replace(task.splits[0], name="other")
    plan = replace(tiny.plan(tmp_path, videos), tasks=(replace(task, splits=(task.splits[0], other)),))
    right, wrong = np.zeros((2, 12, 2, 2), dtype=np.int64)
    right[:, 0, 0], wrong[:, 0, 1] = range(5, 17), range(5, 17)
    good, bad = (counts_statistic(each, accuracy) for each in (right, wrong))
    columns = {("halves", "seed0", "knn"): {"a": good, "b": bad}, ("halves", "other", "knn"): {"a": bad, "b": good}}
    ranks = _ranks(plan, columns, {column: compare_statistics(each) for column, each in columns.items()})
    assert [(rank.encoder, rank.mean_rank, rank.probability_best) for rank in ranks] == [("a", 1, 1), ("b", 2, 0)]


def test_tasks_that_are_tested_on_the_same_videos_are_named(whole: tuple[Plan, Results], videos: list[Path]) -> None:
    plan, results = whole
    assert all(task.sharing == () for task in results.tasks)  # one of each form
    again = join(replace(plan, tasks=(*plan.tasks, tiny.clip_task(videos, "again"))), {})
    assert [task.sharing for task in again.tasks] == [("again",), (), ("halves",)]
    halves = tiny.clip_task(videos)
    renamed = tuple(replace(clip, video_id=f"theirs {clip.video_id}") for clip in halves.clips)
    theirs = replace(halves, name="theirs", clips=renamed, dataset="m2cai16_workflow")
    for overlapping, sharing in ((("m2cai16_workflow",), [("theirs",), ("halves",)]), ((), [(), ()])):
        ours = replace(halves, dataset="cholec80", overlapping=overlapping)
        assert [task.sharing for task in join(replace(plan, tasks=(ours, theirs)), {}).tasks] == sharing


def test_contamination_is_said_by_content(whole: tuple[Plan, Results]) -> None:
    _, results = whole
    said = {encoder.name: encoder.contamination["halves"] for encoder in results.encoders}
    assert said["ours"] == "1 of 4 test videos pretrained on" and said["drawn"] == "not pretrained"


def test_contamination_is_not_known_where_files_cannot_be_compared(
    whole: tuple[Plan, Results], videos: list[Path], tmp_path: Path
) -> None:
    """A folder of pictures is no file, and a video that is gone cannot be read."""
    plan = tiny.plan(tmp_path, videos, protocols=())
    halves = plan.tasks[0]
    assert isinstance(halves, ClipTask)
    (tmp_path / "pictures").mkdir()
    for place in (tmp_path / "pictures", tmp_path / "gone.mp4"):
        other = replace(halves, clips=(*halves.clips[:-1], replace(halves.clips[-1], video=place)))
        results = join(replace(plan, tasks=(other,)), {})
        assert results.encoders[0].contamination["halves"] == UNKNOWN


def test_gaps_of_one_reason_are_one_line(videos: list[Path], tmp_path: Path) -> None:
    def load(seed: int) -> object:
        raise UserError("gone")

    plan = tiny.plan(tmp_path, videos, protocols=QUICK, entrants=(tiny.entrant("ours", load),))  # type: ignore[arg-type]
    run_cells(plan, plan.places())
    assert join(plan, {}).gaps == (
        Gap("halves", "ours", "*", "gone"),
        Gap("moments", "ours", "linear head per frame", "gone"),
    )
