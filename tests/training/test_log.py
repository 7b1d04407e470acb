"""Numbers also go to TensorBoard and Weights & Biases, without the network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from surgrec.training.folder import RunFolder
from surgrec.training.log import Log, WandbSink
from tests.training.tiny import RECORDED, Warm, lines_of, overrides

NUMBERS = {"loss": 1.5, "loss_over_mean": 0.9, "effective_rank": 30.0, "feature_std": 0.5, "lr": 1e-3}


def test_the_rate_and_the_waiting_are_those_since_the_line_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 102.0, 107.0])
    monkeypatch.setattr("surgrec.training.log.time.monotonic", lambda: next(clock))
    log = Log(RunFolder(tmp_path), None, clips_before=lambda step: 16 * step, first_step=40)
    log.add(41, NUMBERS, {"alpha": 656}, seconds_waiting=0.5)
    log.add(51, NUMBERS, {"alpha": 816}, seconds_waiting=0.75)
    log.close()
    lines = lines_of(tmp_path / "metrics.jsonl")
    assert [line["clips_per_second"] for line in lines] == [8.0, 32.0]
    assert [line["seconds_waiting_for_data"] for line in lines] == [0.5, 0.25]
    assert lines[1]["step"] == 51 and lines[1]["loss"] == 1.5 and lines[1]["sources"] == {"alpha": 816}


def test_tensorboard_has_the_numbers_of_every_logged_step(warm: Warm, footage: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    warm.run(overrides("mae", footage, tmp_path, "board", "trainer.steps=2", "logger=tensorboard"))
    events = accumulator.EventAccumulator(str(tmp_path / "board" / "tensorboard"))
    events.Reload()
    lines = lines_of(tmp_path / "board" / "metrics.jsonl")
    logged = [(event.step, event.value) for event in events.Scalars("loss")]
    assert logged == [(line["step"], pytest.approx(line["loss"])) for line in lines]
    assert {"lr", "effective_rank", "clips_per_second", "sources/alpha"} <= set(events.Tags()["scalars"])


@pytest.mark.slow
def test_weights_and_biases_writes_offline_and_continues_one_run(warm: Warm, footage: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    arguments = overrides("mae", footage, tmp_path, "biases", "trainer.steps=3", "logger=wandb")
    warm.run(["--stop-after", "1", *arguments], program=RECORDED)
    name = (tmp_path / "biases" / "wandb_id").read_text().strip()
    warm.run(arguments)
    assert (tmp_path / "biases" / "wandb_id").read_text().strip() == name
    written = list((tmp_path / "biases" / "wandb").glob(f"offline-run-*-{name}/run-{name}.wandb"))
    assert len(written) == 2 and all(file.stat().st_size for file in written)
    assert [line["step"] for line in lines_of(tmp_path / "biases" / "metrics.jsonl")] == [1, 2, 3]


class OnlyForward:
    """As W&B's run: what is logged with a step below the last one is dropped."""

    def __init__(self, kept: list[dict[str, float]], metrics: dict[str, str | None]) -> None:
        self.kept, self.metrics, self.last = kept, metrics, 0

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics[name] = step_metric

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        self.last = self.last + 1 if step is None else max(self.last, step)
        if step in (None, self.last):
            self.kept.append(values)

    def finish(self) -> None:
        pass


def test_weights_and_biases_keeps_what_is_logged_after_going_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[str, float]] = []
    metrics: dict[str, str | None] = {}
    run = OnlyForward(kept, metrics)  # one for the life of the folder
    module = SimpleNamespace(init=lambda **options: run, Settings=lambda **options: None)
    monkeypatch.setitem(sys.modules, "wandb", module)
    for steps in ((1, 2, 3, 4), (2, 3, 4, 5)):  # a collapse at step 4, and from step 1 on again
        sink = WandbSink(tmp_path, "project", offline=True, config={})
        for step in steps:
            sink.add(step, NUMBERS)
        sink.close()
    assert [values["step"] for values in kept] == [1, 2, 3, 4, 2, 3, 4, 5]
    assert all(values == NUMBERS | {"step": values["step"]} for values in kept)
    assert metrics == {"step": None, "*": "step"}
