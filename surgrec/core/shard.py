"""One part of the work of a command, for one of several jobs of a cluster.

In: `I/N`, as a flag gives it. Out: two numbers. It is its own file because several commands take the same flag.
"""

from __future__ import annotations

import re

from surgrec.core.errors import UserError


def read_shard(text: str) -> tuple[int, int]:
    """(part, number of parts) of `--shard I/N`, parts counted from 0. Raises `UserError`."""
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise UserError(f"--shard is {text!r}; give I/N with I from 0 to N - 1, such as 0/16")
    return int(match[1]), int(match[2])
