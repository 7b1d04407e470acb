"""The exception that means "the user can mend this".

In: a sentence. Out: exit status 2 (1 where time alone may mend it) and that sentence on stderr, without a traceback. It is its own
file because every layer raises it and only the commands catch it.
"""

from __future__ import annotations


class UserError(Exception):
    """A problem with configuration, paths or input; the message says what to do about it, in one sentence."""

    status = 2  # of the process that ends with it


class OutageError(UserError):
    """A disk or a network does not answer. Told like any other; but the same command may succeed later with nothing mended, so that a
    queue should try it again: its status is that of a crash.
    """

    status = 1


class ToldError(UserError):
    """One that has been told, perhaps by another process of the run; a command ends with the status of `error` and says nothing."""

    def __init__(self, error: UserError | str) -> None:
        super().__init__(str(error))
        self.status = error.status if isinstance(error, UserError) else UserError.status
