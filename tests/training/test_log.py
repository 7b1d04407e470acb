"""Numbers also go to TensorBoard and Weights & Biases, without the network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from surgrec.training.folder import RunFolder
from surgrec.training.log import Log, TensorBoardSink, WandbSink
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


def test_tensorboard_forgets_the_steps_that_are_done_again(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first, steps in ((0, (1, 2, 3, 4)), (2, (3, 4, 5))):
        sink = TensorBoardSink(tmp_path, first)
        for step in steps:
            sink.add(step, {"loss": step + first / 10})
        sink.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, round(event.value, 3)) for event in events.Scalars("loss")] == [
        (1, 1.0), (2, 2.0), (3, 3.2), (4, 4.2), (5, 5.2)
    ]  # fmt: skip


def test_the_console_tells_of_device_and_straggler(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pace = {"mfu": 0.412, "tflops_per_second": 407.0, "gpu_allocated_bytes": 61.3e9, "gpu_reserved_bytes": 70e9}
    log = Log(RunFolder(tmp_path), None, clips_before=lambda step: 16 * step, first_step=0)
    log.add(1, NUMBERS, {"alpha": 16}, 0.5, of_pace=pace | {"straggler": "rank 1 holds the others up"})
    log.add(2, NUMBERS, {"alpha": 32}, 0.5, of_pace={"tflops_per_second": 0.0123})
    said = capsys.readouterr().err
    assert "clips/s, 41% MFU, 61.3 of 70.0 GB, waited" in said and "clips/s, 0.0123 TFLOP/s, waited" in said
    assert said.count("warning: rank 1 holds the others up") == 1
    first, second = lines_of(tmp_path / "metrics.jsonl")
    assert first["mfu"] == 0.412 and "mfu" not in second and first["unix_seconds"] <= second["unix_seconds"]


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


def test_weights_and_biases_is_told_a_step_once_and_again_only_after_a_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[str, float]] = []
    metrics: dict[str, str | None] = {}
    run = OnlyForward(kept, metrics)  # one for the life of the folder
    ids: list[str] = []

    def init(**options: Any) -> OnlyForward:
        assert options["resume"] == "allow" and options["mode"] == "offline"
        ids.append(options["id"])
        return run

    module = SimpleNamespace(init=init, Settings=lambda **options: None)
    monkeypatch.setitem(sys.modules, "wandb", module)
    # killed after step 4, continued from step 2; a collapse at step 5, from step 1 on again; killed, and continued from step 1 again
    stretches = [((1, 2, 3, 4), 0), ((3, 4, 5), 0), ((2, 3), 1), ((2, 3, 4, 5, 6), 1)]
    for steps, num_rollbacks in stretches:
        sink = WandbSink(tmp_path, "project", True, {}, num_rollbacks)
        for step in steps:
            sink.add(step, NUMBERS)
        sink.close()
    assert [values["step"] for values in kept] == [1, 2, 3, 4, 5, 2, 3, 4, 5, 6]
    assert len(ids) == len(stretches) and len(set(ids)) == 1, "one run, whatever happens"
    assert all(values == NUMBERS | {"step": values["step"]} for values in kept)
    assert metrics == {"step": None, "*": "step"}
