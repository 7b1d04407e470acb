"""Counts agree with their nouns, here and in what commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import surgrec
from surgrec.core.wording import counted, lasting, sized

NOUNS = "videos|files|sources|groups|cards|problems|windows|runs|lines|copies|splits"
COMMANDS = (
    "index",
    "filter",
    "prepare",
    "audit",
    "corpora",
    "extract",
    "export",
    "synthesize",
    "train",
    "status",
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
    folders = [file for name in ("corpus", "corpus_command") for file in (package / name).rglob("*.py")]
    files = [*(package / f"{name}.py" for name in COMMANDS), *folders]
    assert len(folders) > 10
    found = [
        f"{file.name}: {match.group()}"
        for file in files
        for match in re.finditer(
            rf"\}} (?:{NOUNS})\b|(?:{NOUNS[:-1].replace('s|', '|')})\(s\) \w", file.read_text(encoding="utf-8")
        )
    ]
    assert found == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3599, "1 h 0 min"), (12_000, "3 h 20 min"), (47.9 * 3600, "47 h 54 min"),
        (48 * 3600, "2 days 0 h"), (202.4 * 3600, "8 days 10 h"),
    ],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


@pytest.mark.parametrize(
    ("num_bytes", "said"),
    [(512, "512 bytes"), (12_000_000, "12 MB"), (3.904e9, "3.9 GB"), (999_999, "1 MB"), (2.5e12, "2.5 TB")],
)
def test_sizes_have_three_digits(num_bytes: float, said: str) -> None:
    assert sized(num_bytes) == said
