"""The one exception of the video layer: this file cannot be read, and why.

In: a reason (a short slug that reports can count) and a detail (a clause for people). Out: `VideoError`. It is its own file
because every backend raises it and the corpus and the data path catch it: a bad video is refused or replaced, never fatal.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import TypeVar

from surgrec.core.errors import UserError

Result = TypeVar("Result")

REASONS = {
    "missing": "there is no such file",
    "empty": "the file has no bytes",
    "not_a_video": "no container format of those that are read fits its bytes",
    "no_video_stream": "it holds no moving pictures (only audio, a cover picture or data)",
    "unsupported_codec": "no decoder for its video codec, or it is not on the list of those that are read",
    "no_timestamps": "its frames carry no presentation times",
    "no_frames": "not one frame could be decoded",
    "truncated": "it ends before its declared end",
    "corrupt": "decoding failed or gave damaged frames",
    "out_of_range": "a time was asked for that no frame covers",
    "too_large": "its pictures, or the memory or disk space they need, exceed what is allowed",
    "too_slow": "it took longer than is allowed for its size",
    "changed": "the file is not the one that was indexed; run `surgrec index` again",
    "bad_copy": "its training copy failed the check after writing",
    "crashed": "the decoder library took its process down",
    "hung": "the decoder library did not come back",
}


class VideoError(Exception):
    """A video that cannot be read. `reason` is a key of `REASONS`; `detail` says more and never holds a path or file name."""

    def __init__(self, reason: str, detail: str = "") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}; known: {', '.join(REASONS)}")
        self.reason = reason
        self.detail = detail or REASONS[reason]
        super().__init__(reason, self.detail)  # both as arguments, so that it survives pickling between processes

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def unforeseen(error: Exception) -> VideoError:
    """What is said of a file at which reading failed in a way that no reader knows of: damage that nobody had thought of, told with
    the place in the code, and without the exception's own text, which may hold a path."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return VideoError("corrupt", f"reading it failed in an unforeseen way ({type(error).__name__}{place})")


def error_or(read: Callable[[], Result]) -> Result | VideoError:
    """What reading a file gives, or why it gave nothing: one damaged file must not end the work on all others. Raised are only want of
    memory and what the user must change, which tell nothing of the file."""
    try:
        return read()
    except VideoError as error:
        return error
    except OSError as error:
        return VideoError("missing", f"the file cannot be read: {error.strerror}")
    except (MemoryError, UserError):
        raise
    except Exception as error:
        return unforeseen(error)
