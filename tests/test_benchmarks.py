"""The benchmark of whole steps runs, and its two sides compute the same loss; what it measures here means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the peer is transformers: pip install 'surgrec[parity]'")
SPEED = Path(__file__).parent.parent / "benchmarks" / "speed.py"


@pytest.mark.slow
def test_speed(tmp_path: Path) -> None:
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
