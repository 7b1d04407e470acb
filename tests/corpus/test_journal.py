"""The journal of an index: whose entries are whose, and when it goes."""

from __future__ import annotations

from pathlib import Path

from surgrec.corpus.journal import Journal, journal_file


def test_each_source_and_root_has_its_own(tmp_path: Path) -> None:
    file = journal_file(tmp_path / "m.parquet")
    for source, root in (("a", "one"), ("a", "two"), ("b", "one")):
        with Journal(file, source, tmp_path / root) as journal:
            assert journal.entries() == []
            journal.add(path=f"{source} {root}", number=1)
    with Journal(file, "a", tmp_path / "one") as journal:
        assert [entry["path"] for entry in journal.entries()] == ["a one"]
        journal.forget()
        assert journal.entries() == []
        journal.add(path="again", number=2)  # it can go on
        assert [entry["path"] for entry in journal.entries()] == ["again"]
        journal.forget()
    for source, root in (("a", "two"), ("b", "one")):
        with Journal(file, source, tmp_path / root) as journal:
            assert [entry["path"] for entry in journal.entries()] == [f"{source} {root}"]
            assert file.exists()
            journal.forget()
    assert list(tmp_path.iterdir()) == []


def test_without_entries_there_is_no_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", "a", tmp_path) as journal:
        journal.forget()
    assert list(tmp_path.iterdir()) == []
