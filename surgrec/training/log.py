"""What a run says while it runs.

In: the numbers of a step. Out: a line of `metrics.jsonl`, of the console, and of Weights & Biases or TensorBoard where asked for.
Its own file so that the loop stays a page and nobody's logger decides what is logged.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from surgrec.core.atomic import write_text
from surgrec.core.errors import UserError
from surgrec.training.folder import RunFolder
from surgrec.training.shown import HEALTH_SHOWN
from surgrec.training.sources import describe_sources

# the only values that differ between equal runs; those of the second line are there where they can be measured
TIMINGS = (
    "unix_seconds", "clips_per_second", "seconds_waiting_for_data", "step_seconds", "tflops_per_second", "slowest_clip",
    "mfu", "gpu_allocated_bytes", "gpu_reserved_bytes", "ranks", "straggler",
)  # fmt: skip

_SOURCES_EVERY = 10  # lines on the console
_SHOWN = (("loss", "loss", ".4f"), *HEALTH_SHOWN, ("lr", "lr", ".2e"))


class Sink(Protocol):
    """Somewhere else that numbers go."""

    def add(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one step."""
        ...

    def close(self) -> None:
        """Write out what is left."""
        ...


class WandbSink:
    """Weights & Biases; the same folder continues the same W&B run.

    Its charts are over our own `step`: W&B's counter only rises, and drops what a run says that went back to a checkpoint. A run that
    was interrupted does the steps after its checkpoint again, to the same numbers; they are not told twice. After a rollback, of which the
    run has had `num_rollbacks`, the same steps have other numbers, and are.
    """

    def __init__(
        self, folder: Path, project: str, offline: bool, config: dict[str, Any], num_rollbacks: int = 0
    ) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("logger=wandb needs the package: pip install 'surgrec[wandb]'") from None
        self._run = wandb.init(
            project=project, name=folder.name, id=_wandb_id(folder), dir=folder, config=config, resume="allow",
            mode="offline" if offline else "online", save_code=False, settings=wandb.Settings(console="off", x_disable_meta=True),
        )  # fmt: skip
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        self._told = folder / "wandb_told"
        self._way, self._last = num_rollbacks, -1
        if self._told.exists():
            way, last = map(int, self._told.read_text().split())
            self._last = last if way == num_rollbacks else -1

    def add(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one step, unless it has been told."""
        if step <= self._last:
            return
        self._last = step
        write_text(
            self._told, f"{self._way} {step}\n"
        )  # first: a line that is lost is better than one that is there twice
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class TensorBoardSink:
    """TensorBoard event files in the run folder. What an interrupted run had told of the steps after `step`, it tells again; TensorBoard
    then forgets what it heard first."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("logger=tensorboard needs the package: pip install 'surgrec[tensorboard]'") from None
        self._writer = SummaryWriter(folder / "tensorboard", purge_step=step + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the event file."""
        self._writer.close()


class Log:
    """Writes a step's numbers everywhere; made on the first rank only. `clips_before`: how many samples were drawn before a step.

    A clip counts as often as it is trained on: with `data.repeats`, the rate is that of samples.
    """

    def __init__(
        self, folder: RunFolder, sink: Sink | None, clips_before: Callable[[int], int], first_step: int
    ) -> None:
        self.folder, self.sink, self.clips_before = folder, sink, clips_before
        self._last_time, self._last_step, self._last_waiting = time.monotonic(), first_step, 0.0
        self._num_lines = 0

    def add(
        self,
        step: int,
        numbers: dict[str, float],
        sources: dict[str, int],
        seconds_waiting: float,
        alarm: str | None = None,
        of_sources: dict[str, dict[str, float]] | None = None,
        of_pace: dict[str, Any] | None = None,
    ) -> None:
        """Numbers after the update `step`; `seconds_waiting` is the loader's running total, `alarm` a sentence for `metrics.jsonl`, and
        `of_sources` what surgrec/training/sources.py tells of each, which the console has every so many lines; `of_pace` what
        surgrec/training/pace.py tells, whose sentence of a straggler the console has too.
        """
        now, pace = time.monotonic(), of_pace or {}
        num_clips = self.clips_before(step) - self.clips_before(self._last_step)
        timings = {
            "clips_per_second": num_clips / max(now - self._last_time, 1e-9),
            "seconds_waiting_for_data": seconds_waiting - self._last_waiting,
        }
        share = timings["seconds_waiting_for_data"] / max(now - self._last_time, 1e-9)
        self._last_time, self._last_step, self._last_waiting = now, step, seconds_waiting
        spoken = {"alarm": alarm} if alarm else {}
        self.folder.add_metrics(
            {"step": step, **numbers, "unix_seconds": round(time.time(), 1), **timings, **pace, "sources": sources}
            | {**(of_sources or {}), **spoken}
        )
        if self.sink is not None:
            shares = {f"sources/{name}": float(count) for name, count in sources.items()}
            paces = {name: float(value) for name, value in pace.items() if isinstance(value, int | float)}
            paces |= {"slowdown": pace["ranks"]["slowdown"]} if "ranks" in pace else {}
            self.sink.add(step, {**numbers, **timings, **paces, **shares})
        if not sys.stderr.isatty():
            print(
                f"step {step}  {describe(numbers)}  {timings['clips_per_second']:.1f} clips/s, {describe_device(pace)}"
                f"waited {timings['seconds_waiting_for_data']:.1f} s for data ({share:.0%})",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        if "straggler" in pace:
            print(f"warning: {pace['straggler']}", file=sys.stderr, flush=True)
        if of_sources and self._num_lines % _SOURCES_EVERY == 0:
            print(describe_sources(sources, of_sources), file=sys.stderr, flush=True)
        self._num_lines += 1

    def close(self) -> None:
        """Close the sink."""
        if self.sink is not None:
            self.sink.close()


def describe(numbers: dict[str, float]) -> str:
    """The few numbers that a person watches, those of them that were measured."""
    shown = (f"{title} {numbers[name]:{form}}" for name, title, form in _SHOWN if name in numbers)
    return "  ".join(shown)


def describe_device(pace: dict[str, Any]) -> str:
    """How much of the device is used, in operations and memory: `41% MFU, 61.3 of 70.0 GB, `; nothing where nothing was measured."""
    told = []
    if "mfu" in pace:
        told.append(f"{pace['mfu']:.0%} MFU")
    elif "tflops_per_second" in pace:
        told.append(f"{pace['tflops_per_second']:.3g} TFLOP/s")
    if "gpu_reserved_bytes" in pace:
        told.append(f"{pace['gpu_allocated_bytes'] / 1e9:.1f} of {pace['gpu_reserved_bytes'] / 1e9:.1f} GB")
    return "".join(f"{part}, " for part in told)


def _wandb_id(folder: Path) -> str:
    """One id for the life of a run folder."""
    file = folder / "wandb_id"
    if not file.exists():
        write_text(file, secrets.token_hex(4) + "\n")
    return file.read_text().strip()
