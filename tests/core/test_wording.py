"""Counts agree with their nouns, here and in what commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import surgrec
from surgrec.core.wording import counted

NOUNS = "videos|files|sources|groups|cards|problems|windows|runs|lines|copies|splits"
COMMANDS = (
    "index",
    "filter",
    "prepare",
    "audit",
    "corpora",
    "corpus_command",
    "extract",
    "export",
    "synthesize",
    "train",
)


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [(1, "clip", "1 clip"), (2, "clip", "2 clips"), (0, "class", "0 classes"), (1301, "clip", "1,301 clips")],
)
def test_one_is_no_plural(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def test_no_command_counts_with_a_fixed_plural() -> None:
    """A number that is computed, then a plural that is not."""
    package = Path(surgrec.__file__).parent
    files = [*(package / f"{name}.py" for name in COMMANDS), *(package / "corpus").rglob("*.py")]
    found = [
        f"{file.name}: {match.group()}"
        for file in files
        for match in re.finditer(
            rf"\}} (?:{NOUNS})\b|(?:{NOUNS[:-1].replace('s|', '|')})\(s\) \w", file.read_text(encoding="utf-8")
        )
    ]
    assert found == []
