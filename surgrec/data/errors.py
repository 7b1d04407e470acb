"""What can go wrong between a manifest and a batch.

In: a sentence. Out: the exception that the data stage raises where the user can mend it. It is its own file because every
file of this folder raises it.
"""

from __future__ import annotations

from surgrec.core.errors import UserError


class DataError(UserError):
    """No usable footage, a source whose videos all fail, a worker that died; the message says what to do."""
