"""Checkpoints are whole or absent, hold everything, and are trusted only where they are whole."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from surgrec.core.errors import UserError
from surgrec.optim.optimizer import build_adamw
from surgrec.training import checkpoint as module
from surgrec.training.checkpoint import Checkpoints, Progress, Pulse, Trained, checkpoint_of, load_weights
from surgrec.training.runtime import Runtime, RuntimeSpec
from surgrec.training.update import Update


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(RuntimeSpec(accelerator="cpu", strategy="single", precision="32-true"))


def at(step: int) -> Progress:
    """Of a run whose checkpoints are trusted at once, so that none is kept until it is judged."""
    return Progress(step, pulse=Pulse(safe_until=step))


def trained(seed: int, is_frozen_empty: bool = False, fused: bool = True) -> Trained:
    """A learner, its slow copy and its optimiser, drawn from `seed`."""
    torch.manual_seed(seed)
    learner = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    frozen = nn.ModuleDict() if is_frozen_empty else nn.ModuleDict({"target": copy.deepcopy(learner[0])})
    frozen.requires_grad_(False)
    return Trained(learner, frozen, build_adamw(learner, (0.9, 0.95), 1e-8, 0.05, fused=fused))


def update(state: Trained, seed: int) -> None:
    """One step on data that depends on the seed alone."""
    data = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    for group in state.optimizer.param_groups:
        group["lr"] = 1e-2
    state.learner(data).square().mean().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    for weight in state.frozen.parameters():
        weight.mul_(0.9).add_(float(data.mean()))


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in leaves(inner, f"{name}/{part}").items()}


def assert_equal(one: Trained, other: Trained) -> None:
    first, second = leaves(one.state()), leaves(other.state())
    assert first.keys() == second.keys()
    for name, value in first.items():
        equal = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        assert equal, name


@pytest.mark.parametrize("is_frozen_empty", [False, True])
def test_what_is_restored_equals_what_was_saved_bit_for_bit(
    is_frozen_empty: bool, runtime: Runtime, tmp_path: Path
) -> None:
    before = trained(0, is_frozen_empty)
    for seed in range(3):
        update(before, seed)
    checkpoints = Checkpoints(tmp_path, keep=2)
    folder = checkpoints.save(runtime, before, Progress(3, {"alpha": 20, "beta": 4}))
    after = trained(1, is_frozen_empty)
    update(after, 9)
    assert checkpoints.restore(after) == Progress(3, {"alpha": 20, "beta": 4})
    assert folder.name == "step_00000003"
    assert_equal(before, after)
    for state in (before, after):  # and so does everything that follows
        update(state, 3)
    assert_equal(before, after)


@pytest.mark.parametrize("fused", [False, True])
def test_the_optimiser_stays_as_fused_as_it_was_built(fused: bool, runtime: Runtime, tmp_path: Path) -> None:
    """`runtime.fused_optimizer` may be changed when a run continues."""
    before, after = trained(0, fused=not fused), trained(1, fused=fused)
    checkpoints = Checkpoints(tmp_path, keep=2)
    update(before, 0)
    checkpoints.save(runtime, before, Progress(1))
    checkpoints.restore(after)
    assert [group["fused"] for group in after.optimizer.param_groups] == [fused] * len(after.optimizer.param_groups)
    assert Update(runtime, after, None).is_fused == fused
    for state in (before, after):
        update(state, 1)
    for mine, its in zip(before.learner.parameters(), after.learner.parameters(), strict=True):
        torch.testing.assert_close(mine, its)


def test_a_fresh_folder_starts_at_step_0_and_changes_nothing(tmp_path: Path) -> None:
    state, same = trained(0), trained(0)
    assert Checkpoints(tmp_path / "absent", keep=2).restore(state) == Progress(0, {})
    assert_equal(state, same)


def test_saving_does_not_change_what_is_trained(runtime: Runtime, tmp_path: Path) -> None:
    state, same = trained(0), trained(0)
    for seed in range(3):
        update(state, seed)
        Checkpoints(tmp_path, keep=2).save(runtime, state, Progress(seed + 1))
        update(same, seed)
    assert_equal(state, same)


def test_an_exception_in_the_middle_of_a_save_leaves_the_checkpoint_before(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, state = Checkpoints(tmp_path, keep=2), trained(0)
    update(state, 0)
    checkpoints.save(runtime, state, Progress(1))
    first = copy.deepcopy(leaves(state.state()))
    update(state, 1)

    def break_off(*_: Any, checkpoint_id: Path, **__: Any) -> None:
        (checkpoint_id / "__0_0.distcp").write_bytes(b"half a file")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(module.dcp, "save", break_off)
        checkpoints.save(runtime, state, Progress(2))
    assert [path.name for path in tmp_path.glob(".step_*")] == [".step_00000002.partial"]

    restored = trained(1)
    assert checkpoints.restore(restored).step == 1
    assert all(torch.equal(first[name], leaf) for name, leaf in leaves(restored.state()).items() if "param" not in name)
    update(restored, 1)
    checkpoints.save(runtime, restored, Progress(2))  # over what was left
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_00000001", "step_00000002"]
    again = trained(2)
    assert checkpoints.restore(again).step == 2
    assert_equal(state, again)


def test_what_an_interrupted_save_of_another_step_left_is_cleaned(runtime: Runtime, tmp_path: Path) -> None:
    leftover = tmp_path / ".step_00000007.partial"
    leftover.mkdir()
    (leftover / "__0_0.distcp").write_bytes(b"half a file")
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest() is None
    checkpoints.save(runtime, trained(0), Progress(5))
    assert not leftover.exists()


@pytest.mark.parametrize("keep", [1, 2])
def test_a_save_interrupted_before_it_is_named_costs_nothing(
    keep: int, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole on the disk, but `latest` names the one before: the run goes on from there, and may save an earlier step next."""
    checkpoints, state = Checkpoints(tmp_path, keep), trained(0)
    checkpoints.save(runtime, state, Progress(3))

    def break_off(path: Path, text: str) -> None:
        if path.name == "latest":
            raise KeyboardInterrupt
        path.write_text(text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "write_text", break_off)
        checkpoints.save(runtime, state, Progress(9))
    assert (tmp_path / "step_00000009").is_dir() and checkpoints.restore(trained(1)).step == 3

    update(state, 0)
    checkpoints.save(runtime, state, Progress(5))  # a signal, say
    restored = trained(1)
    assert checkpoints.restore(restored).step == 5
    assert_equal(state, restored)
    checkpoints.save(runtime, state, Progress(9))
    assert checkpoints.restore(trained(1)).step == 9


def test_a_run_that_is_set_back_keeps_what_latest_names(runtime: Runtime, tmp_path: Path) -> None:
    checkpoints, state = Checkpoints(tmp_path, keep=2), trained(0)
    for step in (5, 10):
        checkpoints.save(runtime, state, at(step))
    (tmp_path / "latest").write_text("step_00000005\n")
    for step in (6, 7):
        checkpoints.save(runtime, state, at(step))
        assert checkpoints.restore(trained(1)).step == step
    checkpoints.save(runtime, state, at(15))
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_00000010", "step_00000015"]


def test_the_newest_are_kept(runtime: Runtime, tmp_path: Path) -> None:
    checkpoints, state = Checkpoints(tmp_path, keep=2), trained(0)
    for step in (1, 2, 3, 100_000_000):
        checkpoints.save(runtime, state, at(step))
        assert checkpoints.latest() == tmp_path / f"step_{step:08d}"
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_00000003", "step_100000000"]


def test_a_checkpoint_is_whole_or_absent_even_while_it_is_deleted(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, state = Checkpoints(tmp_path, keep=1), trained(0)
    checkpoints.save(runtime, state, at(1))

    def break_off(path: Path, **_: Any) -> None:
        if path.exists():
            next(file for file in path.iterdir() if file.is_file()).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.shutil, "rmtree", break_off)
        checkpoints.save(runtime, state, at(2))
    assert [path.name for path in tmp_path.glob("step_*")] == ["step_00000002"]
    checkpoints.save(runtime, state, at(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_00000003"]


@pytest.mark.parametrize("has_folder", [False, True])
def test_latest_that_names_nothing_whole_is_an_error_that_says_what_to_do(has_folder: bool, tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("step_00000004\n")
    if has_folder:
        (tmp_path / "step_00000004").mkdir()
    with pytest.raises(UserError, match="step_00000004, which is not there or not whole; write the name"):
        Checkpoints(tmp_path, keep=2).restore(trained(0))
    with pytest.raises(UserError, match="step_00000004"):
        checkpoint_of(tmp_path, None)


def test_weights_alone_are_read_without_an_optimiser(runtime: Runtime, tmp_path: Path) -> None:
    before, after = trained(0), trained(1)
    update(before, 0)
    Checkpoints(tmp_path, keep=2).save(runtime, before, Progress(1, {"alpha": 8}))
    assert load_weights(checkpoint_of(tmp_path, None), after.learner, after.frozen) == Progress(1, {"alpha": 8})
    for mine, other in ((before.learner, after.learner), (before.frozen, after.frozen)):
        assert all(torch.equal(one, two) for one, two in zip(mine.parameters(), other.parameters(), strict=True))
    assert not after.optimizer.state
    assert not any(weight.requires_grad for weight in after.frozen.parameters())


def test_a_checkpoint_of_a_step_is_found_or_the_error_lists_what_there_is(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no checkpoint; there is: none"):
        checkpoint_of(tmp_path, None)
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (2, 4):
        checkpoints.save(runtime, trained(0), Progress(step))
    assert checkpoint_of(tmp_path, None).name == "step_00000004"
    assert checkpoint_of(tmp_path, 2).name == "step_00000002"
    with pytest.raises(UserError, match=r"no checkpoint of step 3; there is: step_00000002, step_00000004"):
        checkpoint_of(tmp_path, 3)


@pytest.mark.parametrize("damage", ["another shape", "another layer", "cut short"])
def test_a_checkpoint_that_does_not_fit_or_is_damaged_is_one_sentence(
    damage: str, runtime: Runtime, tmp_path: Path
) -> None:
    saved = trained(0)
    path = Checkpoints(tmp_path, keep=1).save(runtime, saved, Progress(1))
    learner, frozen = saved.learner, saved.frozen
    if damage == "another shape":
        learner[0] = nn.Linear(7, 5)
    elif damage == "another layer":
        learner.append(nn.Linear(3, 3))
    else:
        for file in path.glob("*.distcp"):
            file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=f"{path} cannot be read into this model: .*; it is damaged, or of another"):
        load_weights(path, learner, frozen)
