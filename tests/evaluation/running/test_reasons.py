"""No reason names a path or a file, whatever they are called; what is left can still be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.evaluation.running.reasons import reason_of, without_places


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("there is no release at /data/x/y; export one", "there is no release at (a path); export one"),
        ("/data/My Patients/John Doe (1950).mp4 is not a video; mend it", "(a path) is not a video; mend it"),
        ("cannot read 'runs/John+Doe, Jane.mp4' (broken)", "cannot read '(a path)' (broken)"),
        ("doe_john.mp4 has no frames", "(a path) has no frames"),
        ("~/doe/x: it lacks blocks.0.mlp.fc1.weight", "(a path): it lacks blocks.0.mlp.fc1.weight"),
        (r"C:\doe\x.mp4 is away", "(a path) is away"),
        ("Größe in /daten/Müller/à.mkv", "Größe in (a path)"),
        ("the grid of 3 fits gave no number; lower the rates", "the grid of 3 fits gave no number; lower the rates"),
    ],
)
def test_paths_go_and_the_sentence_stays(said: str, left: str) -> None:
    assert reason_of(UserError(said)) == left


def test_places_that_are_known_may_be_called_anything() -> None:
    places = [Path("/data/John Doe, left"), Path("data"), Path("some folder")]
    assert (
        reason_of(UserError("/data/John Doe, left has no model; see data"), places) == "(a path) has no model; see data"
    )
    assert reason_of(UserError("some folder/weights is cut"), places) == "(a path) is cut"
    said = without_places(
        "expected videos/video01.mp4 in /data/John Doe, left, found /data/John Doe, left/a b.mp4; /x/y",
        places,
        "the folder",
    )
    assert said == "expected videos/video01.mp4 in the folder, found the folder; (a path)"


def test_an_error_of_the_program_is_told_by_its_kind() -> None:
    assert reason_of(ZeroDivisionError("of /data/doe.mp4")).startswith("ZeroDivisionError in this program")
