"""The benchmark that goes from a wheel to features of clips: what it calls near, and that its way can be gone."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.conftest import write_video
from tests.hub.build import written
from tests.test_use_a_release import python  # noqa: F401  (a fixture: an environment with surgrec from a wheel)

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    sys.path.insert(0, str(BENCHMARKS))  # as `python benchmarks/from_a_wheel.py` has it
    try:
        spec = importlib.util.spec_from_file_location("from_a_wheel", BENCHMARKS / "from_a_wheel.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # where dataclasses look for it
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def clips(benchmark: Any, *directions: tuple[str, list[list[float]]]) -> list[Any]:
    return [benchmark.Clip(f"{k}", domain, np.array(rows)) for k, (domain, rows) in enumerate(directions)]


def test_clips_of_one_direction_are_near_and_their_own_windows_are_no_answer(benchmark: Any) -> None:
    made = clips(
        benchmark,
        ("abdomen", [[1.0, 0.1, 0.0], [1.0, 0.0, 0.0]]),
        ("abdomen", [[2.0, 0.0, 0.1]]),
        ("eye", [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]),  # two windows, the same, of a domain with one clip: not asked
    )
    found = benchmark.compare(made, is_centred=False)
    assert found["asked"] == 3 and found["nearest"] == 1.0 and found["nearest_by_domain"] == {"abdomen": 1.0}
    assert found["chance"] == pytest.approx((1 / 3 + 1 / 3 + 2 / 4) / 3)
    assert benchmark.pairs(made, found["similarity"], "abdomen", "abdomen") == [pytest.approx(1.0, abs=0.01)]
    between = benchmark.pairs(made, found["similarity"], "abdomen", "eye")
    assert len(between) == 2 and max(between) < 0.06


def test_the_nearest_window_may_be_of_another_domain(benchmark: Any) -> None:
    made = clips(benchmark, ("abdomen", [[1.0, 0.0]]), ("abdomen", [[0.0, 1.0]]), ("eye", [[1.0, 0.1]]))
    assert benchmark.compare(made, is_centred=False)["nearest"] == 0.0


def test_centred_takes_away_what_all_windows_share(benchmark: Any) -> None:
    draw = np.random.default_rng(0)
    rows = [draw.normal(size=(count, 8)) for count in (3, 2, 4)]
    shift = draw.normal(size=8) * 100
    plain, moved = (
        [benchmark.Clip(str(k), "abdomen", each + by) for k, each in enumerate(rows)] for by in (0.0, shift)
    )
    one, other = (np.array(benchmark.compare(made, is_centred=True)["similarity"]) for made in (plain, moved))
    assert np.allclose(one, other) and one.min() < 0.5
    assert np.array(benchmark.compare(moved, is_centred=False)["similarity"]).min() > 0.99


@pytest.mark.slow
def test_the_way_can_be_gone(
    benchmark: Any,
    python: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an environment that borrows its dependencies: the line, its features, both tables."""
    monkeypatch.setattr(benchmark, "install", lambda folder: python.parent)
    for number, domain in enumerate(("laparoscopy", "laparoscopy", "cataract")):
        (tmp_path / "clips" / domain).mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "clips" / domain / f"clip{number}.mp4", number, 64, 48)
    release = written(tmp_path / "release", "mae")
    arguments = ["--clips", tmp_path / "clips", "--releases", f"mae={release}", "--starts", "--out", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["from_a_wheel.py", *map(str, arguments)])
    assert benchmark.main() == 0
    (report,) = (tmp_path / "out").glob("from_a_wheel_*.json")
    rows = json.loads(report.read_text())["rows"]
    assert [(row["encoder"], row["features"]) for row in rows] == [
        (encoder, kind) for encoder in ("mae", "mae, random start") for kind in ("raw", "centred")
    ]
    assert all(np.allclose(np.diag(row["similarity"]), 1) and len(row["within"]) == 1 for row in rows)
    assert "| laparoscopy with cataract |" in report.with_suffix(".md").read_text()
    assert str(tmp_path) not in report.with_suffix(".md").read_text()
