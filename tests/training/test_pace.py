"""Who holds the others up is found by what each rank takes for itself; utilisation is counted operations over a published peak."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from surgrec.config.build import build_plan, model_flops
from surgrec.config.compose import compose_config
from surgrec.config.phases import phases_of
from surgrec.core.spans import Spans
from surgrec.training.pace import STRAGGLER_LINES, Costs, ForwardClock, Pace, RankPace, Stragglers, among
from surgrec.training.peaks import peak_flops
from tests.training.tiny import Warm, lines_of, overrides

DELAYED = "tests.training.delayed:main"


def rank(waiting: float, forward: float = 0.0, video: str = "v", reserved: int = 0) -> RankPace:
    return RankPace("node", waiting, forward, video, waiting, reserved // 2, reserved)


def test_a_slowdown_is_what_steps_would_gain_without_the_slowest_rank() -> None:
    """Of four ranks that need 1 s of a step of 2 s for themselves, one waits another 3 s: the step takes 5 s, 2.5 times as long."""
    numbers = among([rank(0.2, 0.8), rank(0.2, 0.8), rank(3.2, 0.8, "late"), rank(0.0, 0.9)], step_seconds=5.0)
    assert numbers["slowdown"] == pytest.approx(2.5)
    assert (numbers["slowest"], numbers["video"], numbers["host"]) == (2, "late", "node")
    assert numbers["own_seconds"] == [0.9, 1.0, 4.0] and numbers["waiting_seconds"] == [0.0, 0.2, 3.2]
    assert among([rank(0.1), rank(0.1)], step_seconds=1.0)["slowdown"] == 1.0
    assert among([rank(0.0), rank(9.0)], step_seconds=1.0)["slowdown"] > 1e3, "clocks that disagree end no run"


def test_as_much_is_told_of_a_thousand_ranks_as_of_two() -> None:
    few, many = (among([rank(0.01 * number) for number in range(count)], 20.0) for count in (2, 1024))
    assert few.keys() == many.keys() and many["slowest"] == 1023
    assert [len(many[name]) for name in ("own_seconds", "waiting_seconds")] == [3, 3]


def verdicts(stragglers: Stragglers, lines: list[list[RankPace]]) -> list[str | None]:
    return [stragglers.judge(number, ranks, among(ranks, 1.0)) for number, ranks in enumerate(lines)]


def test_a_straggler_is_told_once_after_several_lines_and_again_after_it_was_fast() -> None:
    fine, slow, other = [rank(0.1), rank(0.1)], [rank(0.1), rank(0.9, video="vid")], [rank(0.9), rank(0.1)]
    told = verdicts(Stragglers(1.25), [slow, fine, slow, slow, slow, slow, fine, slow, slow, slow])
    assert [line is not None for line in told] == [*[False] * 4, True, *[False] * 4, True]
    sentence = told[4]
    assert sentence is not None and sentence.startswith(
        "step 4: rank 1 on node holds the others up, in each of the last 3"
    )
    assert (
        "waits 0.90 s a step for clips (median 0.10 s), the slowest of video vid, which took 0.90 s to read" in sentence
    )
    assert "steps take 5 times as long as without it" in sentence
    changing = verdicts(Stragglers(1.25), [slow, other] * STRAGGLER_LINES)
    assert changing == [None] * len(changing), "no one of them is slow"
    assert verdicts(Stragglers(10.0), [slow] * 9) == [None] * 9


def test_a_slow_device_is_not_blamed_on_a_video() -> None:
    slow = [rank(0.1, 0.1), rank(0.1, 0.7)]
    told = verdicts(Stragglers(1.25), [slow] * STRAGGLER_LINES)[-1]
    assert told is not None and "takes 0.80 s a step for itself (median 0.20 s)" in told and "video" not in told


# -- a line of one process


def runtime_of(world: int, **more: Any) -> Any:
    return SimpleNamespace(
        has_cuda=False,
        is_sharded=False,
        gather=lambda mine: [mine] * world,
        fabric=SimpleNamespace(world_size=world),
        **more,
    )


def clip(row: int, seconds: float) -> Any:
    return SimpleNamespace(slowest_row=row, slowest_seconds=seconds)


def test_utilisation_is_operations_over_time_world_and_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """5 steps of 8 clips of 3 TFLOP, then 5 of 4 clips of 6, in 10 s on 4 devices of 20 TFLOP/s: 6 TFLOP/s each, 30 %."""
    clock = iter([100.0, 110.0, 110.5])
    monkeypatch.setattr("surgrec.training.pace.time.monotonic", lambda: next(clock))
    costs = Costs((3 * 10**12, 6 * 10**12), Spans([(15, 8), (100, 4)]), 20e12)
    assert costs.flops(0, 115) == 10**12 * (15 * 8 * 3 + 100 * 4 * 6)
    pace = Pace(runtime_of(4), ForwardClock(), costs, ["a", "b"], 1.25, 10)
    pace.note([clip(0, 0.2), clip(1, 0.7)])
    pace.note([clip(0, 0.3)])
    line = pace.line(20, seconds_waiting=4.0)
    assert line["tflops_per_second"] == pytest.approx(6.0) and line["mfu"] == pytest.approx(0.3)
    assert line["step_seconds"] == 1.0 and line["slowest_clip"] == {"video": "b", "seconds": 0.7}
    assert line["ranks"]["waiting_seconds"] == [0.4, 0.4, 0.4]
    assert pace.line(21, seconds_waiting=4.5)["ranks"]["waiting_seconds"] == [0.5] * 3, "since the line before"


def test_without_a_known_peak_or_device_there_is_a_rate_alone() -> None:
    pace = Pace(runtime_of(1), ForwardClock(), Costs((10**12,), Spans([(9, 1)]), None), [], 1.25, 0)
    assert set(pace.line(1, 0.0)) == {"step_seconds", "tflops_per_second"}


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA B200", 2250.0),
        ("NVIDIA L40S", 362.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA GB200", None),
        ("Tesla V100-SXM2-32GB", None),
        ("", None),
    ],
)
def test_only_what_a_maker_publishes_is_a_peak(name: str, teraflops: float | None) -> None:
    assert peak_flops(name, "bf16-mixed") == (None if teraflops is None else teraflops * 1e12)
    assert peak_flops(name, "32-true") is None


def test_a_plan_costs_what_the_model_needs_whatever_is_computed_again() -> None:
    options = ["+variant=jepa", "mix.manifests=[none.parquet]", "+experiment=cooldown"]
    for checkpointing in ("none", "full"):
        config = compose_config([*options, f"runtime.activation_checkpointing={checkpointing}"])
        assert build_plan(config).clip_flops == tuple(model_flops(phase.config) for phase in phases_of(config))
    first, second = build_plan(config).clip_flops
    assert first / 1e9 == pytest.approx(3561, rel=0.01)  # as benchmarks/speed.py counts it
    assert second > 4 * first, "a clip of 4 times as many tokens, whose attention grows with the square"


@pytest.mark.slow
def test_of_two_processes_the_one_with_a_slow_video_is_named(warm: Warm, footage: Path, tmp_path: Path) -> None:
    options = ("trainer.steps=20", "trainer.log_every=4", "trainer.health_every=20", "trainer.checkpoint_every=100")
    ddp = ("runtime=ddp", "runtime.accelerator=cpu")
    said = warm.run_world(2, overrides("mae", footage, tmp_path, "slow", *options, *ddp), DELAYED)
    lines = lines_of(tmp_path / "slow" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 4, 8, 12, 16, 20]
    named = [line["straggler"] for line in lines if "straggler" in line]
    (video,) = {line["ranks"]["video"] for line in lines[1:]}
    assert video.startswith("alpha") and all(line["ranks"]["slowest"] == 1 for line in lines[1:])
    assert all(line["ranks"]["video_seconds"] > 0.9 for line in lines[1:])
    assert len(named) == 1 and f"the slowest of video {video}" in named[0] and "rank 1 on" in named[0]
    assert said.count(f"warning: {named[0]}") == 1 and "mp4" not in said
