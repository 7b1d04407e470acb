"""`surgrec audit splits`: statuses, files, and that nothing names a patient."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec import __main__ as console
from tests.core.test_html import Reader
from tests.corpus import published_splits as published
from tests.corpus.published_splits import clean, write_lists

REPOSITORY = Path(__file__).resolve().parent.parent


def run(folder: Path, *flags: str) -> int:
    return console.main(["audit", "splits", *flags, "--out", str(folder / "report.html")])


def test_a_clean_benchmark_has_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, *write_lists(tmp_path, clean()), "--group-pattern", r"case_(\d+)") == 0
    assert "nothing found: 0 errors, 0 warnings, 0 notes" in capsys.readouterr().out
    assert "Nothing was found" in "".join(Reader((tmp_path / "report.html").read_text()).text)


def test_an_error_has_status_2_and_a_warning_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = published.hyper_kvasir()
    assert run(tmp_path, *write_lists(tmp_path, lists)) == 2
    assert "validation_is_test" in capsys.readouterr().out
    flags = write_lists(tmp_path, {"train": lists["train"], "test": lists["test"]})
    assert run(tmp_path, *flags) == 0  # what is left of errors is a guess
    assert "possible_group_leakage" in capsys.readouterr().out
    assert run(tmp_path, *flags, "--group-pattern", "([0-9a-f-]{36})_") == 2


def test_quoted_paths_are_read(tmp_path: Path) -> None:
    flags = write_lists(tmp_path, published.kvasir_capsule(), quoted=True)
    assert run(tmp_path, *flags, "--json", str(tmp_path / "report.json")) == 2
    content = json.loads((tmp_path / "report.json").read_text())
    (leak,) = (finding for finding in content["findings"] if finding["kind"] == "possible_group_leakage")
    assert leak["evidence"]["affected_clips"] == 81
    assert {entry["name"] for entry in content["classes"]} >= {"Ileocecal valve (0)"}


def test_labels_are_named_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "names.json").write_text(json.dumps({"label_to_index": {"a": 0, "b": 1, "c": 2, "severe_index": 3}}))
    flags = write_lists(tmp_path, clean())
    assert run(tmp_path, *flags, "--labels", str(tmp_path / "names.json")) == 0
    assert "severe_index (3) is a state of the annotation or a score" in capsys.readouterr().out


def test_no_original_name_is_written_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = {name: [(f"Jane_Doe/{path}", label) for path, label in rows] for name, rows in clean().items()}
    lists["train"] += lists["test"][:20]
    (tmp_path / "Jane_Doe").mkdir()
    flags = [*write_lists(tmp_path / "Jane_Doe", lists), "--json", str(tmp_path / "report.json")]
    assert run(tmp_path, *flags) == 2
    written = capsys.readouterr()
    shown = [(tmp_path / "report.html").read_text(), (tmp_path / "report.json").read_text(), written.out, written.err]
    assert not any("Jane_Doe" in text for text in shown)
    assert run(tmp_path, *flags, "--show-names") == 2
    assert "Jane_Doe/set/case_045_00.mp4" in (tmp_path / "report.html").read_text()


def test_running_again_writes_the_same_report(tmp_path: Path) -> None:
    flags = write_lists(tmp_path, published.jigsaws())
    reports = []
    for _ in range(2):
        run(tmp_path, *flags)
        reports.append((tmp_path / "report.html").read_bytes())
    assert reports[0] == reports[1] and sorted(path.suffix for path in tmp_path.iterdir()) == [
        ".csv",
        ".csv",
        ".csv",
        ".html",
    ]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--group-pattern", "("], "no regular expression"),
        (["--group-pattern", "patient"], "matches none"),
        (["--labels", "none.json"], "there is no file none.json"),
        (["--val", "none.csv"], "there is no file none.csv"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], sentence: str
) -> None:
    assert run(tmp_path, *write_lists(tmp_path, clean()), *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and sentence in line
    assert not (tmp_path / "report.html").exists()


def test_a_report_replaces_nothing_that_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = write_lists(tmp_path, clean())
    before = (tmp_path / "train.csv").read_bytes()
    for out, json_file in (("train.csv", "a.json"), ("a.html", "test.csv"), ("a.html", "a.html"), (".", "a.json")):
        assert (
            console.main(["audit", "splits", *flags, "--out", str(tmp_path / out), "--json", str(tmp_path / json_file)])
            == 2
        )
        assert "give" in capsys.readouterr().err
    assert (tmp_path / "train.csv").read_bytes() == before and not (tmp_path / "a.html").exists()


def test_help_has_an_example_and_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom surgrec.audit import main\n"
        "try: main(['splits', '--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0 and "example: surgrec audit splits" in done.stdout
    assert not {"torch", "av", "pyarrow", "numpy"} & set(done.stdout.splitlines()[-1].split())


def test_an_audit_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        console.main(["audit"])
    assert ended.value.code == 2 and "AUDIT" in capsys.readouterr().err


# -- docs/audit_splits.md

PAGE = (REPOSITORY / "docs" / "audit_splits.md").read_text(encoding="utf-8")


def test_the_page_shows_what_its_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = dict(re.findall(r"^```(console|text)\n(.*?)\n```$", PAGE, flags=re.MULTILINE | re.DOTALL))
    monkeypatch.chdir(tmp_path)
    write_lists(tmp_path, published.hyper_kvasir())
    assert console.main(shlex.split(blocks["console"].replace("\\\n", " "))[1:]) == 2
    assert capsys.readouterr().out.strip() == blocks["text"]


def test_the_page_explains_every_kind_of_finding_and_no_other() -> None:
    sources = "".join(path.read_text() for path in (REPOSITORY / "surgrec" / "corpus").glob("split_*.py"))
    made = set(re.findall(r'Finding\(\s*"(\w+)"', sources)) | set(
        re.findall(r'"(\w+)" if guess is None else "(\w+)",', sources)[0]
    )
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == made
