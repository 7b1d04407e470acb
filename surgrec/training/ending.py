"""The end of a process that was one of several.

In: the process groups that it has left, and its `main`. Out: the exit status, also where a thread of theirs is not done. gloo's threads
let go of the tensors of their last message when they get to it, for which they want the GIL; a thread that wants it once the interpreter
has begun to end is unwound through C++ that allows no unwinding, and aborts the process (status 134) whose work is all done. It is its
own file because it loads no torch: a command is wrapped before its options are known to be right.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

_left: list[object] = []


def keep(group: object) -> None:
    """Hold a process group to the end of this process, which `ending_at_once` then makes."""
    _left.append(group)


def ending_at_once(main: Callable[[], int]) -> int:
    """The status of `main`, for Python to end with; where it left process groups, the process ends here and with that status.

    What is due at the end is done (`atexit`, buffers, the traceback of an exception: status 1); the interpreter itself is not taken down.
    """
    before = len(_left)
    try:
        status = main()
    except BaseException as error:
        if len(_left) == before:
            raise
        status = _status_of(error)
    if len(_left) > before:
        _end(status)
    return status


def _status_of(error: BaseException) -> int:
    """What Python would end with, once it has said what it would say."""
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    print(error.code, file=sys.stderr)
    return 1


def _end(status: int) -> NoReturn:
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        status = status or 1
    os._exit(status)
