"""Laws of the options of a mixture: the run's course follows from its steps and phases, and what cannot be is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surgrec.config.compose import claim_folder, compose_config
from surgrec.config.footage import SCHEDULE_STAGES, build_mixture, course_of
from surgrec.core.errors import UserError
from surgrec.data.sampler import Sampler
from tests.data.test_policies import manifest

SMALL = [
    "+variant=mae",
    "data.global_batch_size=8",
    "trainer.steps=200",
    "data.num_frames=4",
    "data.frame_interval_seconds=0.25",
]


def test_a_course_without_changes_is_one_stage() -> None:
    course = course_of(compose_config(SMALL))
    assert (course.first, course.num_draws, course.seconds, course.progress) == ((0,), 1600, (1.0,), (0.0,))


def test_phases_repeats_and_openings_count() -> None:
    phases = "trainer.phases=[{steps: 10, num_frames: 16, global_batch_size: 16, lr_end: 0.0}]"
    course = course_of(compose_config([*SMALL, phases, "data.repeats=2", "data.clips_per_open=4"]))
    assert (course.first, course.num_draws, course.seconds) == ((0, 200), 220, (4.0, 16.0))


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_a_schedule_is_stages_from_its_first_step_to_its_last(shape: str) -> None:
    options = [
        "mix.schedule.alpha=1.0",
        "mix.schedule.first_step=40",
        "mix.schedule.last_step=140",
        f"mix.schedule.shape={shape}",
    ]
    course = course_of(compose_config([*SMALL, *options]))
    assert course.first[:2] == (0, 320) and course.first[-1] == 140 * 8 and len(course.first) == SCHEDULE_STAGES + 2
    assert course.progress[0] == 0.0 and course.progress[-1] == 1.0 and list(course.progress) == sorted(course.progress)
    middle = np.interp(0.5, [0, 1], [course.progress[1], course.progress[-2]])
    assert middle == pytest.approx(0.5, abs=0.01)


def test_a_scheduled_run_goes_from_uniform_to_natural_and_any_step_is_addressed() -> None:
    options = ["mix.alpha=0.0", "mix.schedule.alpha=1.0", "mix.schedule.first_step=50", "mix.schedule.last_step=150"]
    config = compose_config([*SMALL, "data.global_batch_size=512", *options])
    mixture = build_mixture(config, manifest())
    np.testing.assert_allclose(mixture.strata.shares[0], 0.2)
    np.testing.assert_allclose(mixture.strata.shares[-1], mixture.table.hours / mixture.table.hours.sum())
    sampler = Sampler(mixture, 0, 0.75)
    whole = sampler.draw(np.arange(200 * 512))
    for step in (0, 60, 101, 199):
        one = sampler.draw(np.arange(step * 512, (step + 1) * 512))
        np.testing.assert_array_equal(one.rows, whole.rows[step * 512 : (step + 1) * 512])
    large = mixture.table.sources.index("chole")
    drawn = (whole.source_index == large).reshape(200, 512).mean(axis=1)
    assert drawn[:50].mean() == pytest.approx(0.2, abs=0.02)
    assert drawn[150:].mean() == pytest.approx(80 / 141, abs=0.02)
    assert drawn[90:110].mean() == pytest.approx(mixture.strata.shares[SCHEDULE_STAGES // 2, large], abs=0.03)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["mix.max_passes=0"], "mix.max_passes=0.0 must be null, or above 0"),
        (["mix=natural", "mix.alphas.source=0.5"], "mix.alphas.source does nothing under mix.policy=natural"),
        (["mix=uniform", "mix.schedule.alpha=1.0"], "mix.schedule.alpha does nothing under mix.policy=uniform"),
        (["mix.schedule.alpha=1.0", "mix.schedule.last_step=0"], "mix.schedule goes from step 0 to step 0"),
        (["mix.schedule.alpha=1.0", "mix.schedule.shape=constant"], "mix.schedule.shape=constant changes nothing"),
        (["mix.schedule.alphas.video=1.0"], "mix.schedule.alphas.video cannot change"),
        (["mix.schedule.alpha=-1.0"], r"mix.schedule.alpha=-1.0 must be a number of at least 0"),
        (["mix.schedule.alphas.source=nan"], r"mix.schedule.alphas.source=nan must be a number of at least 0"),
        (
            ["mix=natural", "mix.schedule.alphas.source=0.0"],
            "mix.schedule.alphas.source does nothing under mix.policy=natural",
        ),
        (["mix=natural", "mix.alpha=0.3"], "mix.alpha does nothing under mix.policy=natural"),
        (
            ["mix=hierarchical", "mix.schedule.alpha=1.0"],
            "mix.schedule.alpha does nothing, since each of mix.levels has its own",
        ),
        (["mix=hierarchical", "mix.alpha=1.0"], "mix.alpha does nothing, since each of mix.levels has its own"),
        (["mix.schedule.last_step=100"], "mix.schedule.last_step does nothing, since nothing changes"),
        (["mix.schedule.shape=cosine"], "mix.schedule.shape does nothing, since nothing changes"),
        (
            ["mix.schedule.alpha=1.0", "mix.schedule.first_step=500", "mix.schedule.last_step=600"],
            "is not reached by a run of 200 steps",
        ),
        (["mix.weight.source={a: 1.0}"], "there is no option mix.weight"),
        (["data.clips_per_open=0"], "data.clips_per_open=0 must be at least 1"),
    ],
)
def test_what_cannot_be_is_named(options: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        compose_config([*SMALL, *options])


def test_a_capped_run_is_not_prolonged(tmp_path: Path) -> None:
    phase = "trainer.phases=[{steps: 10, lr_end: 0.0}]"
    for name, options, is_refused in (("free", [], False), ("capped", ["mix.max_passes=5"], True)):
        file = tmp_path / name / "config.yaml"
        claim_folder(compose_config([*SMALL, *options]), file)
        prolonged = compose_config([*SMALL, *options, phase])
        if is_refused:
            with pytest.raises(UserError, match=r"trainer\.phases"):
                claim_folder(prolonged, file)
        else:
            claim_folder(prolonged, file)


def test_weights_are_given_by_name_with_a_plus() -> None:
    options = ["mix=uniform", "+mix.weights.source.chole=3", "+mix.weights.source.chole_web=0.5"]
    table = build_mixture(compose_config([*SMALL, *options]), manifest()).table
    assert dict(zip(table.sources, (table.shares * 6.5).round(9).tolist(), strict=True)) == {
        "bypass": 1.0, "chole": 3.0, "chole_web": 0.5, "phaco": 1.0, "robot": 1.0
    }  # fmt: skip
    with pytest.raises(UserError, match=r"mix\.weights\.source names phac, .* did you mean phaco"):
        build_mixture(compose_config([*SMALL, "+mix.weights.source.phac=3"]), manifest())
