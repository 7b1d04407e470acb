"""A process that was one of several ends with the status of what it did, whatever the threads of its process groups still do."""

from __future__ import annotations

import pytest

from surgrec.training import ending
from surgrec.training.ending import ending_at_once
from tests.training.tiny import Warm

HASTY = "tests.training.hasty:main"


@pytest.mark.parametrize(("end", "status"), [("returns", 0), ("exits", 2), ("raises", 1)])
def test_its_status_is_that_of_its_work(end: str, status: int, warm: Warm) -> None:
    """Left to the interpreter, each of these processes ended with SIGABRT about one time in four."""
    for _ in range(6):
        said = warm.run_world(2, [end], HASTY, status)
        assert said.count("told at the end") == 2  # what is registered for the end is done
        assert said.count("ArithmeticError: of no user's making") == (2 if end == "raises" else 0)


@pytest.mark.parametrize("end", [0, 2, "a sentence", None])
def test_one_that_was_alone_ends_as_python_does(end: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_now() -> int:
        raise SystemExit(end)

    monkeypatch.setattr(ending, "_left", ["of a run before"])
    assert ending_at_once(lambda: 7) == 7
    with pytest.raises(SystemExit) as told:
        ending_at_once(exit_now)
    assert told.value.code == end
