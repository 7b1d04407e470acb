"""The arithmetic of an audit of splits, its laws on random lists, and how groups are read from paths."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from surgrec.corpus.card import Card
from surgrec.corpus.source_ids import GUESSES, SourcePattern, fitting_guesses
from surgrec.corpus.split_report import Naming, as_json
from surgrec.corpus.split_sizes import half_width, wilson
from tests.corpus import published_splits as published
from tests.corpus.published_splits import FORMS, Lists, clean
from tests.corpus.test_split_audit import CASE, audit, audit_of, kinds, of_kind, only

# -- arithmetic


def test_wilson_agrees_with_its_equation_and_known_values() -> None:
    low, high = wilson(9, 10)  # the two roots of (p - 0.9)^2 = z^2 p (1 - p) / n
    for p in (low, high):
        assert (p - 0.9) ** 2 == pytest.approx(1.959963984540054**2 * p * (1 - p) / 10)
    assert wilson(0, 5)[0] == 0.0 and wilson(5, 5)[1] == 1.0
    assert half_width(12) <= 0.25 < half_width(11) and half_width(93) <= 0.10 < half_width(92)


@pytest.mark.parametrize(("num_clips", "points"), [(15, 23), (16, 22), (46, 14), (51, 13), (62, 12), (82, 11)])
def test_small_test_sets_say_how_wide_their_interval_is(num_clips: int, points: int) -> None:
    lists = clean()
    lists["test"] = lists["test"][:num_clips]
    tiny = only(audit(lists, CASE), "tiny_test")
    assert f"±{points} points" in tiny.what and tiny.evidence["points_per_clip"] == 1 / num_clips


def test_the_effective_number_lies_between_groups_and_clips() -> None:
    found = audit(clean(), CASE).splits[-1]
    assert (found.num_groups, found.effective, found.design_effect) == (15, pytest.approx(15), pytest.approx(12))
    lists = clean()
    lists["test"] = lists["test"][:1] + lists["test"][12:]  # 1 clip of one case, 12 of the 14 others
    unequal = audit(lists, CASE).splits[-1]
    assert unequal.effective == pytest.approx(169**2 / (1 + 14 * 144)) and 1 < unequal.effective < 15
    assert unequal.half_width_groups is not None and unequal.half_width < unequal.half_width_groups
    assert math.isclose(unequal.chance, 0.25)


# -- laws on random lists


def random_lists(seed: int) -> tuple[Lists, int, int]:
    """Random groups, each wholly in one split, but for k groups of test with one clip or more in train as well. Returns the
    lists, k, and the number of test clips of these groups."""
    random = np.random.default_rng(seed)
    num_groups = int(random.integers(6, 60))
    order = random.permutation(num_groups)
    num_test, num_val = int(random.integers(2, num_groups // 2)), int(random.integers(1, num_groups // 4 + 1))
    names = np.array(["test"] * num_test + ["val"] * num_val + ["train"] * (num_groups - num_test - num_val))
    lists: Lists = {"train": [], "val": [], "test": []}
    num_planted = int(random.integers(0, num_test + 1))
    num_affected = 0
    for place, group in enumerate(order):
        size = int(random.integers(1, 9))
        rows = [(f"d/case_{group}_{at}.mp4", int(random.integers(0, 3))) for at in range(size)]
        lists[str(names[place])] += rows
        if place < num_planted:  # these are of test
            lists["train"] += [(f"d/case_{group}_{100 + at}.mp4", 0) for at in range(int(random.integers(1, 4)))]
            num_affected += size
    return lists, num_planted, num_affected


@pytest.mark.parametrize("seed", range(40))
def test_planted_leakage_is_found_exactly(seed: int) -> None:
    lists, num_planted, num_affected = random_lists(seed)
    leaks = of_kind(audit(lists, CASE), "group_leakage")
    assert len(leaks) == (num_planted > 0)
    for leak in leaks:
        assert (leak.evidence["shared_groups"], leak.evidence["affected_clips"]) == (num_planted, num_affected)
        assert (leak.evidence["first"], leak.evidence["second"]) == ("train", "test")
        assert sum(int(row[1]) for row in leak.table.rows) == num_affected  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "make",
    [
        published.cataract21,
        published.jigsaws,
        published.colonoscopic,
        published.kvasir_capsule,
        lambda: random_lists(3)[0],
    ],
)
def test_the_order_of_lines_changes_nothing(make: Callable[[], Lists]) -> None:
    lists = make()
    random = np.random.default_rng(5)
    shuffled = {name: [rows[at] for at in random.permutation(len(rows))] for name, rows in lists.items()}
    assert as_json(audit(lists), Naming(True)) == as_json(audit(shuffled), Naming(True))


def test_renumbered_labels_are_found_alike() -> None:
    lists = published.cataract21()
    turned = {name: [(path, 11 - label) for path, label in rows] for name, rows in lists.items()}
    assert kinds(audit_of("cataract21")) == kinds(audit(turned))


# -- groups from paths


def test_a_pattern_reads_paths_as_cards_do() -> None:
    paths = ["a/case_12_3.mp4", "case_7.mp4", "b/other.mp4"]
    for expression in (CASE, r"case_\d+", r"(?P<group>case_\d)\d?", r"(x)?case_(?P<group>\d+)"):
        card = Card("name", "other", group_pattern=expression)
        pattern = SourcePattern(expression)
        assert [pattern.key_of(path) for path in paths] == [card.group_of(path) for path in paths]
    two = SourcePattern(r"(?P<group_class>\w+)/WL\((?P<group_lesion>\d+)\)")
    assert two.key_of("Adenoma/WL(3).mp4") == "Adenoma/3"


def test_every_guess_has_a_form_that_it_fits() -> None:
    fitting = {
        fit.guess.expression
        for form in FORMS.values()
        for fit in fitting_guesses([p for r in form().values() for p, _ in r])
    }
    others = [
        [f"x/patient_{p:02d}/{at}.mp4" for p in range(9) for at in range(3)],
        [f"x/{at}_subject-{p}.mp4" for p in range(9) for at in range(3)],
    ]
    fitting |= {fit.guess.expression for paths in others for fit in fitting_guesses(paths)}
    assert [guess.expression for guess in GUESSES if guess.expression not in fitting] == []


def test_two_guesses_that_group_alike_are_one() -> None:
    (fit,) = fitting_guesses([path for rows in clean().values() for path, _ in rows])
    assert fit.guess.unit == "case" and (fit.num_matched, fit.num_groups) == (720, 60)
