"""A run read back from its folder.

In: a run folder and a step. Out: its weights, what it had drawn, its clip and preprocessing. It is its own file because releases begin
here, and nothing of it runs. Its weights can be had on a machine that has none of its footage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from surgrec.config.build_data import build_clip, build_data, build_preprocess
from surgrec.config.build_model import build_objective
from surgrec.config.compose import distance_from_variant, read_config
from surgrec.config.phases import phase_after
from surgrec.config.schema import Config
from surgrec.core.errors import UserError
from surgrec.data.clips import ClipSpec
from surgrec.data.mixture import MixtureTable
from surgrec.data.preprocess import PreprocessSpec
from surgrec.objectives.objective import Objective
from surgrec.training.checkpoint import load_weights
from surgrec.training.checkpoint_facts import read_progress
from surgrec.training.checkpoint_listing import checkpoint_of
from surgrec.training.folder import RunFolder
from surgrec.training.progress import Progress
from surgrec.training.watch import told_rollbacks


@dataclass(frozen=True)
class LoadedRun:
    """A run read back from its folder: its weights in `objective`, and how it differs from its variant."""

    config: Config
    objective: Objective
    progress: Progress
    clip: ClipSpec
    preprocess: PreprocessSpec
    distance: list[str]

    @cached_property
    def table(self) -> MixtureTable:
        """What it could draw from, which alone needs its manifests. Raises `UserError` where one is not there."""
        if gone := [name for name in self.config.mix.manifests if not Path(name).exists()]:
            raise UserError(
                f"there is no manifest at {gone[0]}, on which this run was trained; put it back, or run "
                "this command in the folder in which it was trained, from which the run names it"
            )
        return build_data(self.config).mixture.table


def load_run(folder: Path, step: int | None = None) -> LoadedRun:
    """Read the checkpoint of `step`, or the newest, of a run folder, into one process on the CPU.

    The clip and the preprocessing are those of the phase that this checkpoint ends or lies in.
    """
    config = read_config(folder / "config.yaml")
    path = checkpoint_of(RunFolder(folder).checkpoints, step)
    phase = phase_after(config, read_progress(path).step)
    objective = build_objective(replace(phase.config, init=None))
    progress = load_weights(path, objective.learner, objective.frozen)
    distance = distance_from_variant(config) + told_rollbacks(progress)
    return LoadedRun(config, objective, progress, build_clip(phase.config), build_preprocess(phase.config), distance)
