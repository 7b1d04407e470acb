"""Writing one checkpoint.

In: a state that nothing changes any more. Out: the folder of a step, named by `latest`, or a `CheckpointError` on all ranks and nothing
left of it. It is its own file because it runs beside the training, in a thread of each rank: it talks to the other ranks through a
process group of its own alone, never touches a device, and never leaves a rank waiting for one that has failed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from surgrec.core.atomic import sync_path, write_bytes
from surgrec.core.errors import UserError
from surgrec.training.agreement import Ranks
from surgrec.training.checkpoint_facts import CONFIG_FILE, CheckpointFacts, FileSum, Origin, file_sum, software
from surgrec.training.checkpoint_folder import check_room, partial_of, publish, refused, start_partial, system_error
from surgrec.training.progress import Progress
from surgrec.training.staging import SharedOutPlanner

_BYTES_OF_FACTS = 1 << 20
_METADATA_FILE = ".metadata"  # where DCP says what is in which file


@dataclass(frozen=True)
class Saving:
    """A save under way: where to, who takes part, and of the state which tensors this rank writes, with room for how many bytes.

    `arrived` waits until the state is there, `origin` is the configured run, `retire` what the first rank does after all is written.
    """

    final: Path
    ranks: Ranks
    state: dict[str, Any]
    names: frozenset[str]
    num_bytes: int
    progress: Progress
    origin: Origin | None
    arrived: Callable[[], None]
    retire: Callable[[Progress], None]

    @property
    def what(self) -> str:
        """As messages name it."""
        return f"the checkpoint of step {self.progress.step}"


def write_checkpoint(saving: Saving) -> None:
    """Write it; all ranks call it. Raises a `CheckpointError` where the system refuses something."""
    ranks, partial, needed = saving.ranks, partial_of(saving.final), 0
    try:
        saving.arrived()
        needed = sum(ranks.together(lambda: saving.num_bytes)) + _BYTES_OF_FACTS
        ranks.on_first(lambda: _start(saving, needed))
        shares = ranks.together(lambda: _write_share(saving, partial))
        files = {name: its_sum for share in shares for name, its_sum in share.items()}
        ranks.on_first(lambda: _finish(saving, partial, files))
    except Exception as error:
        if ranks.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
        told = None if isinstance(error, UserError) else refused(error, saving.final.parent, needed, saving.what)
        if told is None:
            raise
        raise told from error


def _start(saving: Saving, needed: int) -> None:
    """An empty folder, where there is room."""
    saving.final.parent.mkdir(parents=True, exist_ok=True)
    check_room(saving.final.parent, needed, saving.what)
    partial = start_partial(saving.final)
    if saving.origin is not None:
        write_bytes(partial / CONFIG_FILE, saving.origin.config_file.read_bytes())


def _write_share(saving: Saving, partial: Path) -> dict[str, FileSum]:
    """Write this rank's tensors, flushed; returns its files and their sums."""
    try:
        dcp.save(
            saving.state,
            storage_writer=_Writer(partial),
            planner=SharedOutPlanner(saving.names),
            process_group=saving.ranks.group,
            no_dist=saving.ranks.world == 1,
        )
    except CheckpointException as error:  # on all ranks alike
        failure, _ = next(iter(error.failures.values()))
        raise failure from None
    sync_path(partial)
    return {path.name: file_sum(path) for path in partial.glob(f"__{saving.ranks.rank}_*.distcp")}


def _finish(saving: Saving, partial: Path, files: dict[str, FileSum]) -> None:
    """The facts come last, so a folder that has them is whole; then its name, then `latest`; then what is older goes."""
    strategy, manifest = None, None
    files = files | {_METADATA_FILE: file_sum(partial / _METADATA_FILE)}
    if saving.origin is not None:
        strategy, manifest = saving.origin.strategy, saving.origin.manifest_fingerprint
        files |= {CONFIG_FILE: file_sum(partial / CONFIG_FILE)}
    in_order = dict(sorted(files.items()))
    CheckpointFacts(saving.progress, saving.ranks.world, strategy, manifest, software(), in_order).write(partial)
    publish(partial, saving.final)
    saving.retire(saving.progress)


class _Writer(dcp.FileSystemWriter):
    """Where a disk is full, torch raises another error while it closes its file; this one tells of the first."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """As torch does."""
        try:
            return super().write_data(plan, planner)
        except Exception as error:
            cause = system_error(error)
            if cause is None:
                raise
            raise cause from error
