"""Real footage from file to report. Seconds of the same videos are held out: it shows that all parts fit, and nothing of an encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surgrec.evaluation.attentive import AttentiveSettings
from surgrec.evaluation.clips import clip_times
from surgrec.evaluation.protocols.attentive import Attentive
from surgrec.evaluation.report import write_report
from surgrec.evaluation.results_json import read_results, write_results
from surgrec.evaluation.running.entrant import Entrant, majority
from surgrec.evaluation.running.join import join
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.protocols import Settings
from surgrec.evaluation.running.run import run_cells
from surgrec.evaluation.tasks.task import Clip, ClipTask, NamedSplit, video_id
from surgrec.features.baseline import load_any
from surgrec.video.probe import probe
from tests.conftest import surgery_in

DOMAINS = ("cataract", "endoscopy", "laparoscopy", "robotic")
PER_VIDEO = 9
NOTE = "a smoke test: training and test seconds are of the same few videos, so its number says nothing of an encoder"


def domains_of(folder: Path) -> ClipTask:
    """Ninths of each video, in turns of the training, validation and test part."""
    clips = []
    for path in surgery_in(folder):
        starts = clip_times(0.0, probe(path).duration_seconds, PER_VIDEO)
        label, name = DOMAINS.index(path.parent.name), video_id("smoke", path.name)
        clips += [Clip(path, name, start, start + starts[1], label, f"{name} {start}") for start in map(float, starts)]
    rows = np.arange(len(clips))
    split = NamedSplit("seconds", "seeded", *(rows[rows % 3 == part] for part in range(3)))
    return ClipTask("smoke", "Domain of real clips (smoke test)", "other", DOMAINS, tuple(clips), (split,), (NOTE,))


@pytest.mark.slow
def test_an_attentive_probe_tells_domains_apart_on_held_out_seconds(clips: Path, tmp_path: Path) -> None:
    histogram = Entrant(
        "histogram", "colour histogram", "trivial", lambda seed: load_any("trivial:histogram", "cpu", num_frames=4)
    )
    few = Settings(attentive=Attentive(AttentiveSettings(num_steps=100, learning_rates=(3e-3, 1e-3))))
    plan = Plan(
        "smoke_test", tmp_path / "benchmark", tmp_path / "features", (domains_of(clips),), (histogram, majority()),
        ("attentive",), few, num_seeds=2,
    )  # fmt: skip
    run_cells(plan, plan.places())
    write_results(join(plan, {}), plan.folder / "results.json")
    results = read_results(plan.folder / "results.json")
    write_report(results, plan.folder)

    scores = {cell.encoder: cell.scores[0] for cell in results.cells}
    assert results.gaps == () and set(scores) == {"histogram", "majority"}
    assert scores["histogram"].metric == "balanced accuracy"
    assert scores["histogram"].estimate > 0.75 > scores["majority"].estimate + 0.4
    for page in (plan.folder / "report.md", plan.folder / "report.html"):
        text = page.read_text(encoding="utf-8")
        assert NOTE in text and str(clips) not in text
