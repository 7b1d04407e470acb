"""What a report of an audit of splits shows, and what it must not."""

from __future__ import annotations

import json

import pytest

from surgrec.corpus.class_names import name_classes
from surgrec.corpus.split_report import Naming, as_html, as_json, as_text
from surgrec.corpus.splits import Clip
from tests.core.test_html import Reader
from tests.corpus.published_splits import Lists, clean
from tests.corpus.test_split_audit import CASE, audit, audit_of


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
