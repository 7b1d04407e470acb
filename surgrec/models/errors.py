"""What is wrong with a requested model.

In: a sentence. Out: an exception that the commands print without traceback. It is its own file because every file of this
folder raises it.
"""

from __future__ import annotations

from surgrec.core.errors import UserError


class ModelError(UserError):
    """A model that cannot be built or an input that does not fit it."""
