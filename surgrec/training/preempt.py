"""Stopping politely.

In: signals. Out: a flag that the loop reads at a step boundary. Its own file because a signal handler may do nothing but set it: saving
from inside a handler is what corrupts checkpoints elsewhere.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopFlag:
    """Set once a stop was asked for; `reason` is the signal's name. Whoever leaves for it sets `is_leaving`: no signal is heard any more,
    to the end of the process, so that a second one neither kills it on its way out nor changes its exit status.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_leaving = False

    def __bool__(self) -> bool:
        return self.reason is not None

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name


@contextmanager
def listen() -> Iterator[StopFlag]:
    """Turn Ctrl-C, SIGTERM and SIGUSR1 into the flag while the block runs; the former handlers come back after it, unless the process is
    leaving.
    """
    flag = StopFlag()
    former = {number: signal.signal(number, flag._set) for number in _SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in former.items():
            signal.signal(number, signal.SIG_IGN if flag.is_leaving else handler)
