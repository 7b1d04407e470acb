"""The exception that means "the user can mend this".

In: a sentence. Out: exit status 2 and that sentence on stderr, without a traceback. It is its own file because every
layer raises it and only the commands catch it.
"""

from __future__ import annotations


class UserError(Exception):
    """A problem with configuration, paths or input; the message says what to do about it, in one sentence."""


class ToldError(UserError):
    """One that has been told, perhaps by another process of the run; a command ends with its status and says nothing."""
