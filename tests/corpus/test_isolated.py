"""A worker that dies costs its own item and nothing else."""

from __future__ import annotations

import os
import signal
import time

import pytest

from surgrec.corpus.isolated import Crashed, map_isolated


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


@pytest.mark.parametrize("num_workers", [1, 2])
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
