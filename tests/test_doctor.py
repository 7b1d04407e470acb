"""Doctor: every part is measured, the verdict is of those numbers, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from surgrec import doctor as command
from surgrec.config.compose import compose_config
from surgrec.core.cores import usable_cores
from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.training.bottleneck import Rates, judge
from surgrec.video.excerpt import write_excerpt
from surgrec.video.probe import probe
from tests.footage import write_corpus
from tests.training.tiny import overrides


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_BUDGETS", {True: (0.0, 1)})


@pytest.mark.parametrize("is_json", [False, True])
def test_every_part_is_measured(
    manifest: Path, is_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    workers = 1 if is_json else 0
    arguments = overrides("mae", manifest, tmp_path / "runs", "measured", f"data.workers={workers}", "data.repeats=2")
    assert command.doctor(compose_config(arguments), is_quick=True, is_json=is_json) == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("surgrec")] == []
    said = capsys.readouterr().out
    assert "patient" not in said, "file names may name patients"
    if not is_json:
        for part in (
            "disk",
            "decoding, one core",
            "loader",
            "augmentation",
            "copy",
            "training step",
            "copies (frames)",
        ):
            assert f"\n{part}" in said
        assert said.splitlines()[-1].startswith("The ") and said.endswith(".\n")
        return
    told = json.loads(said)
    rates = Rates(**told["rates"])
    assert min(rates.disk, rates.core, rates.loader, rates.augment, rates.step, *rates.prepared.values()) > 0
    assert (rates.cores, rates.workers, rates.repeats) == (usable_cores(), 1, 2)
    assert set(rates.prepared) == {"video", "frames"} and rates.copy is None
    assert judge(rates).sentence == told["verdict"]["sentence"]
    assert 0 < told["sizes"]["decoded_bytes_per_clip"] <= 4 * 64 * 96 * 3 and told["sizes"]["samples_per_step"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_finds_no_footage_left(number: signal.Signals, manifest: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    arguments = overrides("mae", manifest, tmp_path / "runs", "measured", "data.workers=0")
    process = subprocess.Popen(
        [sys.executable, "-m", "surgrec.doctor", *arguments], env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not list(temporary.glob("surgrec-doctor-*/*.mkv")):
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert not list(temporary.glob("surgrec*"))


def test_failed_reads_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_corpus(tmp_path / "corpus")
    broken = Manifest.read([manifest]).path_of(0)
    broken.write_bytes(b"broken")
    config = compose_config(overrides("mae", manifest, tmp_path / "runs", "measured", "data.workers=0"))
    monkeypatch.setattr(command, "_BUDGETS", {True: (0.0, 12)})
    assert command.doctor(config, is_quick=True) == 0
    told = capsys.readouterr()
    assert re.search(r"\d+ of \d+ reads failed \(\d+ times \w+\); their time is in the rates", told.err)
    assert str(broken) not in told.err + told.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("data.global_batch_size=2", "data.repeats=4"), r"data.global_batch_size=2 cannot be split .* data.repeats=4"),
        (("data.max_failure_rate=nan",), "data.max_failure_rate=nan is a share"),
    ],
)
def test_what_no_run_could_have_is_told_before_anything_is_measured(
    options: tuple[str, ...], says: str, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surgrec.training.rates.measure_decoding", lambda *_: pytest.fail("measured"))
    with pytest.raises(UserError, match=says):
        command.doctor(
            compose_config(overrides("mae", manifest, tmp_path / "runs", "measured", *options)), is_quick=True
        )


def test_what_a_killed_doctor_left_is_cleared_away_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, new = tmp_path / "surgrec-doctor-old", tmp_path / "surgrec-doctor-new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (0, 0))
    command._remove_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == [new.name]


@pytest.mark.parametrize(
    ("content", "expected"), [("50000 100000\n", 1), ("100000 100000\n", 1), ("max 100000\n", None), ("", None)]
)
def test_cores_are_those_of_the_container(content: str, expected: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(content)
    machine = len(os.sched_getaffinity(0))
    assert usable_cores(tmp_path / "cpu.max") == (expected or machine)
    assert usable_cores(tmp_path / "none") == machine


def test_an_excerpt_is_a_part_of_the_video(manifest: Path, tmp_path: Path) -> None:
    source = Manifest.read([manifest]).path_of(0)
    whole = probe(source)
    write_excerpt(source, tmp_path / "part.mkv", start_seconds=2.0, seconds=1.0)
    part = probe(tmp_path / "part.mkv")
    assert (part.codec, part.width, part.height) == (whole.codec, whole.width, whole.height)
    assert 0.9 < part.duration_seconds < whole.duration_seconds
