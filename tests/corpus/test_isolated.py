"""A worker that dies costs its own item and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus import isolated
from surgrec.corpus.isolated import LONGEST_SECONDS, Crashed, Limits, OutOfMemory, TimedOut, map_isolated
from surgrec.video.errors import VideoError


def work(item: int) -> int:
    """Dies on multiples of 4, by a signal or by exit; module level, so that workers can import it."""
    if item % 8 == 4:
        os.kill(os.getpid(), signal.SIGSEGV)
    if item and item % 8 == 0:
        os._exit(3)
    return item * item


def fail(item: int) -> int:
    raise ValueError(f"item {item}")


def nap(item: float) -> float:
    time.sleep(item)
    return item


def swell(item: int) -> int:
    """Fills `item` MiB and lets go of them."""
    return len(b"\x01" * (item << 20)) >> 20


def swell_a_library(item: int) -> int:
    """The same in memory that NumPy asks for, with threads besides."""
    threads = [threading.Thread(target=time.sleep, args=(0.1,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    return int(np.ones(item << 20, np.uint8).sum()) >> 20


def write_bytes(item: tuple[Path, int]) -> str:
    path, num_bytes = item
    try:
        path.write_bytes(bytes(num_bytes))
    except OSError as error:
        return error.strerror or ""
    return "written"


def limits_of_process(item: int) -> tuple[int, bool]:
    return resource.getrlimit(resource.RLIMIT_CORE)[0], "torch" in sys.modules


def small_memory(item: int) -> Limits:
    return Limits(memory_bytes=64 << 20)


def as_long_as_asked(item: float) -> Limits:
    return Limits(seconds=1.0)


@pytest.mark.parametrize("num_workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_crash_costs_one_item(num_workers: int) -> None:
    results = dict(map_isolated(work, range(10), num_workers))
    crashed = {index: result for index, result in results.items() if isinstance(result, Crashed)}
    assert crashed == {4: Crashed(-signal.SIGSEGV), 8: Crashed(3)}
    assert {index: result for index, result in results.items() if index not in crashed} == {
        index: index**2 for index in (0, 1, 2, 3, 5, 6, 7, 9)
    }


def test_exceptions_are_raised_here() -> None:
    with pytest.raises(ValueError, match="item 7"):
        list(map_isolated(fail, [7], 1))


def test_without_workers_and_without_items() -> None:
    assert list(map_isolated(work, [1, 2], 0)) == [(0, 1), (1, 4)]
    assert list(map_isolated(work, [], 2)) == []


def test_leaving_early_ends_the_workers() -> None:
    started = time.monotonic()
    for _ in map_isolated(nap, [0.0, 60.0, 60.0], 2):
        break
    assert time.monotonic() - started < 20


def test_what_hangs_is_killed_and_the_rest_goes_on() -> None:
    started = time.monotonic()
    results = dict(map_isolated(nap, [0.0, 600.0, 0.1, 600.0, 0.2], 2, as_long_as_asked))
    assert results == {0: 0.0, 1: TimedOut(1.0), 2: 0.1, 3: TimedOut(1.0), 4: 0.2}
    assert time.monotonic() - started < 60


def test_what_was_killed_is_gone_before_its_result_is_told(tmp_path: Path) -> None:
    """So that nobody clears away files that are still being written."""
    for index, result in map_isolated(announce, [str(tmp_path / "pid")], 1, as_long_as_asked):
        assert (index, result) == (0, TimedOut(1.0))
        assert not _is_alive(int(_wait_for(tmp_path / "pid")))


@pytest.mark.parametrize("function", [swell, swell_a_library])
def test_what_swells_is_refused_memory_and_the_rest_goes_on(function: Callable[[int], int]) -> None:
    results = dict(map_isolated(function, [1, 256, 32, 256, 32, 32, 32], 1, small_memory))
    out = OutOfMemory(64 << 20)
    assert results == {0: 1, 1: out, 2: 32, 3: out, 4: 32, 5: 32, 6: 32}


@pytest.mark.parametrize("seconds", [2.5e6, 1e300, float("inf"), float("nan")])  # 5 TB on a slow disk take a month
def test_limits_beyond_all_measure_are_brought_down(seconds: float) -> None:
    limits = Limits(seconds, memory_bytes=1 << 80, file_bytes=1 << 80)
    assert limits.seconds is not None and limits.seconds <= LONGEST_SECONDS
    assert dict(map_isolated(nap, [0.5], 1, lambda item: limits)) == {0: 0.5}


def test_a_wait_may_be_longer_than_the_system_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "LONGEST_SECONDS", 1e9)
    assert dict(map_isolated(nap, [0.5], 1, lambda item: Limits(1e9))) == {0: 0.5}


def test_fewer_than_no_workers_is_a_mistake() -> None:
    with pytest.raises(UserError, match="--workers is -1"):
        list(map_isolated(work, [1], -1))


def test_what_writes_without_end_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    items = [(path, 1000), (path, 5000), (path, 999)]
    results = dict(map_isolated(write_bytes, items, 1, lambda item: Limits(file_bytes=1000)))
    assert results == {0: "written", 1: "File too large", 2: "written"}


def test_workers_leave_no_core_dumps_and_do_not_load_torch() -> None:
    assert dict(map_isolated(limits_of_process, [0], 1)) == {0: (0, False)}


@pytest.mark.parametrize("failed", [Crashed(-11), TimedOut(60.0), OutOfMemory(1 << 30), OutOfMemory(None)])
def test_failures_have_a_reason(failed: Crashed | TimedOut | OutOfMemory) -> None:
    assert isinstance(failed.as_error(), VideoError)


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    """Also in the middle of an item, by SIGKILL."""
    code = (
        "import os, signal, threading, time\n"
        "from surgrec.corpus.isolated import map_isolated\n"
        "from tests.corpus.test_isolated import announce\n"
        f"list(map_isolated(announce, [{str(tmp_path / 'pid')!r}], 1))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        worker = int(_wait_for(tmp_path / "pid"))
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 20
    while _is_alive(worker):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.05)


def announce(path: str) -> None:
    """Writes its process id, then works for a long time."""
    Path(f"{path}.part").write_text(str(os.getpid()))
    Path(f"{path}.part").rename(path)
    time.sleep(600)


def _wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()


def _is_alive(pid: int) -> bool:
    """Not gone and no zombie that init has yet to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
