"""Every kind of finding, planted into clean lists that are written to files: it is found, and nothing else is.

A kind that the auditor learns must be planted here, or the first test fails.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from surgrec.corpus.split_audit import audit_splits
from surgrec.corpus.splits import read_splits
from tests.corpus.published_splits import Lists, Rows, clean, write_lists

CASE = r"case_(\d+)"
SOURCES = Path(__file__).resolve().parent.parent.parent / "surgrec" / "corpus"


@dataclass(frozen=True)
class Plant:
    """`change` of clean lists; `besides`: kinds that follow from it, where a fault cannot come alone."""

    change: Callable[[Lists], None] = lambda lists: None
    besides: tuple[str, ...] = ()
    pattern: str | None = CASE
    names: tuple[str, ...] = ()


def of_case(rows: Rows, *cases: int) -> Rows:
    return [row for row in rows if int(row[0][9:12]) in cases]


def respell(rule: Callable[[str, int], str]) -> Callable[[Lists], None]:
    def change(lists: Lists) -> None:
        for name, rows in lists.items():
            lists[name] = [(rule(path, label), label) for path, label in rows]

    return change


def keep(name: str, rule: Callable[[str, int], bool]) -> Callable[[Lists], None]:
    def change(lists: Lists) -> None:
        lists[name] = [row for row in lists[name] if rule(*row)]

    return change


def everywhere(rule: Callable[[str, int], bool]) -> Callable[[Lists], None]:
    def change(lists: Lists) -> None:
        for name in lists:
            keep(name, rule)(lists)

    return change


def other_clips_of_a_test_case(lists: Lists) -> None:
    lists["train"] += [(path.replace(".mp4", "b.mp4"), label) for path, label in of_case(lists["test"], 50)]


def half_of_a_case_to_train(lists: Lists) -> None:
    lists["train"] += of_case(lists["test"], 50)[:6]


def at_another_root(lists: Lists) -> None:
    lists["train"] += [(f"/mnt/d/{path}", label) for path, label in of_case(lists["test"], 50)]


def validate_on_test(lists: Lists) -> None:
    lists["val"] = list(lists["test"])


def list_twice(lists: Lists) -> None:
    lists["train"] += lists["train"][:3]


def give_two_labels(lists: Lists) -> None:
    path, label = lists["train"][0]
    lists["train"].append((path, (label + 1) % 4))


def dotted(name: str, case: int) -> Callable[[Lists], None]:
    def change(lists: Lists) -> None:
        lists[name] += [(f"set/case_{case:03d}_a.{number}.mp4", 2) for number in (1, 2)]

    return change


def unnumbered(lists: Lists) -> None:
    lists["test"] += [(f"set/other_{at}.mp4", at % 4) for at in range(5)]


def mark_every_case(lists: Lists) -> None:
    for rows in lists.values():
        rows += [(f"set/case_{case}_mark.mp4", 4) for case in sorted({path[9:12] for path, _ in rows})]


def most_are_one_class(lists: Lists) -> None:
    lists["test"] = [
        (path, 0 if label in (1, 2) and int(path[9:12]) % 3 else label) for path, label in lists["test"]
    ]  # 5 cases of 15 keep some of the others


PLANTS: dict[str, Plant] = {
    "group_leakage": Plant(other_clips_of_a_test_case),
    "possible_group_leakage": Plant(other_clips_of_a_test_case, ("groups_guessed",), pattern=None),
    "groups_guessed": Plant(pattern=None),
    "groups_unknown": Plant(respell(lambda path, _: f"set/{hashlib.sha256(path.encode()).hexdigest()[:9]}.mp4"), pattern=None),
    "clips_without_group": Plant(unnumbered),
    "validation_is_test": Plant(validate_on_test),
    "same_clip_in_two_splits": Plant(half_of_a_case_to_train, ("group_leakage",)),
    "same_clip_under_another_root": Plant(at_another_root, ("group_leakage", "id_collision_elsewhere")),
    "clip_listed_twice": Plant(list_twice),
    "clip_with_two_labels": Plant(give_two_labels, ("clip_listed_twice",)),
    "id_collision": Plant(dotted("test", 50)),
    "id_collision_elsewhere": Plant(dotted("train", 3)),
    "bogus_class": Plant(names=("cutting", "Phase", "suturing", "other")),
    "class_once_in_every_group": Plant(mark_every_case),
    "negatives_labelled_as_event": Plant(
        respell(lambda path, label: f"{'Rest' if label < 2 and int(path[9:12]) % 2 else 'Event'}/{path}")
    ),
    "duplicate_classes": Plant(names=("clipping_cutting", "Clipping Cutting", "suturing", "other")),
    "class_names_not_english": Plant(names=("Phako", "incision", "rhexis", "other")),
    "class_absent_from_train": Plant(keep("train", lambda _, label: label != 3)),
    "class_absent_from_test": Plant(keep("test", lambda _, label: label != 3)),
    "label_gap": Plant(everywhere(lambda _, label: label != 1)),
    "label_in_path": Plant(respell(lambda path, label: f"{'abcd'[label]}{path}")),
    "tiny_test": Plant(keep("test", lambda path, _: int(path[13:15]) < 4)),
    "few_test_groups": Plant(keep("test", lambda path, _: int(path[9:12]) < 53)),
    "tiny_classes": Plant(keep("test", lambda path, label: label != 3 or int(path[9:12]) < 47)),
    "high_majority": Plant(most_are_one_class),
}  # fmt: skip


def kinds_of_the_auditor() -> set[str]:
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCES.glob("split_*.py"))
    certain, guessed = re.findall(r'"(\w+)" if guess is None else "(\w+)",', text)[0]
    return {certain, guessed, *re.findall(r'Finding\(\s*"(\w+)"', text)}


def test_every_kind_is_planted() -> None:
    assert set(PLANTS) == kinds_of_the_auditor()


@pytest.mark.parametrize("kind", PLANTS)
def test_what_is_planted_is_found_and_nothing_else(kind: str, tmp_path: Path) -> None:
    plant, lists = PLANTS[kind], clean()
    plant.change(lists)
    write_lists(tmp_path, lists)
    splits = read_splits(*(tmp_path / f"{name}.csv" for name in ("train", "val", "test")))
    names = {str(label): name for label, name in enumerate(plant.names)} or None
    found = audit_splits(splits, plant.pattern, names)
    assert {finding.kind for finding in found.findings} == {kind, *plant.besides}


def test_nothing_is_found_where_nothing_is_planted(tmp_path: Path) -> None:
    write_lists(tmp_path, clean())
    splits = read_splits(*(tmp_path / f"{name}.csv" for name in ("train", "val", "test")))
    assert (
        audit_splits(
            splits, CASE, dict(zip("0123", ("cutting", "suturing", "knotting", "other"), strict=True))
        ).findings
        == ()
    )
