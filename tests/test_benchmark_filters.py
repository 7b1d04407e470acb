"""The benchmark of the filters runs; what it measures on so little means nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from surgrec.synthetic.corpus import synthesize

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "filters.py"


@pytest.mark.slow
def test_filters(tmp_path: Path) -> None:
    synthesize(tmp_path / "corpus", "tiny", 0, 1)
    command = [sys.executable, str(SCRIPT), "--corpus", str(tmp_path / "corpus"), "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--per-source", "1", "--shortest", "0.8", "--box-step", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("filters_*.md")
    text = report.read_text()
    for kind in (
        "black",
        "out_of_body",
        "blur",
        "text",
        "overlay",
        "picture_in_picture",
        "narrow_band",
        "circle, as rendered",
    ):
        assert f"\n| {kind} |" in text
