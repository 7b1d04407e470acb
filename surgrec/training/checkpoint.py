"""Checkpoints that are whole or absent.

In: learner, optimiser, frozen modules, progress. Out: `checkpoints/step_%08d/`, written by all ranks to a temporary folder, flushed,
renamed; then `checkpoints/latest` names it. It is its own file because resuming must trust whatever it finds. The format is torch's
distributed checkpoint (DCP): what one world size and strategy wrote, any other reads. It is a training state, not a release: see
surgrec/hub/release.py for what to share.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from surgrec.core.atomic import sync_path, write_text
from surgrec.core.errors import UserError
from surgrec.training.runtime import Runtime

PROGRESS_FILE = "progress.json"


@dataclass(frozen=True)
class Pulse:
    """Up to which step checkpoints are trusted (the last good reading less some patience, or the one that was gone back to), which step
    had the first of the bad readings since (0: none), and whether an alarm was raised over them.
    """

    safe_until: int = 0
    bad_since: int = 0
    is_told: bool = False


@dataclass(frozen=True)
class Rollback:
    """A collapse that was seen after the update `from_step` and answered by going back to that of `to_step`."""

    from_step: int
    to_step: int


@dataclass
class Progress:
    """What a run knows besides weights: completed updates, clips drawn per source so far and the seconds they show, how it has felt
    lately, and how often it was rolled back. A run is a function of this and the configuration.
    """

    step: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    pulse: Pulse = field(default_factory=Pulse)
    rollbacks: list[Rollback] = field(default_factory=list)
    source_seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Progress:
        """The inverse of `to_json`; also of what a version without `pulse` and `rollbacks` wrote."""
        values = json.loads(text)
        pulse, rollbacks = Pulse(**values.pop("pulse", {})), values.pop("rollbacks", [])
        return cls(**values, pulse=pulse, rollbacks=[Rollback(**each) for each in rollbacks])


@dataclass(frozen=True)
class Trained:
    """The modules and the optimiser whose state is saved. `learner` is unwrapped: names do not depend on the strategy."""

    learner: nn.Module
    frozen: nn.ModuleDict
    optimizer: Optimizer

    def state(self) -> dict[str, Any]:
        """Names to tensors (sharded or not), the same under every strategy."""
        return weights_of(self.learner, self.frozen) | {
            "optimizer": get_optimizer_state_dict(self.learner, self.optimizer)
        }

    def load(self, state: dict[str, Any]) -> None:
        """Put a state read by `Checkpoints.restore` back. How updates are computed is not of the state: the optimiser stays as fused as
        it was built, since torch would take that too from what was saved.
        """
        put_weights(self.learner, self.frozen, state)
        optimizer = dict(state["optimizer"])
        is_fused = self.optimizer.defaults["fused"]
        optimizer["param_groups"] = [{**group, "fused": is_fused} for group in optimizer["param_groups"]]
        set_optimizer_state_dict(self.learner, self.optimizer, optimizer)


class Checkpoints:
    """The checkpoints of one run folder; keeps the newest `keep`, and what `retire` says."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        pointer = self.folder / "latest"
        if not pointer.exists():
            return None
        path = self.folder / pointer.read_text().strip()
        if not (path / PROGRESS_FILE).exists():
            raise UserError(
                f"{pointer} names {path.name}, which is not there or not whole; write the name of one that is into it"
            )
        return path

    def save(self, runtime: Runtime, trained: Trained, progress: Progress) -> Path:
        """Write a checkpoint of this step; all ranks call it. Returns its folder."""
        final = self.folder / f"step_{progress.step:08d}"
        partial = self.folder / f".step_{progress.step:08d}.partial"
        if runtime.is_first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        runtime.barrier()
        with quiet_alone():
            dcp.save(trained.state(), checkpoint_id=partial, no_dist=not dist.is_initialized())
        runtime.barrier()
        if runtime.is_first:
            write_text(partial / PROGRESS_FILE, progress.to_json())
            _sync_tree(partial)
            if final.exists():
                self._delete(final)
            partial.rename(final)
            sync_path(self.folder)
            write_text(self.folder / "latest", final.name + "\n")
            self.retire(progress)
        runtime.barrier()
        return final

    def restore(self, trained: Trained) -> Progress:
        """Load the newest complete checkpoint into `trained`; a fresh `Progress` where there is none. All ranks call it."""
        path = self.latest()
        if path is None:
            return Progress()
        state = trained.state()
        read_state(state, path)
        trained.load(state)
        progress = read_progress(path)
        if progress.step == 0:
            trained.optimizer.state.clear()  # torch cannot save an optimiser without a state, so it was given one
        return progress

    def healthy(self, progress: Progress) -> Path | None:
        """The newest checkpoint that is trusted, of the way the run has gone since its last rollback; None where there is none."""
        trusted = [path for path, step in self._on_the_way_of(progress) if step <= progress.pulse.safe_until]
        return trusted[-1] if trusted else None

    def go_back(self, path: Path, progress: Progress) -> None:
        """Make `path` the newest checkpoint, with the rollback from `progress` in its own progress; later ones go. The first rank calls it.

        It is trusted from now on, whatever was known when it was saved: a further collapse comes back to it, unless a newer one has
        earned trust by then. Killed in the middle, the run resumes from the checkpoint before, meets the same collapse again and comes
        here again.
        """
        saved = read_progress(path)
        saved.pulse = Pulse(safe_until=saved.step)
        saved.rollbacks = [*progress.rollbacks, Rollback(progress.step, saved.step)]
        write_text(path / PROGRESS_FILE, saved.to_json())
        write_text(self.folder / "latest", path.name + "\n")
        for later in self.folder.glob("step_*"):
            if later.name > path.name:
                self._delete(later)

    def retire(self, progress: Progress) -> None:
        """Delete what is neither one of the newest `keep`, nor the newest healthy one, nor the oldest after it, and what an interrupted
        save left. The first rank calls it.

        The oldest after the healthy one waits for its verdict, which comes by the patience later: were it to go with age alone, none
        would live to be trusted where `keep` intervals are shorter than that. Later steps than that of `progress` stay until the run
        is there again: they are of a save that was interrupted before `latest` named it, or of a run that was set back.
        """
        whole = [path for path in sorted(self.folder.glob("step_*")) if read_progress(path).step <= progress.step]
        healthy = self.healthy(progress)
        unjudged = [
            path for path, step in self._on_the_way_of(progress) if progress.pulse.safe_until < step <= progress.step
        ]
        kept = {*whole[-self.keep :], healthy, *unjudged[:1]}
        for old in whole:
            if old not in kept:
                self._delete(old)
        for leftover in self.folder.glob(".step_*.partial"):
            shutil.rmtree(leftover)

    def _on_the_way_of(self, progress: Progress) -> list[tuple[Path, int]]:
        """Checkpoints and their steps, oldest first, without those of a way that the run has gone back from."""
        there = [(path, read_progress(path)) for path in sorted(self.folder.glob("step_*"))]
        return [(path, saved.step) for path, saved in there if len(saved.rollbacks) >= len(progress.rollbacks)]

    def _delete(self, whole: Path) -> None:
        """In two steps, so that a checkpoint is whole or absent even while it goes."""
        going = self.folder / f".{whole.name}.old.partial"
        shutil.rmtree(going, ignore_errors=True)
        whole.rename(going)
        shutil.rmtree(going)


def checkpoint_of(folder: Path, step: int | None) -> Path:
    """The checkpoint folder of `step`, or the newest one; a `UserError` says which there are."""
    there = sorted(path.name for path in folder.glob("step_*"))
    path = Checkpoints(folder, keep=1).latest() if step is None else folder / f"step_{step:08d}"
    if path is None or path.name not in there:
        raise UserError(
            f"{folder} has no checkpoint{'' if step is None else f' of step {step}'}; there is: {', '.join(there) or 'none'}"
        )
    return path


def weights_of(learner: nn.Module, frozen: nn.ModuleDict) -> dict[str, Any]:
    """Names to weights (sharded or not); MAE has nothing frozen, and torch cannot name the parameters of an empty module."""
    return {name: get_model_state_dict(module) for name, module in _modules(learner, frozen)}


def put_weights(learner: nn.Module, frozen: nn.ModuleDict, state: dict[str, Any]) -> None:
    """The reverse of `weights_of`."""
    for name, module in _modules(learner, frozen):
        set_model_state_dict(module, state[name])


def read_state(state: dict[str, Any], path: Path) -> None:
    """Fill the tensors of `state` from the checkpoint `path`. Raises `UserError` where they are not there in these shapes."""
    try:
        with quiet_alone():
            dcp.load(state, checkpoint_id=path, no_dist=not dist.is_initialized())
    except (CheckpointException, ValueError, RuntimeError, OSError) as error:
        reason: BaseException = error
        if isinstance(error, CheckpointException):
            reason, _ = next(iter(error.failures.values()))
        said = str(reason).splitlines()[:1] or [type(reason).__name__]
        raise UserError(
            f"{path} cannot be read into this model: {said[0]}; it is damaged, or of another version of "
            "surgrec; set it aside, or choose another name= for this run"
        ) from error


@contextmanager
def quiet_alone() -> Iterator[None]:
    """Without torch's remark that a single process saves alone, which is what a single process means."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*in a single process.*")
        yield


def _modules(learner: nn.Module, frozen: nn.ModuleDict) -> list[tuple[str, nn.Module]]:
    return [("learner", learner), *([("frozen", frozen)] if len(frozen) else [])]


def load_weights(path: Path, learner: nn.Module, frozen: nn.ModuleDict) -> Progress:
    """Read only the weights of a checkpoint into modules of one process; no optimiser is needed."""
    state = weights_of(learner, frozen)
    read_state(state, path)
    put_weights(learner, frozen, state)
    return read_progress(path)


def read_progress(path: Path) -> Progress:
    """The progress that the checkpoint folder `path` holds."""
    return Progress.from_json((path / PROGRESS_FILE).read_text())


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync_path(path)
    sync_path(folder)
