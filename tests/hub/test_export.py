"""From a run folder to a release: the right weights, the right step, the run's own account of itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import surgrec
from surgrec import export
from surgrec.config.build import build_run, build_runtime, load_run, run_folder
from surgrec.config.compose import claim_folder, compose_config
from surgrec.core.console import run_command
from surgrec.corpus.card import Card
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from surgrec.training.loop import pretrain
from tests.training.tiny import overrides
from tests.video.make_videos import Coded, write

VARIANTS = ("mae", "jepa")
BATCH, STEPS = 8, 2


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two steps on two sources, a checkpoint at each step; the folder of the videos is named after a patient."""
    folder = tmp_path_factory.mktemp("Erika_Muster")
    tables = []
    for index, source in enumerate(("cholec", "eye")):
        (folder / source).mkdir()
        write(folder / source, Coded(f"Muster_{index}.mp4", shown=range(index, 300 + index)))
        tables.append(scan(folder / source, Card(source, "other", licence="CC BY 4.0" if index else None)).rows)
    manifest = folder / "manifest.parquet"
    Manifest(pa.concat_tables(tables)).write(manifest)
    for variant in VARIANTS:
        train(
            overrides(
                variant, manifest, folder / "runs", variant, f"trainer.steps={STEPS}", "trainer.checkpoint_every=1"
            )
        )
    return folder / "runs"


def train(arguments: list[str]) -> None:
    config = compose_config(arguments)
    runtime = build_runtime(config)
    claim_folder(config, run_folder(config).config_file)
    pretrain(build_run(config, runtime))
    runtime.close()


def run(*arguments: object) -> int:
    return run_command(lambda: export.main(list(map(str, arguments))))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_becomes_a_release(runs: Path, tmp_path: Path, variant: str) -> None:
    out = tmp_path / "release"
    assert run("--run", runs / variant, "--out", out) == 0
    encoder, preprocess = surgrec.load_model(out)
    objective = load_run(runs / variant).objective
    expected = objective.released_encoder.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in encoder.state_dict().items())
    if variant == "jepa":
        online = objective.learner.encoder.state_dict()  # type: ignore[union-attr]
        assert any(not torch.equal(tensor, online[name]) for name, tensor in encoder.state_dict().items())
    config = json.loads((out / "config.json").read_text())
    assert (config["variant"], config["objective"], config["step"]) == (variant, variant, STEPS)
    assert any(line.startswith("backbone.size ") for line in config["distance_from_variant"])
    assert (preprocess.num_frames, preprocess.pixels.crop_pixels) == (4, 32)
    video = preprocess(torch.zeros(4, 50, 70, 3, dtype=torch.uint8))
    assert encoder(video).shape == (1, 2 * 4 * 4, encoder.width)


def test_the_card_counts_what_was_drawn_and_names_no_patient(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "release"
    assert run("--run", runs / "mae", "--out", out, "--license", "cc-by-4.0") == 0
    card = (out / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    rows = [line.split("|") for line in card.splitlines() if line.startswith(("| cholec ", "| eye "))]
    assert len(rows) == 2 and sum(int(row[4]) for row in rows) == BATCH * STEPS
    assert [row[5].strip() for row in rows] == ["unknown", "CC BY 4.0"]
    for path in out.iterdir():
        assert b"Muster" not in path.read_bytes(), path.name


def test_the_release_and_the_run_know_of_each_other(runs: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert run("--run", runs / "mae", "--out", tmp_path / "release") == 0
    fingerprint = Manifest.read([runs.parent / "manifest.parquet"]).fingerprint
    assert json.loads((tmp_path / "release" / "config.json").read_text())["footage"] == [fingerprint]
    assert f"Fingerprint of the corpus: `{fingerprint}`" in (tmp_path / "release" / "README.md").read_text()
    noted = [json.loads(line) for line in (runs / "mae" / "releases.jsonl").read_text().splitlines()]
    (mine,) = [line for line in noted if line["path"] == str(tmp_path / "release")]
    sums = hashlib.sha256((tmp_path / "release" / "SHA256SUMS").read_bytes()).hexdigest()
    assert (mine["step"], mine["sums"]) == (STEPS, sums)


def test_a_step_can_be_chosen(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2):
        assert run("--run", runs / "mae", "--out", tmp_path / f"{step}", "--step", step) == 0
    one, two = (surgrec.load_model(tmp_path / f"{step}")[0].state_dict() for step in (1, 2))
    assert any(not torch.equal(one[name], two[name]) for name in one)
    capsys.readouterr()
    assert run("--run", runs / "mae", "--out", tmp_path / "9", "--step", 9) == 2
    assert "no checkpoint of step 9" in capsys.readouterr().err
    assert run("--run", runs / "mae", "--out", tmp_path / "1", "--step", 2) == 2
    assert "holds another release" in capsys.readouterr().err


def test_the_same_command_has_nothing_left_to_do(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert run("--run", runs / "jepa", "--out", tmp_path / "release") == 0
    assert "nothing is left to do" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--run", tmp_path, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        export.main(["--help"])
    assert caught.value.code == 0 and "example: surgrec export" in capsys.readouterr().out
