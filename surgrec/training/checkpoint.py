"""Checkpoints that are whole or absent, and verified before they are trusted.

In: what is trained, and progress. Out: `checkpoints/step_%08d/`, written beside the training by a thread of each rank: a save takes from
the loop the time of a copy to host memory. It is its own file because resuming must trust whatever it finds. The format is torch's
distributed checkpoint (DCP): what one world size and strategy wrote, any other reads. It is a training state, not a release: see
surgrec/hub/release.py for what to share. docs/checkpoints.md says what is on the disk, and what happens when something goes wrong.
"""

from __future__ import annotations

import copy
import sys
import threading
from dataclasses import replace
from pathlib import Path

from torch import nn

from surgrec.core.atomic import write_text
from surgrec.training.agreement import Ranks
from surgrec.training.checkpoint_facts import DamagedError, Origin, read_facts, size_fault, sum_fault
from surgrec.training.checkpoint_folder import (
    CheckpointError,
    await_there,
    delete,
    delete_leftovers,
    set_aside,
    step_folder,
    step_of,
)
from surgrec.training.checkpoint_listing import (
    Retention,
    candidates_in,
    fault_of,
    healthy,
    is_begun,
    newest,
    steps_in,
    to_retire,
)
from surgrec.training.checkpoint_writer import Saving, write_checkpoint
from surgrec.training.progress import Progress, Pulse, Rollback
from surgrec.training.runtime import Runtime
from surgrec.training.staging import HostCopy, num_bytes, shared_out
from surgrec.training.trained import Trained, put_weights, quiet_alone, read_state, weights_of

_BYTES_PER_FILE_AND_TENSOR = 4096  # what torch writes around a tensor, and the rest of its last block on the disk


class Checkpoints:
    """The checkpoints of one run folder; keeps the newest `keep`, each whose step `keep_every` divides, the `keep_best` best by their
    probe's number, and what a rollback may need. `origin`: the configured run that writes them. With `is_async`, a thread writes.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        keep_every: int | None = None,
        keep_best: int = 0,
        origin: Origin | None = None,
        is_async: bool = False,
    ) -> None:
        self.folder, self.retention = folder, Retention(keep, keep_every, keep_best)
        self.origin, self.is_async = origin, is_async
        self.resumed_from: int | None = None  # the step that `restore` went on from
        self._ranks: Ranks | None = None
        self._copy = HostCopy()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    # -- saving

    @property
    def has_failed(self) -> bool:
        """Whether the save under way has gone wrong; the next `wait` or `save` raises why."""
        return self._failure is not None

    def save(self, runtime: Runtime, trained: Trained, progress: Progress) -> Path:
        """Write a checkpoint of this step, as things stand now; all ranks call it. Returns its folder, which with `is_async` is there
        after the next `wait`. One is written at a time: the save before is waited for, and raises here what went wrong in it.
        """
        self.wait()
        quiet_alone()
        if self._ranks is None:
            self._ranks = Ranks(runtime.fabric.global_rank, runtime.fabric.world_size, runtime.side_group())
        state, arrived = trained.state(), _now
        mine = shared_out(state, self._ranks)
        room = num_bytes(mine) + _BYTES_PER_FILE_AND_TENSOR * (len(mine) + 1)
        if self.is_async:
            state, arrived = self._copy.take(state, mine)
        final = step_folder(self.folder, progress.step)
        saving = Saving(
            final, self._ranks, state, frozenset(mine), room, copy.deepcopy(progress), self.origin, arrived, self.retire
        )
        if not self.is_async:
            write_checkpoint(saving)
            return final
        self._thread = threading.Thread(target=self._write_beside, args=(saving,), name=final.name, daemon=True)
        self._thread.start()
        return final

    def wait(self) -> None:
        """Until the save under way, if any, is done; all ranks call it. Raises what went wrong in it, on all ranks alike."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _write_beside(self, saving: Saving) -> None:
        try:
            write_checkpoint(saving)
        except BaseException as error:  # whatever it is, the training must hear of it
            self._failure = error

    # -- loading

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        return newest(self.folder)

    def is_begun(self) -> bool:
        """Whether a run has saved here before, so that its weights come from there."""
        return is_begun(self.folder)

    def restore(self, runtime: Runtime, trained: Trained) -> Progress:
        """Load the newest checkpoint that is what was written into `trained`; a fresh `Progress` where none was. All ranks call it.

        One that is damaged is told, and the one before is taken. Raises `CheckpointError` where all are.
        """
        self.wait()
        ranks = Ranks(runtime.fabric.global_rank, runtime.fabric.world_size)
        path = self._choose(ranks)
        self.resumed_from = None
        if path is None:
            return Progress()
        state = trained.state()
        read_state(state, path)
        trained.load(state)
        progress = ranks.on_first(lambda: read_facts(path).progress)
        if progress.step == 0:
            trained.optimizer.state.clear()  # torch cannot save an optimiser without a state, so it was given one
        self.resumed_from = progress.step
        return progress

    def _choose(self, ranks: Ranks) -> Path | None:
        """The newest checkpoint that is what was written; all ranks take the same."""
        damaged: dict[Path, str] = {}
        for path in ranks.on_first(lambda: candidates_in(self.folder)):
            fault = _fault(ranks, path)
            if fault is None:
                ranks.on_first(lambda path=path: self._fall_back(path, damaged))  # type: ignore[misc]
                return path
            damaged[path] = fault
        if ranks.on_first(self.is_begun):
            faults = "; ".join(f"{path.name}: {fault}" for path, fault in damaged.items()) or "there is none"
            raise CheckpointError(
                f"{self.folder} holds no checkpoint that is whole ({faults}); put a copy of one there, or choose another name= "
                "for this run"
            )
        return None

    def _fall_back(self, path: Path, damaged: dict[Path, str]) -> None:
        """Make `path` the newest, then set the damaged ones aside: killed in between, they are overwritten when the run is there again."""
        pointer = self.folder / "latest"
        if not pointer.exists() or pointer.read_text().strip() != path.name:
            write_text(pointer, path.name + "\n")
        for each, fault in damaged.items():
            aside = f", it is now {set_aside(each).name}" if each.exists() else ""
            _tell(f"{each.name} is damaged: {fault}{aside}; the run goes on from {path.name}")

    # -- going back, and going

    def healthy(self, progress: Progress) -> Path | None:
        """The newest checkpoint that is trusted, of the way the run has gone since its last rollback; None where there is none."""
        return healthy(self.folder, progress)

    def go_back(self, path: Path, progress: Progress) -> None:
        """Make `path` the newest checkpoint, with the rollback from `progress` in its own progress; later ones go. The first rank calls it.

        It is trusted from now on, whatever was known when it was saved: a further collapse comes back to it, unless a newer one has
        earned trust by then. Killed in the middle, the run resumes from the checkpoint before, meets the same collapse again and comes
        here again.
        """
        facts = read_facts(path)
        step = facts.progress.step
        rollbacks = [*progress.rollbacks, Rollback(progress.step, step)]
        replace(facts, progress=replace(facts.progress, pulse=Pulse(safe_until=step), rollbacks=rollbacks)).write(path)
        write_text(self.folder / "latest", path.name + "\n")
        for later in steps_in(self.folder):
            if step_of(later) > step:
                delete(later)

    def retire(self, progress: Progress) -> None:
        """Delete what need not be kept, and what an interrupted save left. The first rank calls it, while none is under way."""
        for old in to_retire(self.folder, progress, self.retention):
            delete(old)
        delete_leftovers(self.folder)


def load_weights(path: Path, learner: nn.Module, frozen: nn.ModuleDict) -> Progress:
    """Read only the weights of a checkpoint into modules of one process; no optimiser is needed. Raises `DamagedError`."""
    facts = read_facts(path)
    fault = size_fault(path, facts) or sum_fault(path, facts, sorted(facts.files or {}))
    if fault is not None:
        raise DamagedError(path, fault)
    state = weights_of(learner, frozen)
    read_state(state, path)
    put_weights(learner, frozen, state)
    return facts.progress


def _fault(ranks: Ranks, path: Path) -> str | None:
    """What of a checkpoint is not what was written; each rank reads some of the files."""
    fault = ranks.on_first(lambda: fault_of(path))
    if fault is not None:
        return fault
    facts = ranks.on_first(lambda: read_facts(path))
    if facts.files is None:
        if ranks.rank == 0:
            _tell(f"{path.name} is of a version of surgrec that kept no checksums; it is read as it is")
        return None
    mine = sorted(facts.files)[ranks.rank :: ranks.world]

    def check() -> str | None:
        await_there(path)
        return sum_fault(path, facts, mine)

    return next((fault for fault in ranks.together(check) if fault is not None), None)


def _now() -> None:
    """It is there already."""


def _tell(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr, flush=True)
