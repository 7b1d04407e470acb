"""A full disk, a quota, a folder that may not be written: one sentence, the checkpoint before intact, nothing left of the new one."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from surgrec.optim.optimizer import build_adamw
from surgrec.training import checkpoint_folder, checkpoint_writer
from surgrec.training.checkpoint import Checkpoints
from surgrec.training.checkpoint_folder import CheckpointError, check_room, refused
from surgrec.training.runtime import Runtime
from surgrec.training.trained import Trained
from tests.training.test_checkpoint import assert_equal, at, update
from tests.training.tiny import BROKEN_RANK, TRAIN, Warm, assert_same_run, metrics_of, overrides

DISK_BYTES = 128 << 20  # of which `filler` leaves what a test needs


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, left_bytes: int) -> Path:
    """A file that leaves so much room."""
    filler = disk / "filler"
    filler.write_bytes(bytes(DISK_BYTES - left_bytes))
    return filler


def of_two_megabytes(seed: int) -> Trained:
    """Weights of 0.5 MB, their copy, and two moments."""
    torch.manual_seed(seed)
    learner, target = nn.Linear(6, 20_000), nn.Linear(6, 20_000)
    frozen = nn.ModuleDict({"target": target}).requires_grad_(False)
    return Trained(learner, frozen, build_adamw(learner, (0.9, 0.95), 1e-8, 0.05, fused=True))


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("is_seen_before", [True, False])
def test_a_full_disk_leaves_the_checkpoint_before_and_names_folder_and_bytes(
    is_seen_before: bool,
    is_async: bool,
    small_disk: Path,
    runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It shows before anything is written, or, where others fill it too, in the middle."""
    fill(small_disk, 16 << 20)
    folder, state = small_disk / "checkpoints", of_two_megabytes(0)
    checkpoints = Checkpoints(folder, keep=99, is_async=is_async)
    saved = 0
    if not is_seen_before:
        monkeypatch.setattr(checkpoint_writer, "check_room", lambda *_: None)
    with pytest.raises(CheckpointError) as raised:
        for step in range(1, 100):
            update(state, step)
            checkpoints.save(runtime, state, at(step))
            checkpoints.wait()
            saved = step
    assert 0 < saved < 10
    found = re.search(r"it needs ([\d,]+) bytes, ([\d,]+) are free", str(raised.value))
    assert found and str(raised.value).startswith(f"{folder}: there is no room for the checkpoint of step {saved + 1}")
    needed, free = (int(number.replace(",", "")) for number in found.groups())
    assert 2_000_000 < needed < 4_500_000 and free < needed
    assert {path.name for path in folder.iterdir()} == {"latest", *(f"step_{n:08d}" for n in range(1, saved + 1))}

    restored = of_two_megabytes(1)
    assert checkpoints.restore(runtime, restored).step == saved
    monkeypatch.undo()
    for step in (1, 2):  # as the sentence says
        shutil.rmtree(folder / f"step_{step:08d}")
    update(restored, saved + 1)
    checkpoints.save(runtime, restored, at(saved + 1))
    again = of_two_megabytes(2)
    assert checkpoints.restore(runtime, again).step == saved + 1
    assert_equal(again, state)


@pytest.mark.slow
def test_a_run_on_a_full_disk_ends_with_one_sentence_and_continues_when_there_is_room(
    warm: Warm, footage: Path, uninterrupted: Path, small_disk: Path
) -> None:
    """The training notices a save that has failed beside it long before the next one is due."""
    arguments = overrides("mae", footage, small_disk, "full")
    filler = fill(small_disk, 8 << 20)
    said = warm.run(arguments, status=2)
    folder = small_disk / "full" / "checkpoints"
    assert f"error: {folder}: there is no room for the checkpoint of step 3: it needs" in said
    assert "Traceback" not in said and list(folder.iterdir()) == []
    filler.unlink()
    warm.run(arguments)
    assert_same_run(small_disk / "full", uninterrupted / "mae")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_process_that_cannot_write_its_share_ends_all_with_one_sentence(
    strategy: str, warm: Warm, footage: Path, tmp_path: Path
) -> None:
    """None of them waits for another, and what was saved before is what the newest checkpoint is."""
    options = [f"runtime={strategy}", "runtime.accelerator=cpu"]
    arguments = overrides("jepa", footage, tmp_path, "broken", *options)
    said = warm.run_world(2, arguments, BROKEN_RANK, status=2)
    (error,) = (line for line in said.splitlines() if line.startswith("error:"))
    assert "no room for the checkpoint of step 6 (No space left on device)" in error and "Traceback" not in said
    folder = tmp_path / "broken" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["latest", "step_00000003"]
    warm.run_world(2, arguments, TRAIN)
    assert [line["step"] for line in metrics_of(tmp_path / "broken")] == list(range(1, 13))


# -- what the system may say


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, r"no room for the checkpoint of step 3 \(No space left on device\): it needs 1,234 bytes, [\d,]+ are"),
        (errno.EDQUOT, r"no room for the checkpoint of step 3 \(Disk quota exceeded\): it needs 1,234 bytes, [\d,]+ are"),
        (errno.EROFS, r"\(1,234 bytes\) cannot be written: Read-only file system; .* see to its rights"),
        (errno.EACCES, r"\(1,234 bytes\) cannot be written: Permission denied; .* see to its rights"),
        (errno.EIO, r"\(1,234 bytes\) cannot be written: Input/output error; .* see to the disk or the network"),
        (errno.ESTALE, r"\(1,234 bytes\) cannot be written: Stale file handle; .* see to the disk or the network"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_one_sentence_with_folder_and_bytes(
    number: int, sentence: str, tmp_path: Path
) -> None:
    closing = RuntimeError("unexpected pos 64 vs 0")  # what torch says while it closes the file
    closing.__context__ = OSError(number, os.strerror(number))
    told = refused(closing, tmp_path, 1234, "the checkpoint of step 3")
    assert told is not None and str(told).startswith(f"{tmp_path}: ") and "then the same command continues" in str(told)
    assert re.search(sentence, str(told)), told
    assert told.status == (1 if number in (errno.EIO, errno.ESTALE) else 2)  # a queue tries again what may pass


def test_what_the_system_did_not_refuse_is_not_explained_away(tmp_path: Path) -> None:
    assert refused(RuntimeError("of another kind"), tmp_path, 1234, "a checkpoint") is None


def test_a_file_system_that_does_not_tell_is_not_taken_for_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="no room"):
        check_room(tmp_path, 1 << 60, "a checkpoint")
    monkeypatch.setattr(checkpoint_folder.shutil, "disk_usage", lambda _: SimpleNamespace(total=0, used=0, free=0))
    check_room(tmp_path, 1 << 60, "a checkpoint")


def test_a_read_only_folder_is_one_sentence(small_disk: Path, runtime: Runtime) -> None:
    checkpoints, state = Checkpoints(small_disk, keep=2), of_two_megabytes(0)
    checkpoints.save(runtime, state, at(1))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(
        CheckpointError, match=r"step 2 \([\d,]+ bytes\) cannot be written: Read-only file system .*\.partial\); those"
    ):
        checkpoints.save(runtime, state, at(2))
    assert checkpoints.restore(runtime, of_two_megabytes(1)).step == 1
