"""The benchmarks run, and the two sides of that of whole steps compute the same loss; what they measure here means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.conftest import write_video

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SPEED = BENCHMARKS / "speed.py"


@pytest.mark.slow
def test_index(tmp_path: Path) -> None:
    sizes = ["--count", "3", "--corpus", "5", "--large-seconds", "1", "--repeats", "1"]
    command = [
        sys.executable,
        str(BENCHMARKS / "index.py"),
        *sizes,
        "--folder",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (report,) = (tmp_path / "out").glob("*.json")
    content = json.loads(report.read_text())
    assert len(content["files"]) == 3 and content["corpus"]["count"] == 5 and len(content["hashing"]) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "sha256sum" in report.with_suffix(".md").read_text()


@pytest.mark.slow
def test_speed(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the peer is transformers: pip install 'surgrec[parity]'")
    command = [
        sys.executable,
        str(SPEED),
        "--rows",
        "mae-nano",
        "jepa-nano",
        "--pairs",
        "1",
        "--profile",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("*.json")
    rows = json.loads(report.read_text())["rows"]
    assert {(row["row"], row["precision"]) for row in rows} == {
        (name, precision) for name in ("mae-nano", "jepa-nano") for precision in ("fp32", "bf16")
    }
    for row in rows:
        ours, peers = row["first_losses"]  # the script itself ends where they differ
        assert ours == pytest.approx(peers, rel=1e-4 if row["precision"] == "fp32" else 2e-2)
        assert row["ours"]["kernels"] and row["ours"]["peak_gigabytes"] > 0
    assert "bf16 is" in (tmp_path / report.with_suffix(".md").name).read_text()


@pytest.mark.slow
def test_decode(tmp_path: Path) -> None:
    pytest.importorskip("decord", reason="the peer is decord: pip install 'surgrec[decord]'")
    sizes = ["--seconds", "8", "--loops", "3", "--repeats", "2", "--folder", str(tmp_path / "files")]
    command = [sys.executable, str(BENCHMARKS / "decode.py"), *sizes, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (report,) = (tmp_path / "out").glob("*.json")
    content = json.loads(report.read_text())
    assert len(content["goals"]) == 7 and len(content["seconds"]["b: ours, video, crop"]) == 2
    assert content["gigabytes_per_hour"]["frames"] > content["gigabytes_per_hour"]["video"] > 0


@pytest.mark.slow
def test_loader(tmp_path: Path) -> None:
    pytest.importorskip("decord", reason="the peer reads with decord: pip install 'surgrec[decord]'")
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "one.mp4", 1, width=96, height=64)
    tiny = ["augment.crop_pixels=32", "mask.ratio=0.75", "data.num_frames=4", "optim.lr=1e-3"]
    sizes = ["--backbone", "nano", "--batch", "2", "--steps", "1", "--rounds", "1", "--override", *tiny]
    where = ["--clips", str(tmp_path / "clips"), "--out", str(tmp_path)]
    command = [sys.executable, str(BENCHMARKS / "loader.py"), *where, *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("*.json")
    rows = {row["form"]: set(row["share_of_memory"]) for row in json.loads(report.read_text())["rows"]}
    assert rows == {
        "original": {"memory", "ours", "peer"}, "video": {"memory", "ours", "peer"}, "frames": {"memory", "ours"}
    }  # fmt: skip
