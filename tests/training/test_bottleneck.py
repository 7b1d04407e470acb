"""Laws of the verdict: the slowest part decides on a GPU, the sum of times on a CPU, and the advice follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from surgrec.training.bottleneck import Rates, judge

ON_GPU = Rates(
    disk=10_000.0, core=20.0, loader=150.0, augment=9_000.0, copy=8_000.0, step=1_500.0, cores=16, workers=8, repeats=1,
    has_device=True, is_prepared=False, prepared={"video": 110.0, "frames": 300.0},
)  # fmt: skip
ON_CPU = replace(ON_GPU, has_device=False, copy=None, step=2.0, loader=30.0, cores=2, workers=2)


@pytest.mark.parametrize(
    ("changed", "limit", "expected"),
    [
        ({"loader": 2_000.0, "core": 200.0}, "step", 1_500.0),
        ({"workers": 14}, "workers", 150.0),
        ({"workers": 15}, "cores", 150.0),
        ({"loader": 2_000.0, "disk": 90.0}, "disk", 90.0),
        ({"loader": 2_000.0, "copy": 700.0}, "copy", 700.0),
        ({"loader": 2_000.0, "repeats": 4}, "step", 375.0),
    ],
)
def test_on_a_gpu_the_slowest_part_decides(changed: dict, limit: str, expected: float) -> None:
    verdict = judge(replace(ON_GPU, **changed))
    assert (verdict.limit, verdict.clips_per_second) == (limit, expected)
    assert verdict.share_of_step == pytest.approx(expected * changed.get("repeats", 1) / 1_500)


def test_on_a_cpu_reading_and_training_share_the_cores() -> None:
    verdict = judge(ON_CPU)
    assert verdict.limit == "step"
    assert verdict.clips_per_second == pytest.approx(1 / (1 / 2 + 1 / 40))
    assert judge(replace(ON_CPU, core=0.5, loader=1.0)).limit == "cores"
    assert judge(replace(ON_CPU, disk=0.1)).limit == "disk"
    assert verdict.sentence.startswith("The training step limits this run: 1.9 clips a second, 95% of what the step")


@pytest.mark.parametrize(("core", "workers"), [(20.0, 15), (200.0, 9), (1_660.0, 1), (5_000.0, 1)])
def test_as_many_workers_as_feed_the_step_with_a_reserve(core: float, workers: int) -> None:
    """A core is left to the training process."""
    assert judge(replace(ON_GPU, core=core)).workers == workers


def test_copies_are_recommended_where_they_help() -> None:
    said = judge(replace(ON_GPU, workers=15)).sentence
    assert said.startswith("The cores, which decode too slowly, limit this run: 150 clips a second, 10% of what")
    assert said.endswith(
        "(`surgrec prepare --format frames`) decode 15 times as fast, with which data.workers=6 would do."
    )
    assert "even they would feed 32% of the step" in judge(replace(ON_GPU, prepared={"video": 30.0})).sentence
    assert judge(replace(ON_GPU, prepared={"video": 20.0})).sentence.endswith("would not help.")
    assert judge(replace(ON_GPU, prepared={}, is_prepared=True)).sentence.endswith("copies already.")
