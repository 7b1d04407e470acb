"""How every command ends and how it shows that it is alive.

In: a command, or the number of things it will do. Out: an exit status, or a progress bar with rate and ETA on stderr.
It is its own file because all commands, and the long loops beneath them, must behave alike in a terminal and in a log.
"""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from surgrec.core.errors import OutageError, ToldError, UserError

STATUS_OK = 0
STATUS_USER_ERROR = 2
STATUS_INTERRUPTED = 130  # 128 + SIGINT, what shells report
STATUS_CLOSED_PIPE = 141  # 128 + SIGPIPE, likewise

_OUTAGE = "see to the disk or the network"
_MENDED_BY = {
    "free some space": (errno.ENOSPC, errno.EDQUOT),
    "see to the rights, or name another place": (errno.EACCES, errno.EPERM, errno.EROFS),
    "name another place": (
        errno.EISDIR,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.ENOENT,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EFBIG,
    ),
    _OUTAGE: (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO),
}


def run_command(command: Callable[[], int | None]) -> int:
    """Run `command` and return the exit status of the process.

    A `UserError` becomes its sentence on stderr (unless it has been told) and its status, and so does what the system refuses of a file:
    2 where the user can mend it (no right to write, a full disk), 1 where a disk or a network does not answer; Ctrl-C a sentence and 130,
    a closed stdout (`... | head`) the silent status 141 of other programs; any other exception passes through, so that Python prints its
    traceback and ends with status 1. Use as `sys.exit(run_command(main))`.
    """
    try:
        status = command() or STATUS_OK
        sys.stdout.flush()
        return status
    except ToldError as error:
        return error.status
    except UserError as error:
        tell(error)
        return error.status
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return STATUS_INTERRUPTED
    except OSError as error:
        if (refused := _refused_by_system(error)) is not None:
            tell(refused)
            return refused.status
        if not isinstance(error, BrokenPipeError) or not _stdout_is_closed():
            raise  # some other pipe, such as a worker's; or an error of this program
        return STATUS_CLOSED_PIPE


def _refused_by_system(error: OSError) -> UserError | None:
    """The sentence for what is to be mended outside of this program; None for any other error."""
    advice = next((advice for advice, numbers in _MENDED_BY.items() if error.errno in numbers), None)
    if advice is None:
        return None
    path = f"{error.filename}: " if error.filename is not None else ""
    kind = OutageError if advice == _OUTAGE else UserError
    return kind(f"{path}{error.strerror}; {advice}, then run the same command again")


def tell(error: UserError) -> None:
    """Print its sentence on stderr."""
    print(f"error: {error}", file=sys.stderr, flush=True)


def _stdout_is_closed() -> bool:
    """Whether nobody reads stdout any more; if so, it is turned away, or Python would complain once more while it exits."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


class Advance(Protocol):
    """Tells a progress bar that `count` more things are done; `note` (say, the loss) is shown at its end."""

    def __call__(self, count: int = 1, note: str = "") -> None: ...


@contextmanager
def progress(description: str, total: int | None, completed: int = 0) -> Iterator[Advance]:
    """A progress bar on stderr from `completed` to `total` (None: unknown); nothing at all where stderr is no terminal.

    Example: `with progress("probing", len(paths)) as advance: ...; advance()`.
    """
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(description, total=total, completed=completed, note="")

        def advance(count: int = 1, note: str = "") -> None:
            bar.advance(task, count)
            if note:
                bar.update(task, note=note)

        yield advance


def _say_nothing(count: int = 1, note: str = "") -> None:
    """The `Advance` of a bar that is not shown."""


class _RateColumn(ProgressColumn):
    """Things per second, or seconds per thing where that is the larger number."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")
