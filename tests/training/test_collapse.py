"""A run that is made to collapse is caught and handled as configured; runs that are not raise no alarm."""

from __future__ import annotations

import re
import signal
from itertools import count
from pathlib import Path

import pytest

from surgrec.training.checkpoint import Checkpoints
from surgrec.training.checkpoint_facts import read_progress
from surgrec.training.progress import Rollback
from tests.training.tiny import (
    VARIANTS,
    Runs,
    Warm,
    assert_same_run,
    metrics_of,
    overrides,
    wait_until,
)

# Without an average to follow, and with far too large steps, the features become one point within a few; with small ones they do not
# within these few, since the first weights are those of the quickstart.
WATCHED = ("trainer.collapse_patience_steps=4", "backbone.positions=sincos_3d", "backbone.init=mimetic")
COLLAPSING = ("objective.ema=0", "optim.lr=3e-2", *WATCHED)


def collapsing(footage: Path, runs: Path, name: str, on_collapse: str, *more: str) -> list[str]:
    return overrides("jepa", footage, runs, name, *COLLAPSING, f"trainer.on_collapse={on_collapse}", *more)


def alarms_of(folder: Path) -> list[int]:
    return [line["step"] for line in metrics_of(folder) if "alarm" in line]


@pytest.mark.slow
def test_a_warning_is_given_once_and_the_run_goes_on(warm: Warm, footage: Path, tmp_path: Path) -> None:
    said = warm.run(collapsing(footage, tmp_path, "warned", "warn"))
    assert said.count("warning:") == 1 and "the features have collapsed, in every reading since step" in said
    assert "objective.ema nearer to 1" in said and "docs/healthy_runs.md" in said
    assert metrics_of(tmp_path / "warned")[-1]["step"] == 12
    (step,) = alarms_of(tmp_path / "warned")
    warm.run([*collapsing(footage, tmp_path, "again", "warn"), f"trainer.checkpoint_every={step}"])
    resumed = tmp_path / "again"
    (resumed / "checkpoints" / "latest").write_text(f"step_{step:08d}\n")
    said = warm.run([*collapsing(footage, tmp_path, "again", "warn"), f"trainer.checkpoint_every={step}"])
    assert "warning:" not in said and alarms_of(resumed) == [step]  # told before, and known after resuming


@pytest.mark.slow
def test_a_stop_is_status_2_and_keeps_the_checkpoints(warm: Warm, footage: Path, tmp_path: Path) -> None:
    arguments = collapsing(footage, tmp_path, "stopped", "stop")
    said = warm.run(arguments, status=2)
    assert "error: step" in said and "the features have collapsed" in said and "Traceback" not in said
    checkpoints = Checkpoints(tmp_path / "stopped" / "checkpoints", keep=2)
    newest = checkpoints.latest()
    assert newest is not None and read_progress(newest).step < alarms_of(tmp_path / "stopped")[0]
    again = warm.run(arguments, status=2)  # the same command meets the same collapse
    assert again.splitlines()[-1] == said.splitlines()[-1]
    warm.run([*arguments, "trainer.on_collapse=warn"])  # which may be changed when continuing


@pytest.fixture(scope="module")
def rolled_back(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that went back, undisturbed."""
    runs = tmp_path_factory.mktemp("rolled_back")
    warm.run(collapsing(footage, runs, "whole", "rollback"))
    return runs / "whole"


@pytest.mark.slow
def test_a_rollback_goes_on_from_a_healthy_checkpoint_with_a_lower_rate(rolled_back: Path) -> None:
    newest = Checkpoints(rolled_back / "checkpoints", keep=2).latest()
    assert newest is not None
    progress = read_progress(newest)
    lines = metrics_of(rolled_back)
    assert progress.step == 12 and [line["step"] for line in lines] == list(range(1, 13))
    first = progress.rollbacks[0]
    assert isinstance(first, Rollback) and first.to_step < first.from_step <= 12
    factor = 0.3 ** len(progress.rollbacks)
    last = progress.rollbacks[-1].to_step
    rates = [line["lr"] for line in lines if line["step"] > max(last, 2)]
    assert rates == pytest.approx([3e-2 * factor] * len(rates)) and len(rates) > 5


@pytest.mark.parametrize("moment", [pytest.param(moment, marks=pytest.mark.slow) for moment in (2, 6, 10)])
def test_a_run_that_is_rolled_back_continues_after_a_kill_as_if_nothing_had_happened(
    moment: int, warm: Warm, footage: Path, rolled_back: Path, tmp_path: Path
) -> None:
    arguments = collapsing(footage, tmp_path, "killed", "rollback")
    process = warm.start(arguments)
    file = tmp_path / "killed" / "metrics.jsonl"
    wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") >= moment, process)
    process.signal(signal.SIGKILL)
    process.wait()
    warm.run(arguments)
    assert_same_run(tmp_path / "killed", rolled_back)
    newest, other = (
        Checkpoints(folder / "checkpoints", keep=2).latest() for folder in (tmp_path / "killed", rolled_back)
    )
    assert newest is not None and other is not None
    assert read_progress(newest) == read_progress(other)


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 34])
def test_a_kill_before_any_change_of_a_file_while_going_back(
    first: int, warm: Warm, footage: Path, rolled_back: Path, tmp_path: Path
) -> None:
    """Every 33rd of all states in which a killed run can leave its folder, of one that went back on the way."""
    for number in count(first, step=66):
        folder = tmp_path / f"killed_{number}"
        arguments = collapsing(footage, tmp_path, folder.name, "rollback")
        status = warm.start(arguments, crash=(folder, number)).wait()
        if status == 0:  # there are not that many changes
            break
        assert status == -signal.SIGKILL
        warm.run(arguments)
        assert_same_run(folder, rolled_back)
    assert number > 100


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_see_the_same_collapse_and_go_back_together(
    strategy: str, warm: Warm, footage: Path, rolled_back: Path, tmp_path: Path
) -> None:
    arguments = collapsing(footage, tmp_path, "two", "rollback")
    said = warm.run_world(2, [*arguments, f"runtime={strategy}", "runtime.accelerator=cpu"])
    newest = Checkpoints(tmp_path / "two" / "checkpoints", keep=2).latest()
    assert newest is not None
    progress = read_progress(newest)
    assert progress.rollbacks and said.count("of the learning rate") == len(progress.rollbacks)  # said by one of them
    mine, alone = metrics_of(tmp_path / "two"), metrics_of(rolled_back)
    assert [line["step"] for line in mine] == list(range(1, 13))
    pooled = ("feature_std", "effective_rank", "clip_similarity", "target_std", "prediction_spread", "target_distance")
    for name in pooled:  # over all ranks, not those of one
        assert mine[0][name] == pytest.approx(alone[0][name], rel=1e-3, abs=1e-6), name


@pytest.mark.slow
def test_a_run_that_may_be_rolled_back_and_is_not_is_the_same_run(
    warm: Warm, footage: Path, uninterrupted: Runs, tmp_path: Path
) -> None:
    """It saves where it starts, and goes on from there."""
    warm.run(overrides("jepa", footage, tmp_path, "calm", "trainer.on_collapse=rollback"))
    assert_same_run(tmp_path / "calm", uninterrupted / "jepa")
    assert (tmp_path / "calm" / "checkpoints" / "step_00000000").is_dir()


# -- at the default interval and patience

DEFAULTS = ("trainer.health_every=20", "trainer.log_every=20", "trainer.collapse_patience_steps=60")


@pytest.mark.slow
@pytest.mark.parametrize("on_collapse", ["warn", "stop", "rollback"])
def test_a_collapsing_setting_is_caught_within_200_steps(
    on_collapse: str, warm: Warm, footage: Path, tmp_path: Path
) -> None:
    more = (*DEFAULTS, "trainer.steps=200", "optim.warmup_steps=10", "trainer.checkpoint_every=20")
    arguments = collapsing(footage, tmp_path, "long", on_collapse, *more)
    said = warm.run(arguments, status=0 if on_collapse == "warn" else 2)
    caught = [int(step) for step in re.findall(r"step (\d+): the features have collapsed", said)]
    assert caught and caught[0] <= 100
    assert alarms_of(tmp_path / "long")[0] <= 100
    if on_collapse == "rollback":  # without an average no rate helps: it says so in the end
        assert len(caught) == 4 and "going back 3 times has not helped" in said


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_healthy_run_raises_no_alarm(variant: str, warm: Warm, footage: Path, tmp_path: Path) -> None:
    """The quickstart's model and recipe on the tests' footage."""
    arguments = [
        f"+variant={variant}",
        "+experiment=quickstart",
        f"mix.manifests=[{footage}]",
        f"paths.runs={tmp_path}",
    ]
    # longer than the warm-up of 50 steps and the patience of 60 together
    more = ["name=fine", "trainer.steps=150", "trainer.health_every=10", "data.workers=0", "runtime=cpu"]
    said = warm.run([*arguments, *more, "data.frame_interval_seconds=0.1"])
    assert "warning" not in said and alarms_of(tmp_path / "fine") == []


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_does_not_collapse_raises_no_alarm(variant: str, warm: Warm, footage: Path, tmp_path: Path) -> None:
    """The first weights, the patience and the length of the runs above, and none of what makes them collapse."""
    arguments = overrides(variant, footage, tmp_path, "fine", *WATCHED, "trainer.on_collapse=stop")
    said = warm.run(arguments)
    assert "warning" not in said and alarms_of(tmp_path / "fine") == []
    assert len(metrics_of(tmp_path / "fine")) == 12
