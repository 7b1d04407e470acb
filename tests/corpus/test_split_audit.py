"""The auditor finds what was reported of published lists, all of it and nothing else; and the laws of its counts."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.class_names import is_heading, is_no_class, meaning, name_classes, words_of
from surgrec.corpus.source_ids import GUESSES, SourcePattern, fitting_guesses
from surgrec.corpus.split_audit import Audit, audit_splits
from surgrec.corpus.split_finding import Finding
from surgrec.corpus.split_report import Naming, as_html, as_json, as_text
from surgrec.corpus.split_sizes import half_width, wilson
from surgrec.corpus.splits import Clip, Splits
from tests.core.test_html import Reader
from tests.corpus import published_splits as published
from tests.corpus.published_splits import FORMS, Lists, clean

CASE = r"case_(\d+)"


def splits_of(lists: Lists) -> Splits:
    return Splits(*(tuple(Clip(path, str(label)) for path, label in lists[name]) for name in ("train", "val", "test")))


def audit(
    lists: Lists, pattern: str | None = None, names: dict[str, str] | None = None, show_names: bool = False
) -> Audit:
    return audit_splits(splits_of(lists), pattern, names, show_names)


@functools.cache
def audit_of(form: str) -> Audit:
    """The audit of a published form, without a pattern."""
    return audit(FORMS[form]())


def of_kind(found: Audit, kind: str) -> list[Finding]:
    return [finding for finding in found.findings if finding.kind == kind]


def only(found: Audit, kind: str) -> Finding:
    (finding,) = of_kind(found, kind)
    return finding


def kinds(found: Audit, *severities: str) -> list[str]:
    return sorted(
        finding.kind for finding in found.findings if finding.severity in (severities or ("error", "warning"))
    )


# -- what was reported of lists of each form: all errors and warnings

WORSE_THAN_NOTES = {
    "m2cai16": ["bogus_class", "validation_is_test"],
    "cholec80": ["validation_is_test"],
    "multibypass140": ["bogus_class", "tiny_classes"],
    "lapgyn": ["negatives_labelled_as_event", "possible_group_leakage", "validation_is_test"],
    "surgical_actions160": ["groups_unknown", "tiny_classes", "tiny_test"],
    "hyper_kvasir": ["possible_group_leakage", "tiny_classes", "validation_is_test"],
    "kvasir_capsule": ["possible_group_leakage", "tiny_test", "validation_is_test"],
    "ldpolypvideo": ["possible_group_leakage", "validation_is_test"],
    "colonoscopic": ["possible_group_leakage", "tiny_classes", "tiny_test"],
    "cataract21": [
        "bogus_class", "class_names_not_english", "few_test_groups", "tiny_classes", "tiny_test", "validation_is_test"
    ],
    "jigsaws": ["id_collision", "possible_group_leakage", "validation_is_test"],
    "aixsuture": ["groups_unknown", "tiny_test"],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_published_faults_are_found_and_no_others(form: str) -> None:
    assert kinds(audit_of(form)) == WORSE_THAN_NOTES[form]


def test_m2cai16_has_a_heading_for_a_class_and_counts_both_sets_of_videos_from_one() -> None:
    found = audit_of("m2cai16")
    phase = only(found, "bogus_class")
    assert phase.severity == "error" and "Phase (6) is the heading of a table" in phase.what
    assert (phase.evidence["train_clips"], phase.evidence["test_clips"], phase.evidence["once_in_groups"]) == (
        27,
        14,
        41,
    )
    assert of_kind(found, "possible_group_leakage") == []


def test_multibypass140_has_a_score_for_its_second_largest_class() -> None:
    found = audit_of("multibypass140")
    score = only(found, "bogus_class")
    assert "severe_index (13)" in score.what and score.evidence["train_rank"] == 2
    (row,) = only(found, "tiny_classes").table.rows  # type: ignore[union-attr]
    assert row[:3] == ("other_intervention (10)", 6, 2)


def test_lapgyn_labels_negatives_as_the_event_and_repeats_cases() -> None:
    found = audit_of("lapgyn")
    mixed = only(found, "negatives_labelled_as_event")
    rows = mixed.table.rows  # type: ignore[union-attr]
    assert mixed.severity == "error" and mixed.evidence["clips"] == 1260 and len(rows) == 4
    assert {row[3:] for row in rows} == {(0.5, "rest")}
    leak = only(found, "possible_group_leakage")  # cases 18, 19 are of another event in train
    assert (leak.evidence["affected_clips"], leak.evidence["affected_clips_of_same_class"]) == (240, 192)
    assert only(found, "id_collision_elsewhere").evidence["ids_with_different_labels"] == 24


@pytest.mark.parametrize(
    ("form", "affected", "clips", "shared", "groups", "unit"),
    [
        ("hyper_kvasir", 640, 654, 93, 101, "video"),
        ("kvasir_capsule", 81, 82, 18, 19, "video"),
        ("ldpolypvideo", 1301, 1440, 60, 149, "video"),
        ("colonoscopic", 12, 15, 12, 15, "lesion"),
        ("jigsaws", 211, 211, 8, 8, "subject"),
    ],
)
def test_leakage_by_source_is_counted(
    form: str, affected: int, clips: int, shared: int, groups: int, unit: str
) -> None:
    """Guessed without a pattern, and the same as an error with the guess given."""
    guessed = only(audit_of(form), "possible_group_leakage")
    assert (
        "a guess" in guessed.what and f"{unit}s that train also has" in guessed.what and guessed.severity == "warning"
    )
    certain = only(audit(FORMS[form](), str(guessed.evidence["pattern"])), "group_leakage")
    assert certain.severity == "error"
    for leak in (guessed, certain):
        evidence = leak.evidence
        assert (evidence["affected_clips"], evidence["clips"], evidence["shared_groups"]) == (affected, clips, shared)
        assert evidence["test_groups"] == groups and evidence["share"] == pytest.approx(affected / clips)


def test_hyper_kvasir_leaks_979_in_1000_and_has_a_class_of_11() -> None:
    found = audit_of("hyper_kvasir")
    assert "(97.9 %)" in only(found, "possible_group_leakage").what
    assert only(found, "tiny_classes").table.rows[0][:3] == ("upper-pylorus (8)", 11, 11)  # type: ignore[union-attr]


def test_ldpolypvideo_leaks_all_negatives_and_a_constant_scores_ninety() -> None:
    found = audit_of("ldpolypvideo")
    leak = only(found, "possible_group_leakage")
    assert "Every test clip of no_polyps (0)." in leak.what
    assert leak.table.rows == (("no_polyps (0)", 1301, 1301, 1.0, 60), ("polyps (1)", 0, 139, 0.0, 0))  # type: ignore[union-attr]
    assert only(found, "high_majority").evidence["majority"] == pytest.approx(0.9035, abs=1e-4)


def test_jigsaws_ids_up_to_the_first_dot_mix_gestures() -> None:
    collision = only(audit_of("jigsaws"), "id_collision")
    evidence = collision.evidence
    assert collision.severity == "error"
    assert (evidence["split"], evidence["clips"], evidence["ids"], evidence["ids_with_different_labels"]) == (
        "test",
        6,
        3,
        3,
    )
    trials = published.jigsaws()
    assert of_kind(audit(trials, r"([^/]*_[A-Z]\d{3})_capture"), "group_leakage") == []  # trials are disjoint


def test_cataract21_has_a_state_for_a_class_and_german_names() -> None:
    found = audit_of("cataract21")
    assert "not_initialized (11)" in only(found, "bogus_class").what
    assert only(found, "class_names_not_english").evidence == {"german": 8, "named": 12}
    assert only(found, "few_test_groups").evidence["groups"] == 4


def test_aixsuture_and_surgical_actions160_name_no_source() -> None:
    for form in ("aixsuture", "surgical_actions160"):
        found = audit_of(form)
        assert "neither found nor excluded" in only(found, "groups_unknown").what
        assert found.grouping == "unknown" and found.splits[-1].num_groups is None


# -- clean lists


def test_nothing_is_said_of_a_clean_split() -> None:
    found = audit(clean(), CASE)
    assert (
        found.findings == ()
        and "nothing found" in as_text(found)
        and "Nothing was found" in as_html(found, Naming(False))
    )


def test_without_a_pattern_a_clean_split_has_one_note() -> None:
    assert kinds(audit(clean()), "error", "warning", "note") == ["groups_guessed"]


def test_folders_of_classes_are_a_note() -> None:
    lists = {name: [(f"{'abcd'[label]}{path}", label) for path, label in rows] for name, rows in clean().items()}
    assert kinds(audit(lists, CASE), "error", "warning", "note") == ["label_in_path"]


# -- one fault at a time, planted into a clean list


def planted(change: Callable[[Lists], None], **options: object) -> Audit:
    lists = clean()
    change(lists)
    return audit(lists, **{"pattern": CASE, **options})  # type: ignore[arg-type]


def test_a_group_column_is_used_and_excludes_a_pattern() -> None:
    clips = splits_of(clean())
    grouped = Splits(
        *(
            tuple(Clip(c.path, c.label, f"p{c.path[10:13]}") for c in part)
            for part in (clips.train, clips.val, clips.test)
        )
    )
    assert audit_splits(grouped).findings == ()
    one_patient = Splits(
        *(tuple(Clip(c.path, c.label, "p") for c in part) for part in (clips.train, clips.val, clips.test))
    )
    assert kinds(audit_splits(one_patient)) == ["few_test_groups", "group_leakage", "group_leakage", "group_leakage"]
    with pytest.raises(UserError, match="column group"):
        audit_splits(grouped, CASE)


def test_a_pattern_that_matches_nothing_or_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="matches none of the 720 paths"):
        audit(clean(), r"patient_(\d+)")
    with pytest.raises(UserError, match="no regular expression"):
        audit(clean(), "(")


def test_paths_that_the_pattern_does_not_match_are_told() -> None:
    found = planted(lambda lists: lists["test"].extend((f"set/other_{at}.mp4", at % 4) for at in range(5)))
    lost = only(found, "clips_without_group")
    assert kinds(found) == ["clips_without_group"] and lost.evidence == {
        "train_clips": 0,
        "val_clips": 0,
        "test_clips": 5,
    }


@pytest.mark.parametrize(
    ("relation", "num_val"),
    [("is the test set", 180), ("is a part of the test set", 100), ("holds all of the test set", 360)],
)
def test_validation_within_test_is_one_error(relation: str, num_val: int) -> None:
    lists = clean()
    lists["val"] = (lists["test"] + lists["val"])[:num_val][::-1]
    found = audit(lists, CASE)
    assert kinds(found) == ["validation_is_test"] and relation in only(found, "validation_is_test").what
    assert only(found, "validation_is_test").evidence["shared_clips"] == min(num_val, 180)


def test_clips_in_two_splits_are_counted_with_their_groups() -> None:
    found = planted(lambda lists: lists["train"].extend(lists["test"][:24]))
    assert kinds(found) == ["group_leakage", "same_clip_in_two_splits"]
    assert only(found, "same_clip_in_two_splits").evidence["shared_clips"] == 24
    assert only(found, "group_leakage").evidence["shared_groups"] == 2
    partly = planted(lambda lists: lists["val"].extend(lists["test"][:12]))
    assert kinds(partly) == ["group_leakage", "same_clip_in_two_splits"]
    assert only(partly, "group_leakage").severity == "warning"  # between validation and test


def test_a_clip_listed_twice_is_a_warning_and_with_two_labels_an_error() -> None:
    twice = planted(lambda lists: lists["train"].extend(lists["train"][:3]))
    assert kinds(twice) == ["clip_listed_twice"] and only(twice, "clip_listed_twice").evidence["repeated_clips"] == 3

    def relabel(lists: Lists) -> None:
        path, label = lists["train"][0]
        lists["train"].append((path, label + 1))

    found = planted(relabel)
    assert kinds(found) == ["clip_listed_twice", "clip_with_two_labels"]
    assert only(found, "clip_with_two_labels").table.rows == (("class 0 and class 1", 1),)  # type: ignore[union-attr]


def test_ids_that_collide_with_one_label_are_a_warning() -> None:
    found = planted(lambda lists: lists["test"].extend([("set/case_050_a.1.mp4", 2), ("set/case_050_a.2.mp4", 2)]))
    assert kinds(found) == ["id_collision"] and only(found, "id_collision").severity == "warning"


@pytest.mark.parametrize("name", ["Phase", "label", "unknown", "Not-Initialized", "severe_index", "N/A", "undefined"])
def test_names_that_are_no_classes_are_found(name: str) -> None:
    found = planted(lambda lists: None, names={"0": "cutting", "1": "suturing", "2": name, "3": "other"})
    assert kinds(found) == ["bogus_class"]


@pytest.mark.parametrize(
    "name", ["other", "out_of_body", "idle", "normal-clean-mucosa", "not bleeding", "no polyps", "G1"]
)
def test_names_that_are_classes_are_not(name: str) -> None:
    assert not is_heading(name) and not is_no_class(name)


def test_a_class_that_alone_is_once_in_every_group_is_a_note() -> None:
    def mark(lists: Lists) -> None:
        cases = {name: sorted({path[9:12] for path, _ in rows}) for name, rows in lists.items()}
        for name, rows in lists.items():
            rows.extend((f"set/case_{case}_mark.mp4", 4) for case in cases[name])

    found = planted(mark)
    assert only(found, "class_once_in_every_group").evidence == {"label": "4", "groups": 60}
    assert kinds(found) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Clipping_Cutting", "clipping cutting"),
        ("CalotTriangleDissection", "calot-triangle-dissection"),
        ("capsule_pulishing", "Capsule Polishing"),
        ("Hydrodissektion", "hydrodissection"),
        ("PreparationPhase", "Preparation"),
        ("oesophagitis", "Esophagitis"),
    ],
)
def test_two_names_of_one_class_are_found(first: str, second: str) -> None:
    assert meaning(first) == meaning(second)
    found = planted(lambda lists: None, names={"0": first, "1": second, "2": "suturing", "3": "other"})
    assert "duplicate_classes" in kinds(found) and only(found, "duplicate_classes").evidence == {"labels": "0, 1"}


def test_names_that_differ_in_words_are_two_classes() -> None:
    names = (
        "upper-polyps",
        "lower-polyps",
        "polyps",
        "no_polyps",
        "Dissection",
        "CalotDissection",
        "G1",
        "G11",
        "phase 1",
        "phase 2",
    )
    assert len(set(map(meaning, names))) == len(names)
    assert words_of("CalotTriangle_Dissection") == "calot triangle dissection"


def test_classes_without_clips_are_found() -> None:
    def drop_from_train(lists: Lists) -> None:
        lists["train"] = [row for row in lists["train"] if row[1] != 3]

    def drop_from_test(lists: Lists) -> None:
        lists["test"] = [row for row in lists["test"] if row[1] != 3]

    def drop_everywhere(lists: Lists) -> None:
        for name, rows in lists.items():
            lists[name] = [row for row in rows if row[1] != 1]

    assert kinds(planted(drop_from_train)) == ["class_absent_from_train"]
    assert kinds(planted(drop_from_test)) == ["class_absent_from_test"]
    gap = planted(drop_everywhere)
    assert kinds(gap) == ["label_gap"] and "no clip has 1" in only(gap, "label_gap").what


def test_negatives_of_their_own_class_are_no_fault() -> None:
    def rename(lists: Lists) -> None:
        for name, rows in lists.items():
            lists[name] = [(path.replace("set/", "Rest/" if label == 0 else "Event/"), label) for path, label in rows]

    assert kinds(planted(rename)) == []


def test_negatives_of_two_names_under_one_label_are_a_warning() -> None:
    """Label 0 of cases 0, 2, ... lies in a folder Rest, that of the others in Quiet, whose name is in no list."""

    def folder(path: str, label: int) -> str:
        return "Event" if label else ("Rest", "Quiet")[int(path[9:12]) % 2]

    lists = {name: [(f"{folder(path, label)}/{path}", label) for path, label in rows] for name, rows in clean().items()}
    found = audit(lists, CASE)
    assert (
        kinds(found) == ["negatives_labelled_as_event"]
        and only(found, "negatives_labelled_as_event").severity == "warning"
    )


def test_a_heading_among_the_words_of_file_names_is_a_warning() -> None:
    lists = {
        name: [(path.replace(".mp4", "_frame.mp4" if label == 2 else "_x.mp4"), label) for path, label in rows]
        for name, rows in clean().items()
    }
    assert only(audit(lists, CASE), "bogus_class").severity == "warning"


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


# -- what a report shows


def secret(lists: Lists) -> Lists:
    return {
        name: [(path.replace("set/", "Jane_Doe_1970/"), label) for path, label in rows] for name, rows in lists.items()
    }


def test_reports_hold_no_original_name_unless_asked() -> None:
    lists = secret(clean())
    lists["train"] += lists["test"][:30]
    for pattern in (None, r"(Jane_Doe_1970/case_\d+)"):
        found = audit(lists, pattern)
        hidden = as_html(found, Naming(False)), json.dumps(as_json(found, Naming(False))), as_text(found)
        without_pattern = [
            text.replace("(Jane_Doe_1970/case_\\\\d+)", "").replace("(Jane_Doe_1970/case_\\d+)", "") for text in hidden
        ]
        assert not any("Jane_Doe" in text or "case_045" in text for text in without_pattern)
        assert "clip_" in hidden[0] and "group_" in hidden[1]
        assert "Jane_Doe_1970/case_045_00.mp4" in as_html(found, Naming(True))


def test_a_report_cannot_be_asked_whether_a_name_is_in_it() -> None:
    """What stands for a patient follows from nothing but the order of the report: another patient in the same place bears it, too."""
    reports = []
    for patient in ("Jane_Doe_1970", "John_Roe_1980"):
        lists = {
            name: [(path.replace("set/case", f"{patient}/case"), label) for path, label in rows]
            for name, rows in clean().items()
        }
        lists["train"] += lists["test"][:30]
        naming = Naming(False)
        found = audit(lists, r"([^/]+/case_\d+)")
        reports.append((as_html(found, naming), as_json(found, naming)))
    assert reports[0] == reports[1] and "clip_1" in reports[0][0] and "group_1" in reports[0][0]


def test_a_folder_that_is_a_patient_does_not_become_the_name_of_a_class() -> None:
    """The one patient with some label has a folder that determines it."""
    names = ("Jane_Doe", "John_Roe", "Max_Muster", "Erika_Muster")
    lists = {name: [(f"{names[label]}/{path}", label) for path, label in rows] for name, rows in clean().items()}
    by_folder = r"^([^/]+)/"
    assert "Jane_Doe" not in as_html(audit(lists, by_folder), Naming(False))
    assert audit(lists, by_folder).classes[0].shown == "class 0"
    assert audit(lists, by_folder, show_names=True).classes[0].shown == "Jane_Doe (0)"
    assert audit(lists, CASE).classes[0].shown == "Jane_Doe (0)"  # many cases bear it: it is no patient


def test_names_come_from_the_file_then_the_labels_then_the_paths() -> None:
    clips = [
        Clip("a/x_1.mp4", "0", "p"),
        Clip("b/y_2.mp4", "1", "q"),
        Clip("a/x_3.mp4", "0", "q"),
        Clip("b/y_4.mp4", "1", "p"),
    ]
    assert name_classes(clips, {"0": "zero"}, lambda clip: clip.group).names == {"0": "zero"}
    assert name_classes(clips, None, lambda clip: clip.group).names == {"0": "a", "1": "b"}
    flat = [Clip(clip.path[2:], clip.label, clip.group) for clip in clips]
    assert name_classes(flat, None, lambda clip: clip.group).names == {"0": "x", "1": "y"}
    assert name_classes([Clip("a", "cut"), Clip("b", "sew")], None, lambda clip: None).shown("cut") == "cut"
    assert name_classes([Clip("a", "0"), Clip("b", "1")], None, lambda clip: None).shown("0") == "class 0"


@pytest.mark.parametrize("form", ["lapgyn", "cataract21", "jigsaws"])
def test_the_page_is_whole_and_says_what_the_json_says(form: str) -> None:
    found = audit_of(form)
    text = "".join(Reader(as_html(found, Naming(False))).text)
    content = as_json(found, Naming(False))
    assert json.loads(json.dumps(content)) == content and content["schema_version"] == 1
    for finding in content["findings"]:
        assert finding["what"] in text and finding["advice"] in text and finding["what"] in as_text(found)
        assert all(name in text for name in finding.get("clips", []) + finding.get("groups", []))


def test_the_page_escapes_names() -> None:
    found = audit(clean(), CASE, {"0": "<script>alert(1)</script>", "1": "a & b", "2": "c", "3": "d"})
    read = Reader(as_html(found, Naming(False)))
    assert "script" not in read.tags and "<script>alert(1)</script> (0)" in read.text
