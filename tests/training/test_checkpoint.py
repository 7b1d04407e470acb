"""Checkpoints are whole or absent, hold everything, and are trusted only where they are whole."""

from __future__ import annotations

import copy
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from surgrec.core.errors import UserError
from surgrec.optim.optimizer import build_adamw
from surgrec.training import checkpoint_facts, checkpoint_folder, checkpoint_writer
from surgrec.training.agreement import Ranks
from surgrec.training.checkpoint import Checkpoints, load_weights
from surgrec.training.checkpoint_folder import CheckpointError
from surgrec.training.checkpoint_listing import checkpoint_of
from surgrec.training.progress import Progress, Pulse
from surgrec.training.runtime import Runtime, SharedError
from surgrec.training.staging import HostCopy, num_bytes, shared_out, tensors_of
from surgrec.training.trained import Trained, weights_of
from surgrec.training.update import Update


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


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("is_frozen_empty", [False, True])
def test_what_is_restored_equals_what_was_saved_bit_for_bit(
    is_frozen_empty: bool, is_async: bool, runtime: Runtime, tmp_path: Path
) -> None:
    before = trained(0, is_frozen_empty)
    for seed in range(3):
        update(before, seed)
    checkpoints = Checkpoints(tmp_path, keep=2, is_async=is_async)
    folder = checkpoints.save(runtime, before, Progress(3, {"alpha": 20, "beta": 4}))
    after = trained(1, is_frozen_empty)
    update(after, 9)
    assert checkpoints.restore(runtime, after) == Progress(3, {"alpha": 20, "beta": 4})
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
    checkpoints.restore(runtime, after)
    assert [group["fused"] for group in after.optimizer.param_groups] == [fused] * len(after.optimizer.param_groups)
    assert Update(runtime, after, None).is_fused == fused
    for state in (before, after):
        update(state, 1)
    for mine, its in zip(before.learner.parameters(), after.learner.parameters(), strict=True):
        torch.testing.assert_close(mine, its)


def test_a_fresh_folder_starts_at_step_0_and_changes_nothing(runtime: Runtime, tmp_path: Path) -> None:
    state, same = trained(0), trained(0)
    assert Checkpoints(tmp_path / "absent", keep=2).restore(runtime, state) == Progress(0, {})
    assert_equal(state, same)


@pytest.mark.parametrize("is_async", [False, True])
def test_saving_does_not_change_what_is_trained(is_async: bool, runtime: Runtime, tmp_path: Path) -> None:
    state, same = trained(0), trained(0)
    checkpoints = Checkpoints(tmp_path, keep=2, is_async=is_async)
    for seed in range(3):
        update(state, seed)
        checkpoints.save(runtime, state, Progress(seed + 1))
        update(same, seed)
    checkpoints.wait()
    assert_equal(state, same)


# -- beside the training


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is written before this is set."""
    event, save = threading.Event(), checkpoint_writer.dcp.save

    def wait_and_save(*arguments: Any, **options: Any) -> None:
        assert event.wait(60)
        save(*arguments, **options)

    monkeypatch.setattr(checkpoint_writer.dcp, "save", wait_and_save)
    yield event
    event.set()


def test_what_is_saved_is_of_the_moment_of_the_save_however_late_it_is_written(
    held: threading.Event, runtime: Runtime, tmp_path: Path
) -> None:
    state, then = trained(0), trained(0)
    for each in (state, then):
        update(each, 0)
    checkpoints, progress = Checkpoints(tmp_path, keep=2, is_async=True), Progress(1, {"alpha": 8})
    checkpoints.save(runtime, state, progress)
    for seed in range(1, 4):  # the training goes on, in every tensor, option and count
        update(state, seed)
    state.optimizer.param_groups[0]["lr"], progress.step, progress.sources["alpha"] = 0.5, 4, 32
    assert checkpoints.latest() is None
    held.set()
    after = trained(1)
    assert checkpoints.restore(runtime, after) == Progress(1, {"alpha": 8})
    assert_equal(after, then)


def test_one_save_is_under_way_at_a_time_and_all_are_written(
    held: threading.Event, runtime: Runtime, tmp_path: Path
) -> None:
    state, checkpoints = trained(0), Checkpoints(tmp_path, keep=3, is_async=True)
    threading.Timer(0.2, held.set).start()
    states = []
    for step in (1, 2, 3):
        update(state, step)
        checkpoints.save(runtime, state, at(step))
        states.append(copy.deepcopy(leaves(state.state())))
        assert sum(thread.name.startswith("step_") for thread in threading.enumerate()) <= 1
    checkpoints.wait()
    for step, expected in zip((1, 2, 3), states, strict=True):  # though all were copied into the same memory
        restored = trained(9)
        load_weights(tmp_path / f"step_{step:08d}", restored.learner, restored.frozen)
        for name, value in leaves(weights_of(restored.learner, restored.frozen)).items():
            assert torch.equal(value, expected[name]), (step, name)


def test_memory_for_copies_is_made_once(runtime: Runtime) -> None:
    state, held_copy, ranks = trained(0), HostCopy(), Ranks(0, 1)
    places = []
    for seed in range(2):
        update(state, seed)
        whole = state.state()
        staged, arrived = held_copy.take(whole, shared_out(whole, ranks))
        arrived()
        places.append({name: tensor.data_ptr() for name, tensor in tensors_of(staged)})
        for (name, value), (_, now) in zip(tensors_of(staged), tensors_of(whole), strict=True):
            assert torch.equal(value, now) and value.data_ptr() != now.data_ptr(), name
    assert places[0] == places[1] and len(places[0]) > 10


def test_an_error_beside_the_training_is_seen_and_raised_by_the_next_call_whatever_it_is(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, checkpoints = trained(0), Checkpoints(tmp_path, keep=2, is_async=True)

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of no one's making")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_writer.dcp, "save", fail)
        checkpoints.save(runtime, state, Progress(1))
        while not checkpoints.has_failed:
            pass
        with pytest.raises(ZeroDivisionError):
            checkpoints.save(runtime, state, Progress(2))
    assert list(tmp_path.iterdir()) == []
    checkpoints.save(runtime, state, Progress(2))
    assert checkpoints.restore(runtime, trained(1)).step == 2


def test_what_all_hold_is_dealt_out_evenly_and_every_tensor_once() -> None:
    """Among three ranks that hold the same."""
    state = trained(0).state()
    shares = [shared_out(state, Ranks(rank, 3)) for rank in range(3)]
    names = [name for share in shares for name in share]
    assert sorted(names) == sorted(name for name, _ in tensors_of(state)) and len(set(names)) == len(names)
    sizes = [num_bytes(share) for share in shares]
    assert max(sizes) - min(sizes) <= max(num_bytes({"": tensor}) for _, tensor in tensors_of(state))


# -- whole or absent


@pytest.mark.parametrize("is_async", [False, True])
def test_a_save_that_fails_leaves_the_checkpoint_before_and_nothing_of_itself(
    is_async: bool, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, state = Checkpoints(tmp_path, keep=2, is_async=is_async), trained(0)
    update(state, 0)
    checkpoints.save(runtime, state, Progress(1))
    first = copy.deepcopy(leaves(state.state()))
    checkpoints.wait()
    update(state, 1)

    def break_off(*_: Any, storage_writer: Any, **__: Any) -> None:
        (storage_writer.path / "__0_0.distcp").write_bytes(b"half a file")
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_writer.dcp, "save", break_off)
        with pytest.raises(
            CheckpointError, match=r"no room for the checkpoint of step 2 \(Disk quota exceeded\): it needs"
        ):
            checkpoints.save(runtime, state, Progress(2))
            checkpoints.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_00000001"]
    assert not checkpoints.has_failed

    restored = trained(1)
    assert checkpoints.restore(runtime, restored).step == 1
    assert all(torch.equal(first[name], leaf) for name, leaf in leaves(restored.state()).items() if "param" not in name)
    update(restored, 1)
    checkpoints.save(runtime, restored, Progress(2))
    again = trained(2)
    assert checkpoints.restore(runtime, again).step == 2
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
        patch.setattr(checkpoint_folder, "write_text", break_off)
        checkpoints.save(runtime, state, Progress(9))
    assert (tmp_path / "step_00000009").is_dir() and checkpoints.restore(runtime, trained(1)).step == 3

    update(state, 0)
    checkpoints.save(runtime, state, Progress(5))  # a signal, say
    restored = trained(1)
    assert checkpoints.restore(runtime, restored).step == 5
    assert_equal(state, restored)
    checkpoints.save(runtime, state, Progress(9))
    assert checkpoints.restore(runtime, trained(1)).step == 9


def test_a_run_that_is_set_back_keeps_what_latest_names(runtime: Runtime, tmp_path: Path) -> None:
    checkpoints, state = Checkpoints(tmp_path, keep=2), trained(0)
    for step in (5, 10):
        checkpoints.save(runtime, state, at(step))
    (tmp_path / "latest").write_text("step_00000005\n")
    for step in (6, 7):
        checkpoints.save(runtime, state, at(step))
        assert checkpoints.restore(runtime, trained(1)).step == step
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
        patch.setattr(checkpoint_folder.shutil, "rmtree", break_off)
        checkpoints.save(runtime, state, at(2))
    assert [path.name for path in tmp_path.glob("step_*")] == ["step_00000002"]
    checkpoints.save(runtime, state, at(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "step_00000003"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("reader", ["file_sum", "_read_json"])
def test_one_that_cannot_be_asked_for_now_is_not_taken_for_damaged(
    reader: str, number: int, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be whole: the run ends with what the system says, and goes on from it when it answers again."""
    checkpoints, state = Checkpoints(tmp_path, keep=2), trained(0)
    for step in (2, 3):
        update(state, step)
        checkpoints.save(runtime, state, at(step))
    before = sorted(path.name for path in tmp_path.iterdir())

    def no_answer(*_: Any) -> None:
        raise OSError(number, os.strerror(number), "file")

    with monkeypatch.context() as context:
        context.setattr(checkpoint_facts, reader, no_answer)
        with pytest.raises(OSError, match=os.strerror(number)):
            Checkpoints(tmp_path, keep=2).restore(runtime, trained(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Checkpoints(tmp_path, keep=2).restore(runtime, trained(1)).step == 3


@pytest.mark.parametrize("has_folder", [False, True])
def test_latest_that_names_nothing_whole_is_an_error_and_no_fresh_start(
    has_folder: bool, runtime: Runtime, tmp_path: Path
) -> None:
    (tmp_path / "latest").write_text("step_00000004\n")
    if has_folder:
        (tmp_path / "step_00000004").mkdir()
    for _ in range(2):  # the same command again is the same error
        with pytest.raises(
            UserError, match=r"no checkpoint that is whole \(step_00000004: checkpoint.json is missing\)"
        ):
            Checkpoints(tmp_path, keep=2).restore(runtime, trained(0))
    with pytest.raises(UserError, match="step_00000004, which is the newest checkpoint, is not whole"):
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


@pytest.mark.parametrize("difference", ["another shape", "another layer"])
def test_a_checkpoint_that_does_not_fit_is_one_sentence(difference: str, runtime: Runtime, tmp_path: Path) -> None:
    saved = trained(0)
    path = Checkpoints(tmp_path, keep=1).save(runtime, saved, Progress(1))
    learner, frozen = saved.learner, saved.frozen
    if difference == "another shape":
        learner[0] = nn.Linear(7, 5)
    else:
        learner.append(nn.Linear(3, 3))
    with pytest.raises(SharedError, match=f"{path} cannot be read into this model: .*; it is damaged, or of another"):
        load_weights(path, learner, frozen)
