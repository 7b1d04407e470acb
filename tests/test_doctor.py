"""Doctor: every part is measured, the verdict is of those numbers, and nothing is left behind."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from surgrec import doctor as command
from surgrec.config.compose import compose_config
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
    assert (rates.cores, rates.workers, rates.repeats) == (len(os.sched_getaffinity(0)), 1, 2)
    assert set(rates.prepared) == {"video", "frames"} and rates.copy is None
    assert judge(rates).sentence == told["verdict"]["sentence"]
    assert 0 < told["sizes"]["decoded_bytes_per_clip"] <= 4 * 64 * 96 * 3 and told["sizes"]["samples_per_step"] == 4


def test_an_excerpt_is_a_part_of_the_video(manifest: Path, tmp_path: Path) -> None:
    source = Manifest.read([manifest]).path_of(0)
    whole = probe(source)
    write_excerpt(source, tmp_path / "part.mkv", start_seconds=2.0, seconds=1.0)
    part = probe(tmp_path / "part.mkv")
    assert (part.codec, part.width, part.height) == (whole.codec, whole.width, whole.height)
    assert 0.9 < part.duration_seconds < whole.duration_seconds
