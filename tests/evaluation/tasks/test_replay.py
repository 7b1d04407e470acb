"""Replayed lists: what is wrong with them is known beside every number, and they are not made better than they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.tasks.catalog import ADAPTERS, EXTRAS
from surgrec.evaluation.tasks.replay import CARD_OF_FOLDER, Lists, findings_in_a_line, replay
from tests.corpus.published_splits import clean, write_lists
from tests.evaluation.tasks.archives import put


def written(folder: Path, lists: dict[str, list[tuple[str, int]]]) -> Lists:
    (folder / "set").mkdir()
    write_lists(folder / "set", lists)
    for rows in lists.values():
        for path, _ in rows:
            put(folder / "data" / path)
    return Lists.of_folder(folder / "set", folder / "data", "laparoscopy")


def test_clean_lists_are_replayed_row_for_row(tmp_path: Path) -> None:
    lists = clean(num_groups=12, clips_per_group=4)
    task = replay(written(tmp_path, lists), r"case_(\d+)" if "case_" in lists["train"][0][0] else None)
    (split,) = task.splits
    assert split.origin == "replayed" and task.domain == "laparoscopy" and task.name == "set_replayed"
    for part, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = split.parts()[part]
        found = [
            (task.clips[row].video.relative_to(tmp_path / "data").as_posix(), task.clips[row].label) for row in rows
        ]
        assert found == lists[name]
    assert not any(finding.severity == "error" for finding in task.findings)


def test_a_leak_is_kept_and_told(tmp_path: Path) -> None:
    lists = clean(num_groups=12, clips_per_group=4)
    lists["train"] += lists["test"][:6]  # the same clips in training and test
    lists["val"] = list(lists["test"])
    task = replay(written(tmp_path, lists))
    (split,) = task.splits
    assert [len(rows) for rows in split.parts().values()] == [len(lists[name]) for name in ("train", "val", "test")]
    assert len(np.unique(np.concatenate(list(split.parts().values())))) == len(task.clips)
    said = findings_in_a_line(task.findings)
    assert said.startswith(f"{sum(finding.severity == 'error' for finding in task.findings)} error") and ": " in said
    assert all(finding.kind in said for finding in task.findings if finding.severity in ("error", "warning"))


def test_lists_in_the_folder_one_stands_in_have_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cholec80").mkdir()
    write_lists(tmp_path / "cholec80", clean(num_groups=12, clips_per_group=4))
    monkeypatch.chdir(tmp_path / "cholec80")
    assert [(each.name, each.domain) for each in (Lists.of_folder(Path(), tmp_path),)] == [("cholec80", "laparoscopy")]


def test_the_folders_of_the_sixteen_are_known() -> None:
    assert sorted(CARD_OF_FOLDER.values()) == sorted(set(ADAPTERS) - set(EXTRAS))


def test_missing_clips_are_told(tmp_path: Path) -> None:
    lists = written(tmp_path, clean(num_groups=12, clips_per_group=4))
    first = next((tmp_path / "data").rglob("*.mp4"))
    first.unlink()
    with pytest.raises(UserError, match="1 of 48 listed clips are not below"):
        replay(lists)
    task = replay(lists, allow_missing=True)
    assert len(task.clips) == 47 and any("not on the published lists" in note for note in task.notes)
    with pytest.raises(UserError, match=r"val\.csv.* is not there"):
        (tmp_path / "set/val.csv").unlink()
        Lists.of_folder(tmp_path / "set", tmp_path)
