"""`surgrec prepare`, stopped anywhere: by a full disk, Ctrl-C or SIGKILL. It ends in the same folder."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.corpus import copies
from tests.killed import killed_at_random, killed_before_renaming
from tests.prepare.conftest import contents, run


def test_a_full_disk_ends_the_command_and_blames_no_video(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies, "write_video", full)
    with pytest.raises(UserError, match="the disk is full"):
        run(corpus, tmp_path / "prepared")
    assert not (tmp_path / "prepared" / "quarantine.jsonl").exists()


def test_ctrl_c_keeps_what_is_done(
    corpus: Path, tmp_path: Path, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(function: Callable, items: list, num_workers: int, limits_of: object) -> object:
        yield 0, function(items[0])
        raise KeyboardInterrupt

    out = tmp_path / "prepared"
    with monkeypatch.context() as patch:
        patch.setattr(copies, "map_isolated", interrupted)
        assert run(corpus, out) == 130
    assert len(list((out / "records").rglob("*.json"))) == 1
    assert run(corpus, out) == 0
    assert contents(out) == expected


def test_killed_before_any_renaming_it_ends_the_same(written: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    """All 8 of them: the parameters, a copy and a record for each of three videos, the manifest."""
    for num_renames in range(9):
        out = tmp_path / str(num_renames)
        status = killed_before_renaming(num_renames, lambda out=out: run(written / "manifest.parquet", out))
        assert status == (-signal.SIGKILL if num_renames < 8 else 0)
        for path in [*out.rglob("*.mp4"), *out.rglob("*.json")]:  # what has its name is whole
            name = str(path.relative_to(out))
            assert path.name.startswith(".") or hashlib.sha256(path.read_bytes()).hexdigest() == expected[name]
        assert run(written / "manifest.parquet", out) == 0
        assert contents(out) == expected


def test_what_a_killed_process_left_is_cleared_away_once_it_is_old(tmp_path: Path) -> None:
    old, new = tmp_path / ".prepared.1.partial.json", tmp_path / ".manifest.2.partial.parquet"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    with copies.only_process(tmp_path, (0, 1)):
        assert not old.exists() and new.exists()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(written: Path, tmp_path: Path, expected: dict[str, str]) -> None:
    """The whole program with two workers, killed with SIGKILL after a random time, again and again until it gets through."""
    command = [sys.executable, "-m", "surgrec.prepare", "--manifest", str(written / "manifest.parquet")]
    command += ["--workers", "2", "--out"]
    started = time.monotonic()
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    whole_seconds, moments, num_killed = time.monotonic() - started, random.Random(0), 0
    for attempt in range(12):
        if num_killed >= 4:
            break
        out = tmp_path / str(attempt)

        def look(out: Path = out) -> None:
            for path in out.rglob("[!.]*.mp4"):
                assert hashlib.sha256(path.read_bytes()).hexdigest() == expected[str(path.relative_to(out))]

        num_killed += killed_at_random([*command, str(out)], 1.2 * whole_seconds, moments, look)
        assert contents(out) == expected
    assert num_killed >= 4
