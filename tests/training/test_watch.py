"""When numbers mean a collapse, how it is told, and to which checkpoint a run goes back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.training import checkpoint as module
from surgrec.training.checkpoint import Checkpoints
from surgrec.training.checkpoint_facts import read_facts, read_progress
from surgrec.training.progress import Progress, Pulse, Rollback
from surgrec.training.runtime import Runtime
from surgrec.training.watch import (
    MAX_ROLLBACKS,
    RATE_FACTOR,
    SIGNS,
    CollapseError,
    OnCollapse,
    WatchSpec,
    describe_collapse,
    felt,
    is_collapsed,
    rate_factor,
    respond,
    signs_in,
    told_rollbacks,
)
from tests.training.test_checkpoint import trained

GOOD = {
    "effective_rank": 30.0,
    "num_tokens": 64.0,
    "feature_std": 0.6,
    "target_std": 0.7,
    "target_distance": 0.0,
    "loss": 0.5,
}
BAD = GOOD | {"effective_rank": 2.0}


def spec(on_collapse: OnCollapse = "warn", grace_steps: int = 20) -> WatchSpec:
    return WatchSpec(every=10, patience_steps=30, grace_steps=grace_steps, on_collapse=on_collapse)


def feel(readings: dict[int, dict[str, float]], pulse: Pulse | None = None) -> Pulse:
    pulse = pulse or Pulse()
    for step, numbers in readings.items():
        pulse = felt(spec(), pulse, step, numbers)
    return pulse


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.number)
def test_each_sign_alone_makes_a_bad_reading(sign) -> None:
    worse, at = GOOD | {sign.number: sign.below * 0.99}, GOOD | {sign.number: sign.below}
    assert feel({50: GOOD, 60: worse}) == Pulse(safe_until=20, bad_since=60)
    assert feel({50: GOOD, 60: at}) == Pulse(safe_until=30)


def test_the_spread_of_targets_is_a_sign_where_a_target_encoder_makes_them() -> None:
    dark = GOOD | {"target_std": 0.01}
    assert [sign.number for sign in signs_in(dark)] == ["target_std"]
    assert signs_in({name: value for name, value in dark.items() if name != "target_distance"}) == []


def test_the_rank_of_few_tokens_is_no_sign() -> None:
    assert [sign.number for sign in signs_in(BAD)] == ["effective_rank"]
    assert signs_in(BAD | {"num_tokens": 63.0}) == []


def test_only_bad_readings_without_a_break_are_a_collapse_and_only_after_the_warm_up() -> None:
    early = feel({10: BAD, 20: BAD})
    assert early == Pulse()  # neither good, so nothing to go back to, nor bad
    pulse = feel({30: BAD, 40: BAD, 50: BAD}, early)
    assert not is_collapsed(spec(), pulse, 50)
    assert is_collapsed(spec(), feel({60: BAD}, pulse), 60)
    broken = feel({60: GOOD, 70: BAD, 80: BAD, 90: BAD}, pulse)
    assert broken == Pulse(safe_until=30, bad_since=70) and not is_collapsed(spec(), broken, 90)


def test_a_number_that_was_not_measured_is_no_sign() -> None:
    assert feel({50: {"loss": 0.5}}) == Pulse(safe_until=20)


def test_the_sentence_says_what_since_when_what_it_means_and_what_to_try() -> None:
    said = describe_collapse(Pulse(30, 40), 70, BAD | {"target_distance": 0.01})
    for part in (
        "step 70",
        "since step 40",
        "effective rank of the features 2 (below 8)",
        "tell clips apart",
        "optim.lr",
    ):
        assert part in said
    assert "objective.ema" not in said and "standard deviation" not in said
    assert "objective.ema nearer to 1" in describe_collapse(Pulse(30, 40), 70, BAD | {"target_distance": 0.0})


# -- going back


def saved(runtime: Runtime, folder: Path, pulses: dict[int, Pulse], keep: int = 2) -> Checkpoints:
    checkpoints, state = Checkpoints(folder, keep), trained(0)
    for step, pulse in pulses.items():
        checkpoints.save(runtime, state, Progress(step, {"alpha": step}, pulse))
    return checkpoints


PULSES = {10: Pulse(10), 20: Pulse(20), 30: Pulse(20, 30), 40: Pulse(20, 30), 50: Pulse(20, 30)}


def test_the_newest_healthy_checkpoint_and_the_one_that_is_judged_next_are_kept_beside_the_newest(
    runtime: Runtime, tmp_path: Path
) -> None:
    checkpoints = saved(runtime, tmp_path, PULSES | {60: Pulse(20, 30)})
    assert sorted(path.name[-2:] for path in tmp_path.glob("step_*")) == ["20", "30", "50", "60"]
    healthy = checkpoints.healthy(Progress(60, pulse=Pulse(20, 30)))
    assert healthy is not None and healthy.name == "step_00000020"
    recovered = saved(runtime, tmp_path, {70: Pulse(70), 80: Pulse(80)})
    assert sorted(path.name[-2:] for path in tmp_path.glob("step_*")) == ["70", "80"]
    assert recovered.latest() == tmp_path / "step_00000080"


def test_going_back_makes_the_healthy_one_the_newest_and_says_so_in_its_progress(
    runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = saved(runtime, tmp_path, PULSES)
    assert respond(spec("rollback"), runtime, checkpoints, Progress(60, pulse=Pulse(20, 30)), "it broke")
    assert (
        "warning: it broke; back to step_00000020, from there with 0.3 of the learning rate" in capsys.readouterr().err
    )
    assert [path.name for path in tmp_path.glob("step_*")] == ["step_00000020"]
    progress = checkpoints.restore(runtime, trained(1))
    assert progress == Progress(20, {"alpha": 20}, Pulse(20), [Rollback(60, 20)])
    assert rate_factor(progress) == RATE_FACTOR
    assert told_rollbacks(progress) == ["optim.lr from step 20 on x 0.3 (rolled back at step 60)"]


def test_a_rollback_interrupted_anywhere_is_met_again_and_ends_alike(runtime: Runtime, tmp_path: Path) -> None:
    """As if killed after the progress was written and before `latest` was: the run resumes at the last step and collapses again."""
    checkpoints, broken = saved(runtime, tmp_path, PULSES), Progress(60, pulse=Pulse(20, 30))
    healthy = checkpoints.healthy(broken)
    assert healthy is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "delete", lambda path: None)
        checkpoints.go_back(healthy, broken)
    (tmp_path / "latest").write_text("step_00000050\n")
    assert checkpoints.restore(runtime, trained(1)).rollbacks == []
    assert checkpoints.healthy(broken) == healthy
    checkpoints.go_back(healthy, broken)
    assert checkpoints.restore(runtime, trained(1)).rollbacks == [Rollback(60, 20)]


def test_what_is_left_of_the_way_that_collapsed_is_not_gone_back_to(runtime: Runtime, tmp_path: Path) -> None:
    checkpoints = saved(runtime, tmp_path, {20: Pulse(20), 40: Pulse(40)}, keep=5)
    again = Progress(60, pulse=Pulse(50, 60), rollbacks=[Rollback(70, 20)])
    path = tmp_path / "step_00000020"
    replace(read_facts(path), progress=Progress(20, pulse=Pulse(20), rollbacks=[Rollback(70, 20)])).write(path)
    assert checkpoints.healthy(again) == tmp_path / "step_00000020"


def train(checkpoints: Checkpoints, runtime: Runtime, every: int, stop: int, first_bad: int = 10**9) -> Progress:
    """What a run does with its pulse and its checkpoints, without the training: to the collapse, or to `stop`."""
    state, watch = trained(0), spec("rollback")
    progress = checkpoints.restore(runtime, state)
    if checkpoints.latest() is None:
        checkpoints.save(runtime, state, progress)
    while progress.step < stop:
        progress.step += 1
        if progress.step % watch.every == 0:
            progress.pulse = felt(watch, progress.pulse, progress.step, BAD if progress.step >= first_bad else GOOD)
            if is_collapsed(watch, progress.pulse, progress.step):
                break
        if progress.step % every == 0:
            checkpoints.save(runtime, state, progress)
    return progress


@pytest.mark.parametrize(
    ("every", "keep"),
    [
        *((10, 1), (15, 2), (100, 1)),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((10, 2), (30, 1), (40, 1), (75, 2))),
    ],
)
def test_trust_advances_however_soon_checkpoints_grow_old(
    every: int, keep: int, runtime: Runtime, tmp_path: Path
) -> None:
    """The patience is 30 steps: with the first two, a checkpoint is none of the newest when its verdict comes."""
    checkpoints = Checkpoints(tmp_path, keep)
    progress = train(checkpoints, runtime, every, 250)
    healthy = checkpoints.healthy(progress)
    assert healthy is not None and progress.step - read_progress(healthy).step <= 2 * 30 + every + 10
    assert len(list(tmp_path.glob("step_*"))) <= keep + 2


def test_a_checkpoint_that_was_gone_back_to_stays_trusted_and_three_times_are_all(
    runtime: Runtime, tmp_path: Path
) -> None:
    """Long before the next good reading could vouch for it, and among newer ones that nothing vouches for."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    for number in range(MAX_ROLLBACKS):
        progress = train(checkpoints, runtime, 10, 300, first_bad=130)
        assert respond(spec("rollback"), runtime, checkpoints, progress, "it broke")
        back = checkpoints.restore(runtime, trained(1))
        assert 60 <= back.step < 130 and back.pulse == Pulse(safe_until=back.step)
        assert len(back.rollbacks) == number + 1
    with pytest.raises(CollapseError, match="going back 3 times has not helped"):
        respond(spec("rollback"), runtime, checkpoints, train(checkpoints, runtime, 10, 300, first_bad=130), "it broke")


def test_trust_is_not_lost_by_a_good_reading_soon_after_going_back() -> None:
    assert feel({110: GOOD}, Pulse(safe_until=100)) == Pulse(safe_until=100)
    assert feel({140: GOOD}, Pulse(safe_until=100)) == Pulse(safe_until=110)


def test_what_a_kill_kept_from_going_goes_when_the_run_continues(runtime: Runtime, tmp_path: Path) -> None:
    """Else a later verdict would find more checkpoints than without the kill, and a rollback lead elsewhere."""
    whole, killed = Checkpoints(tmp_path / "whole", keep=1), Checkpoints(tmp_path / "killed", keep=1)
    progress = train(whole, runtime, 10, 70)
    with pytest.MonkeyPatch.context() as patch:
        train(killed, runtime, 10, 60)
        patch.setattr(module, "delete", lambda path: None)
        train(killed, runtime, 10, 70)
    killed.retire(killed.restore(runtime, trained(1)))
    names = [sorted(path.name for path in folder.folder.glob("step_*")) for folder in (whole, killed)]
    assert names[0] == names[1] and whole.healthy(progress) is not None


@pytest.mark.parametrize(
    ("on_collapse", "pulse", "num_before", "sentence"),
    [
        ("stop", Pulse(20, 30), 0, "it broke; the newest checkpoint from before is step_00000020"),
        ("stop", Pulse(0, 30), 0, "it broke; there is no checkpoint from before"),
        ("rollback", Pulse(0, 30), 0, "it broke; there is no checkpoint from before"),
        ("rollback", Pulse(20, 30), MAX_ROLLBACKS, "it broke; going back 3 times has not helped"),
    ],
)
def test_where_it_stops_it_names_what_is_left(
    on_collapse: OnCollapse, pulse: Pulse, num_before: int, sentence: str, runtime: Runtime, tmp_path: Path
) -> None:
    rollbacks = [Rollback(60, 20)] * num_before
    checkpoints, state = Checkpoints(tmp_path, keep=2), trained(0)
    for step in (20, 40):
        checkpoints.save(runtime, state, Progress(step, pulse=Pulse(20), rollbacks=rollbacks))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(CollapseError, match=sentence):
        respond(spec(on_collapse), runtime, checkpoints, Progress(60, {}, pulse, rollbacks), "it broke")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert issubclass(CollapseError, UserError)  # status 2


def test_a_warning_changes_nothing(runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = saved(runtime, tmp_path, PULSES)
    assert not respond(spec("warn"), runtime, checkpoints, Progress(60, pulse=Pulse(20, 30)), "it broke")
    assert "warning: it broke; the newest checkpoint from before is step_00000020" in capsys.readouterr().err
    assert checkpoints.latest() == tmp_path / "step_00000050"


def test_progress_survives_its_file_and_that_of_the_version_before(runtime: Runtime, tmp_path: Path) -> None:
    progress = Progress(7, {"alpha": 3}, Pulse(5, 6, True), [Rollback(9, 4)])
    assert Progress.from_values(json.loads(json.dumps(progress.to_values()))) == progress
    assert Progress.from_values({"step": 7, "sources": {"alpha": 3}}) == Progress(7, {"alpha": 3})
    path = Checkpoints(tmp_path, keep=1).save(runtime, trained(0), progress)
    assert read_progress(path) == progress
