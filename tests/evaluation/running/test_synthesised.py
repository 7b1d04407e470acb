"""The embedded corpus as tasks: labels mean what their names say, and no case is on two sides of any task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surgrec.evaluation.running.splits import facts_of, split_sets
from surgrec.evaluation.running.synthesised import NAMES, synthesised_tasks
from surgrec.evaluation.tasks.task import NO_LABEL, ClipTask, DenseTask, Task
from surgrec.synthetic.corpus import synthesize
from surgrec.synthetic.plan import PHASES


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded") / "tiny_seed1"
    synthesize(folder, "tiny", 1, 0)
    return folder


@pytest.fixture(scope="module")
def tasks(corpus: Path) -> tuple[Task, ...]:
    return synthesised_tasks([corpus], 0.5, 0.2, 0, ["synthesised_phase", "synthesised_look", "synthesised_phases"])


def test_no_case_is_on_two_sides_of_any_two_tasks(tasks: tuple[Task, ...]) -> None:
    part_of: dict[str, str] = {}
    for task in tasks:
        for part, rows in task.splits[0].parts().items():
            for group in task.groups[rows]:
                assert part_of.setdefault(str(group), part) == part


def test_a_look_is_what_phases_share(tasks: tuple[Task, ...]) -> None:
    phase, look = tasks[:2]
    assert isinstance(phase, ClipTask) and isinstance(look, ClipTask)
    assert len(look.classes) < len(phase.classes)
    looks = {each.name: f"{domain}: {each.look}" for domain, phases in PHASES.items() for each in phases}
    for one, other in zip(phase.clips, look.clips, strict=True):
        assert looks[phase.classes[one.label]] == look.classes[other.label]
        assert (one.video_id, one.start_seconds) == (other.video_id, other.start_seconds)


def test_moments_are_labelled_as_frames_are(tasks: tuple[Task, ...], corpus: Path) -> None:
    dense = tasks[-1]
    assert isinstance(dense, DenseTask)
    for recording in dense.recordings:
        lines = [
            line.split(",") for line in (corpus / "labels" / f"{recording.video_id}.csv").read_text().splitlines()[1:]
        ]
        times = np.array([float(line[1]) for line in lines])
        for moment, label in zip(recording.times_seconds, recording.labels, strict=True):
            line = lines[np.flatnonzero(times <= moment + 1e-6)[-1]]
            hidden = line[5] in ("black", "out_of_body")
            assert label == (NO_LABEL if hidden else dense.classes.index(line[2]))


def test_clips_do_not_overlap_and_have_one_phase(tasks: tuple[Task, ...]) -> None:
    phase = tasks[0]
    assert isinstance(phase, ClipTask)
    by_video: dict[str, list[float]] = {}
    for clip in phase.clips:
        by_video.setdefault(clip.video_id, []).append(clip.start_seconds)
    assert all((np.diff(starts) >= 0.5 - 1e-9).all() for starts in by_video.values())


def test_every_task_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES) == 6


def test_facts_of_a_split_count_its_rows(tasks: tuple[Task, ...]) -> None:
    (chosen,) = split_sets(tasks[0])
    facts = facts_of(tasks[0], chosen)
    assert facts.num_rows["test"] == len(tasks[0].splits[0].test) and facts.origin == "seeded"
    assert facts.num_groups["test"] == len(set(tasks[0].groups[tasks[0].splits[0].test]))
