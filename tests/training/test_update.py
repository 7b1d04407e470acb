"""A step that is no number updates nothing, and nobody waits to find out."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from surgrec.config.build import build_run, build_runtime, load_run
from surgrec.config.compose import claim_folder, compose_config
from surgrec.optim.optimizer import build_adamw
from surgrec.training import loop
from surgrec.training.loop import pretrain
from surgrec.training.runtime import Runtime, RuntimeSpec
from surgrec.training.trained import Trained
from surgrec.training.update import NonFiniteLossError, Numbers, Reading, Readings, Update
from tests.training.test_checkpoint import assert_equal
from tests.training.tiny import overrides

NAN = float("nan")


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime(RuntimeSpec(accelerator="cpu", strategy="single", precision="32-true"))


def small(fused: bool) -> Trained:
    torch.manual_seed(0)
    learner = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    optimizer = build_adamw(learner, (0.9, 0.95), 1e-8, 0.05, fused=fused)
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    return Trained(learner, nn.ModuleDict(), optimizer)


def one_step(update: Update, step: int, scale: float = 1.0, wants_stop: bool = False) -> Reading:
    data = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
    loss = update.trained.learner(data).square().mean() * scale
    loss.backward()
    return update.apply(step, loss.detach(), wants_stop, [f"video_{step}"])


@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_after_a_broken_step_weights_and_moments_stay_as_they_were(runtime: Runtime, clip_norm: float | None) -> None:
    state = small(fused=True)
    update = Update(runtime, state, clip_norm)
    for step in (1, 2):
        one_step(update, step).read()
    before = copy.deepcopy(state.state())
    broken = one_step(update, 3, scale=NAN)
    later = [one_step(update, step) for step in (4, 5)]  # finite again, but the run is broken
    restored = small(fused=True)
    restored.load(before)
    assert_equal(state, restored)
    with pytest.raises(NonFiniteLossError, match=r"the loss of step 3 is nan; nothing was updated\. .*video_3$"):
        broken.read()
    assert all(reading.read().loss > 0 for reading in later)


def test_the_verdict_changes_no_bit_of_a_run_that_is_fine(runtime: Runtime) -> None:
    mine, plain = small(fused=True), small(fused=True)
    update = Update(runtime, mine, None)
    for step in (1, 2, 3):
        one_step(update, step)
        data = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        plain.learner(data).square().mean().backward()
        plain.optimizer.step()
        plain.optimizer.zero_grad()
    assert_equal(mine, plain)


def test_an_optimiser_that_cannot_be_told_is_not_stepped(runtime: Runtime) -> None:
    state = small(fused=False)
    update = Update(runtime, state, None)
    one_step(update, 1)
    before = copy.deepcopy(state.learner.state_dict())
    with pytest.raises(NonFiniteLossError, match="loss of step 2 is nan"):
        one_step(update, 2, scale=NAN)
    assert all(torch.equal(before[name], value) for name, value in state.learner.state_dict().items())


def test_numbers_are_those_of_the_step_before_unless_they_are_waited_for(runtime: Runtime) -> None:
    update, readings = Update(runtime, small(fused=True), None), Readings()
    made = [one_step(update, step) for step in range(1, 6)]
    assert readings.newest(made[0], wait=False) is None
    assert readings.newest(made[1], wait=False) == made[0].read()
    assert readings.newest(made[2], wait=True) == made[2].read()
    assert readings.newest(made[3], wait=False) is None  # step 3 has been looked at
    assert readings.newest(made[4], wait=False) == made[3].read()


def test_a_stop_that_was_asked_for_is_seen_with_the_numbers_of_the_newest_step(runtime: Runtime) -> None:
    update, readings = Update(runtime, small(fused=True), None), Readings()
    assert readings.newest(one_step(update, 1, wants_stop=True), wait=False) is None
    second = one_step(update, 2, wants_stop=True)
    seen = readings.newest(second, wait=False)
    assert seen == second.read() and isinstance(seen, Numbers) and seen.is_stopping


def test_the_first_of_two_broken_steps_is_named(runtime: Runtime) -> None:
    update, readings = Update(runtime, small(fused=True), None), Readings()
    readings.newest(one_step(update, 1, scale=NAN), wait=False)
    with pytest.raises(NonFiniteLossError, match="step 1"):
        readings.newest(one_step(update, 2, scale=NAN), wait=True)


# -- in a run


@contextmanager
def run_of(variant: str, footage: Path, folder: Path, *more: str) -> Iterator[loop.Run]:
    config = compose_config(overrides(variant, footage, folder, "run", *more))
    claim_folder(config, folder / "run" / "config.yaml")
    runtime = build_runtime(config)
    yield build_run(config, runtime)
    runtime.close()


@pytest.mark.parametrize("bad", [3, 4])
def test_between_logs_a_broken_step_is_told_one_step_later_and_never_saved(
    bad: int, footage: Path, tmp_path: Path
) -> None:
    rhythm = ("trainer.log_every=100", "trainer.health_every=100", "trainer.checkpoint_every=2")
    with run_of("mae", footage, tmp_path, *rhythm) as run:
        weight = run.trained.learner.encoder.norm.weight
        calls: list[int] = []
        weight.register_hook(lambda grad: calls.append(1) or (grad * NAN if len(calls) == bad else grad))
        with pytest.raises(NonFiniteLossError, match=rf"gradient's norm at step {bad} is nan; nothing was updated.*_"):
            pretrain(run)
        assert len(calls) == {3: 4, 4: 4}[bad]  # step 4 is to be saved, so it is waited for
        assert load_run(tmp_path / "run").progress.step == 2
        assert all(torch.isfinite(value).all() for value in run.trained.learner.parameters())


class CountWaits:
    """Counts, in this thread, what makes the host wait for a device: reading values, copying to the host, or a shape that depends on
    values. On a CPU some of these never reach the dispatcher (`tolist`, `numpy`, `cpu`) and some are reached from C++ alone (of a
    backward pass), so calls are looked at in both places. A test sees all tensors on the CPU, so what is done to those that the host
    made for itself counts too; of a `Reading`, whose values the host has when it has waited for its step, `read` is written down
    instead, as (the step that is read, the steps that have been handed over).
    """

    DISPATCHED = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten.equal")
    CALLED = (
        "item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__array__",
        "__contains__", "nonzero", "argwhere", "masked_select", "unique", "equal", "allclose", "is_nonzero",
    )  # fmt: skip

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.reads: list[tuple[int, int]] = []
        self._handed_over, self._is_reading = 0, False
        self._modes = (_Called(self._see_call), _Dispatched(self._see_operation))
        make, read = Reading.__init__, Reading.read

        def made(reading: Reading, runtime: Runtime, step: int, *rest: Any) -> None:
            self._handed_over = step
            make(reading, runtime, step, *rest)

        def seen(reading: Reading) -> Numbers:
            self.reads.append((reading.step, self._handed_over))
            self._is_reading = True
            try:
                return read(reading)
            finally:
                self._is_reading = False

        monkeypatch.setattr(Reading, "__init__", made)
        monkeypatch.setattr(Reading, "read", seen)

    def __enter__(self) -> CountWaits:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*exception)

    def _see_call(self, func: Any, args: Any, kwargs: Any) -> None:
        name = getattr(func, "__name__", "")
        # by this name; the run's own device, which here is the CPU too, is no string
        to_host = name == "to" and any(
            isinstance(value, str) and value == "cpu" for value in (*args[1:], *kwargs.values())
        )
        if name in self.CALLED or to_host:
            self._add(name)

    def _see_operation(self, func: Any, args: Any) -> None:
        is_masked = str(func).startswith("aten.index") and any(
            isinstance(each, torch.Tensor) and each.dtype == torch.bool
            for arg in args[1:2]
            for each in (arg if isinstance(arg, list | tuple) else [])
        )
        if str(func).startswith(self.DISPATCHED) or is_masked:
            self._add(str(func))

    def _add(self, name: str) -> None:
        if not self._is_reading:
            self.names.append(name)


class _Called(TorchFunctionMode):
    def __init__(self, see: Any) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._see(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


class _Dispatched(TorchDispatchMode):
    def __init__(self, see: Any) -> None:
        super().__init__()
        self._see = see

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._see(func, args)
        return func(*args, **(kwargs or {}))


WAITING = {
    "item": lambda x: x[0].item(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "array": lambda x: np.asarray(x),
    "bool": lambda x: bool(x[0] > 0),
    "int": lambda x: int(x[0]),
    "float": lambda x: float(x[0]),
    "index": lambda x: [1, 2, 3][x.long()[0] * 0],
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "to device": lambda x: x.to(device="cpu"),
    "nonzero": lambda x: torch.nonzero(x),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "unique": lambda x: torch.unique(x),
    "equal": lambda x: torch.equal(x, x),
    "in": lambda x: 1.0 in x,
}


@pytest.mark.parametrize("how", WAITING)
def test_a_wait_is_counted(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(3)
    with CountWaits(monkeypatch) as waits:
        y = x * 2 + torch.arange(3)  # waits for nothing
        assert waits.names == []
        WAITING[how](y)
    assert waits.names


@pytest.mark.parametrize("variant", ["jepa", pytest.param("mae", marks=pytest.mark.slow)])
def test_no_step_waits_for_the_device_between_logs(
    variant: str, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rhythm = ("trainer.log_every=6", "trainer.health_every=6", "trainer.checkpoint_every=6", "trainer.steps=6")
    counts: list[int] = []
    with run_of(variant, footage, tmp_path, *rhythm, "optim.clip_norm=1.0") as run, CountWaits(monkeypatch) as waits:
        counted = loop.count_sources

        def count(run: loop.Run, progress: Any) -> None:  # it is called once a step, after the update
            counts.append(len(waits.names))
            counted(run, progress)

        monkeypatch.setattr(loop, "count_sources", count)
        pretrain(run)
    assert len(counts) == 6
    # from the second step's update to the sixth's
    assert counts[1:] == [counts[1]] * 5, waits.names[counts[1] : counts[5]]
    # the first and the last step are logged, so they are waited for; of the others the host reads what is there already
    assert waits.reads == [(1, 1), (2, 3), (3, 4), (4, 5), (5, 6), (6, 6)]
