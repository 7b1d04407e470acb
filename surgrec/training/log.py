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
from surgrec.training.sources import describe_sources

TIMINGS = ("clips_per_second", "seconds_waiting_for_data")  # the only values that differ between equal runs

_SOURCES_EVERY = 10  # lines on the console
_SHOWN = (
    ("loss", "loss", ".4f"),
    ("loss_over_mean", "over mean", ".3f"),
    ("effective_rank", "rank", ".0f"),
    ("feature_std", "std", ".3f"),
    ("clip_similarity", "clips alike", ".2f"),
    ("probe_knn", "probe", ".3f"),
    ("probe_chance", "chance", ".3f"),
    ("lr", "lr", ".2e"),
)


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

    Its charts are over our own `step`: W&B's counter only rises, and drops what a run says that went back to a checkpoint.
    """

    def __init__(self, folder: Path, project: str, offline: bool, config: dict[str, Any]) -> None:
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

    def add(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one step."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class TensorBoardSink:
    """TensorBoard event files in the run folder."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("logger=tensorboard needs the package: pip install 'surgrec[tensorboard]'") from None
        self._writer = SummaryWriter(folder / "tensorboard")

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
    ) -> None:
        """Numbers after the update `step`; `seconds_waiting` is the loader's running total, `alarm` a sentence for `metrics.jsonl`, and
        `of_sources` what surgrec/training/sources.py tells of each, which the console has every so many lines.
        """
        now = time.monotonic()
        num_clips = self.clips_before(step) - self.clips_before(self._last_step)
        timings = {
            "clips_per_second": num_clips / max(now - self._last_time, 1e-9),
            "seconds_waiting_for_data": seconds_waiting - self._last_waiting,
        }
        share = timings["seconds_waiting_for_data"] / max(now - self._last_time, 1e-9)
        self._last_time, self._last_step, self._last_waiting = now, step, seconds_waiting
        spoken = {"alarm": alarm} if alarm else {}
        self.folder.add_metrics(
            {"step": step, **numbers, **timings, "sources": sources, **(of_sources or {}), **spoken}
        )
        if self.sink is not None:
            shares = {f"sources/{name}": float(count) for name, count in sources.items()}
            self.sink.add(step, {**numbers, **timings, **shares})
        if not sys.stderr.isatty():
            print(
                f"step {step}  {describe(numbers)}  {timings['clips_per_second']:.1f} clips/s, "
                f"waited {timings['seconds_waiting_for_data']:.1f} s for data ({share:.0%})",
                file=sys.stderr, flush=True,
            )  # fmt: skip
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


def _wandb_id(folder: Path) -> str:
    """One id for the life of a run folder."""
    file = folder / "wandb_id"
    if not file.exists():
        write_text(file, secrets.token_hex(4) + "\n")
    return file.read_text().strip()
