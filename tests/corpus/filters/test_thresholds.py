"""Thresholds: the file with the reasons says what the code does, and mistakes in a file of one's own are answered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from surgrec.core.errors import UserError
from surgrec.corpus.filters.thresholds import Thresholds, load_thresholds

REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULT = REPOSITORY / "configs" / "filters" / "default.yaml"


def test_the_default_file_holds_every_default() -> None:
    assert yaml.safe_load(DEFAULT.read_text()) == dataclasses.asdict(Thresholds())
    assert load_thresholds(DEFAULT) == load_thresholds(None) == Thresholds()


def test_every_threshold_is_read() -> None:
    """Each name is used by some filter, under its own file or `find`."""
    code = "".join(
        path.read_text()
        for path in (REPOSITORY / "surgrec" / "corpus" / "filters").glob("*.py")
        if path.name != "thresholds.py"
    )

    def leaves(value: object) -> list[str]:
        if not dataclasses.is_dataclass(value):
            return []
        names = [entry.name for entry in dataclasses.fields(value)]
        return [name for name in names if not dataclasses.is_dataclass(getattr(value, name))] + [
            leaf for name in names for leaf in leaves(getattr(value, name))
        ]

    unread = [name for name in leaves(Thresholds()) if f".{name}" not in code]
    assert unread == []


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("blur: {begin: 0.7}\nfrozen: {timing: {min_seconds: 5}}\nout_of_body: {model: 'a:b'}\n")
    changed = load_thresholds(file)
    assert (changed.blur.begin, changed.frozen.timing.min_seconds, changed.out_of_body.model) == (0.7, 5.0, "a:b")
    assert changed.blur.hold == Thresholds().blur.hold and changed.frozen.timing.max_gap_seconds == 0.5
    assert changed.black == Thresholds().black
    file.write_text("")
    assert load_thresholds(file) == Thresholds()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blurr: {begin: 1}", "unknown key 'blurr'; did you mean 'blur'"),
        ("blur: {begn: 1}", "unknown key 'blur.begn'; did you mean 'begin'"),
        ("frozen: {timing: {min_second: 1}}", "unknown key 'frozen.timing.min_second'; did you mean 'min_seconds'"),
        ("blur: {begin: high}", "blur.begin must be a number, not 'high'"),
        ("blur: {begin: true}", "blur.begin must be a number"),
        ("blur: {begin: -1}", "blur.begin must be a finite number"),
        ("blur: {begin: .inf}", "blur.begin must be a finite number"),
        ("still_edges: {min_frames: 2.5}", "still_edges.min_frames must be a whole number"),
        ("blur: 3", "blur must be `key: value` lines"),
        ("[1]", "the file must be `key: value` lines"),
        ("{", "cannot be read as YAML"),
        ("content_box: {round_view: inside}", "content_box.round_view is 'inside'; choose circumscribed"),
        ("out_of_body: {model: 3}", "out_of_body.model must be text or null"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_thresholds(file)
    assert message in str(caught.value)
    with pytest.raises(UserError, match="there is no file"):
        load_thresholds(tmp_path / "absent.yaml")
