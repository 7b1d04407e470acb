"""Why something failed, for others to read: without paths.

In: an exception. Out: a sentence. It is its own file because reports leave the house, and the name of a file may be that of a patient: what
could be a path goes, if a few words of the sentence go with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from surgrec.core.errors import UserError

A_PATH = "(a path)"
_ENDINGS = (
    "mp4|avi|mov|mkv|mpe?g|webm|m4v|wmv|ts|png|jpe?g|bmp|tiff?|csv|tsv|txt|json|ya?ml|xml|xlsx?|zip|parquet|np[yz]"
    "|safetensors|pth?|bin|ckpt"
)
# names may hold spaces: up to the last ending of a file in the clause, else up to the next space
_REST = rf"(?:[^;:\n\"'<>|]*\.(?:{_ENDINGS})\b|[^\s;:,\"'()\[\]<>|]*)"
_ABSOLUTE = re.compile(rf"(?<![\w/.)])(?:[A-Za-z]:\\|\\\\|~\w*/|/){_REST}", re.IGNORECASE)
_RELATIVE = re.compile(rf"(?:[^\s/;:,\"'()\[\]<>|]+/)+{_REST}", re.IGNORECASE)
_FILE = re.compile(rf"[\w.()+~-]+\.(?:{_ENDINGS})\b", re.IGNORECASE)


def reason_of(error: Exception, places: Iterable[Path] = ()) -> str:
    """A sentence for the report. `places`: files and folders of this machine by their names, which may hold anything."""
    if not isinstance(error, UserError):
        return f"{type(error).__name__} in this program; its traceback is on the console of the run"
    text = without_places(str(error), places)
    for pattern in (_RELATIVE, _FILE):
        text = pattern.sub(A_PATH, text)
    return text


def without_places(text: str, places: Iterable[Path], instead: str = A_PATH) -> str:
    """`text` with `instead` for each of `places` and whatever lies below it, and "(a path)" for any other absolute path; relative ones,
    such as a dataset's own layout has, stay."""
    known = {str(each) for place in places for each in (place, place.expanduser(), place.absolute())}
    for name in sorted(known, key=len, reverse=True):
        if "/" in name.strip("/") or " " in name:  # a single word may be one of the sentence
            text = re.sub(rf"(?<![\w/]){re.escape(name)}(?!\w)(?:/{_REST})?", instead, text)
    return _ABSOLUTE.sub(A_PATH, text)
