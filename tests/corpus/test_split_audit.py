"""The auditor finds what was reported of published lists, all of it and nothing else; and the laws of its counts."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.class_names import is_heading, is_no_class, meaning, words_of
from surgrec.corpus.split_audit import Audit, audit_splits
from surgrec.corpus.split_finding import Finding
from surgrec.corpus.split_report import Naming, as_html, as_text
from surgrec.corpus.splits import Clip, Splits
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
