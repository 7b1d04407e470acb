"""The rate that a video's header declares.

In: a path. Out: frames a second. It is its own file because `probe` reads every packet, which takes minutes for hours of footage, and
whoever only turns frame numbers of an annotation into seconds needs one number of the header.
"""

from __future__ import annotations

from pathlib import Path

import av

from surgrec.core.errors import UserError


def declared_fps(path: Path) -> float:
    """Average frames a second, as the container says. Raises `UserError` for what is no video, or declares no rate."""
    try:
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise UserError(
            f"{path} cannot be read as a video ({error}); its rate turns frame numbers into seconds"
        ) from None
    if not rate:
        raise UserError(f"{path} declares no frame rate; prepare a copy that does (`surgrec prepare`)")
    return float(rate)
