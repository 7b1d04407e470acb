"""Lines that only grow: what is whole is read back, what is torn or changed is not believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.corpus.lines import Appender, line_of, read_lines

RECORDS = [{"path": f"folder/naïve {number}.mp4", "fps": 1 / (number + 3)} for number in range(5)]


def add(file: Path, records: list[dict]) -> None:
    appender = Appender(file)
    appender.add(records)
    appender.close()


def test_what_is_added_is_read_back_exactly(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    assert read_lines(file) == ([], 0)
    add(file, RECORDS[:2])
    add(file, RECORDS[2:])
    assert read_lines(file) == (RECORDS, 0)


@pytest.mark.parametrize("missing", range(1, len(line_of(RECORDS[-1]))))
def test_a_torn_last_line_is_ignored_and_overwritten(tmp_path: Path, missing: int) -> None:
    """Wherever a process died within its last write."""
    file = tmp_path / "lines"
    add(file, RECORDS)
    file.write_bytes(file.read_bytes()[:-missing])
    assert read_lines(file) == (RECORDS[:-1], 0)
    add(file, RECORDS[-1:])
    assert read_lines(file) == (RECORDS, 0)


def test_a_changed_line_is_told(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    add(file, RECORDS)
    content = bytearray(file.read_bytes())
    for position in (3, len(content) // 2, len(content) - 5):
        content[position] ^= 1
    file.write_bytes(content)
    records, num_damaged = read_lines(file)
    assert (num_damaged, records) == (3, [RECORDS[1], RECORDS[3]])
    file.write_bytes(b"no line of ours\n" + line_of({"a": 1}) + b"00000000 [1]\n")
    assert read_lines(file) == ([{"a": 1}], 2)
