"""Work ahead: all results, those of a job in order, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from surgrec.features.ahead import Ahead


def numbers(job: int, count: int = 20) -> Iterator[tuple[int, int]]:
    for number in range(count):
        yield job, number


@pytest.mark.parametrize("num_threads", [1, 3, 9])
def test_all_results_come_and_those_of_a_job_in_order(num_threads: int) -> None:
    with Ahead([partial(numbers, job) for job in range(5)], num_threads, depth=2) as results:
        seen = list(results)
    assert sorted(seen) == [(job, number) for job in range(5) for number in range(20)]
    for job in range(5):
        assert [number for of, number in seen if of == job] == list(range(20))


def test_nothing_to_do_is_no_result() -> None:
    with Ahead([], 2, 2) as results:
        assert list(results) == []


def test_no_more_is_done_ahead_than_was_asked_for() -> None:
    made: list[int] = []

    def job() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with Ahead([job], 1, depth=3) as results:
        assert next(iter(results)) == 0
        time.sleep(0.3)
        assert len(made) <= 1 + 3 + 1  # handed out, waiting, in the hand of the thread


def test_what_a_job_raises_is_raised_after_what_came_before() -> None:
    def job() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with Ahead([job], 1, 4) as results:
        iterator = iter(results)
        assert next(iterator) == 1
        with pytest.raises(ZeroDivisionError):
            next(iterator)


def test_threads_end_with_the_block() -> None:
    with pytest.raises(KeyboardInterrupt), Ahead([partial(numbers, 0, 10**9)] * 3, 3, 2) as results:
        next(iter(results))
        raise KeyboardInterrupt
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
