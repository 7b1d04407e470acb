"""From a run folder to a release: the right weights, the right step, the run's own account of itself."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import surgrec
from surgrec import export
from surgrec.audit import main as audit_main
from surgrec.config.build import build_run, build_runtime, load_run, run_folder
from surgrec.config.compose import claim_folder, compose_config
from surgrec.config.released import seen_before
from surgrec.config.seen import ask_run
from surgrec.core.console import run_command
from surgrec.corpus.card import Card, shipped_cards
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.scan import scan
from surgrec.corpus.verdict import verdict_path
from surgrec.hub.card_footage import Footage, SeenVideo
from surgrec.hub.folder import checksum_of
from surgrec.training.loop import pretrain
from tests.hub.build import written
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


def test_the_videos_that_were_seen_are_listed_by_id(runs: Path, tmp_path: Path) -> None:
    """Each step draws more; what the release of a step lists is what its weights had seen."""
    listed = {}
    for step in (1, 2):
        assert run("--run", runs / "mae", "--out", tmp_path / f"{step}", "--step", step) == 0
        with (tmp_path / f"{step}" / "videos_seen.csv").open(newline="") as file:
            listed[step] = {row["video_id"]: (row["source"], int(row["first_step"])) for row in csv.DictReader(file)}
    manifest = Manifest.read([runs.parent / "manifest.parquet"])
    everything = dict(zip(manifest.video_ids.tolist(), manifest.sources.tolist(), strict=True))
    assert {name: source for name, (source, _) in listed[2].items()} == everything, "both were drawn in two steps"
    assert listed[1] == {name: where for name, where in listed[2].items() if where[1] <= 1}
    asked = ask_run(runs / "mae", set(everything))
    assert {name: first for name, (_, first) in listed[2].items()} == asked.first_seen
    assert json.loads((tmp_path / "2" / "config.json").read_text())["seen_is_whole"] is True


def test_what_the_starting_release_had_seen_is_seen(runs: Path, tmp_path: Path) -> None:
    assert run("--run", runs / "mae", "--out", tmp_path / "base", "--step", 1) == 0
    manifest = runs.parent / "manifest.parquet"
    for name, init in (("next", f"surgrec:{tmp_path / 'base'}"), ("none", None)):
        more = [f"init={init}"] if init else []
        train(overrides("mae", manifest, tmp_path / "runs", name, "trainer.steps=1", *more))
        assert run("--run", tmp_path / "runs" / name, "--out", tmp_path / name) == 0
    rows = (tmp_path / "base" / "videos_seen.csv").read_text().splitlines()[1:]
    text = (tmp_path / "next" / "videos_seen.csv").read_text()
    assert rows and all(f"{row.rpartition(',')[0]},0" in text for row in rows)
    (tmp_path / "base" / "videos_seen.csv").unlink()
    config = json.loads((tmp_path / "next" / "config.json").read_text())
    assert config["seen_is_whole"] is True
    assert run("--run", tmp_path / "runs" / "next", "--out", tmp_path / "again") == 0
    assert json.loads((tmp_path / "again" / "config.json").read_text())["seen_is_whole"] is False


def test_of_a_starting_release_that_is_gone_or_another_nothing_is_said_to_be_seen(tmp_path: Path) -> None:
    footage = Footage(seen=(SeenVideo("cholec_1", "cholec", 3),))
    base = written(tmp_path / "base", footage=footage)
    pin = checksum_of(base)
    assert seen_before(f"surgrec:{base}#sha256={pin}") == ([SeenVideo("cholec_1", "cholec", 0)], True)
    assert seen_before(f"surgrec:{base}#sha256={'0' * 64}") == ([], False), "another release is there now"
    (base / "videos_seen.csv").write_text("video_id,source,first_step\nother_1,other,1\n")
    assert seen_before(f"surgrec:{base}") == ([], False), "its list was changed"
    shutil.rmtree(base)
    assert seen_before(f"surgrec:{base}") == ([], False)


def test_the_card_tells_of_every_downstream_set_what_audits_said(runs: Path, tmp_path: Path) -> None:
    manifest = runs.parent / "manifest.parquet"
    assert run("--run", runs / "mae", "--out", tmp_path / "before") == 0
    before = {
        each["name"]: each for each in json.loads((tmp_path / "before" / "config.json").read_text())["downstream"]
    }
    benchmarked = {name for name, card in shipped_cards().items() if card.benchmarks}
    assert before.keys() == benchmarked and {each["status"] for each in before.values()} == {"not compared"}
    test_set = tmp_path / "cholec80.parquet"
    (tmp_path / "tests").mkdir()
    write(tmp_path / "tests", Coded("Muster_9.mp4", shown=range(400, 700)))
    (tmp_path / "tests" / "Muster_0.mp4").write_bytes((runs.parent / "cholec" / "Muster_0.mp4").read_bytes())
    Manifest(scan(tmp_path / "tests", Card("cholec80", "other")).rows).write(test_set)
    verdict = verdict_path(manifest)
    try:
        audit = (
            "contamination",
            "--pretrain",
            manifest,
            "--downstream",
            test_set,
            "--out",
            tmp_path / "r.html",
            "--workers",
            0,
        )
        assert run_command(lambda: audit_main(list(map(str, audit)))) == 2
        assert run("--run", runs / "mae", "--out", tmp_path / "after") == 0
    finally:
        verdict.unlink(missing_ok=True)
    after = {each["name"]: each for each in json.loads((tmp_path / "after" / "config.json").read_text())["downstream"]}
    assert after["cholec80"]["status"] == "found" and "1 video of the training footage" in after["cholec80"]["detail"]
    card = (tmp_path / "after" / "README.md").read_text()
    assert "| cholec80 | found |" in card and "`allow_contamination` was not set" in card


def test_no_file_of_a_release_names_an_original_file(tmp_path: Path) -> None:
    """Whatever people called their sources, notes and settings: by the very files."""
    secrets = ("Muster_Erika_1961", "Doe Jane 1970")
    tables = []
    for number, name in enumerate(secrets):
        (tmp_path / f"{number}").mkdir()
        write(tmp_path / f"{number}", Coded(f"{name}.mp4", shown=range(number, 300 + number)))
        source = name.replace(" ", "-") if number else "hospital"
        tables.append(scan(tmp_path / f"{number}", Card(source, "other", licence=f"signed in {name}.mp4")).rows)
    manifest = tmp_path / "manifest.parquet"
    Manifest(pa.concat_tables(tables)).write(manifest)
    weights = "+mix.weights.source.Doe-Jane-1970=2"
    train(overrides("mae", manifest, tmp_path / "runs", "run", "trainer.steps=1", weights, "mix=uniform"))
    assert run("--run", tmp_path / "runs" / "run", "--out", tmp_path / "release") == 0
    content = {path.name: path.read_bytes().decode(errors="replace") for path in (tmp_path / "release").iterdir()}
    assert {"README.md", "videos_seen.csv", "config.json", "CITATION.cff"} <= content.keys()
    for file, text in content.items():
        words = " ".join(re.findall(r"[^\W_]+", text.casefold()))
        assert "muster" not in words and "jane" not in words, file
    assert "| source-1 |" in content["README.md"] and "| hospital |" in content["README.md"]
    assert "left out here because it names a file" in content["README.md"]
    assert re.search(r"^source-1_[0-9a-f]{12},source-1,1$", content["videos_seen.csv"], flags=re.MULTILINE)
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"task": "phase", "data": "Muster_Erika_1961", "metric": "F1", "value": 1}]))
    assert run("--run", tmp_path / "runs" / "run", "--out", tmp_path / "more", "--results", results) == 2


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
