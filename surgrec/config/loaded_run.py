"""A run read back from its folder.

In: a run folder and a step. Out: its weights, what it had drawn, its clip and preprocessing. It is its own file because releases begin
here, and nothing of it runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from surgrec.config.build_data import build_clip, build_data, build_preprocess
from surgrec.config.build_model import build_objective
from surgrec.config.compose import distance_from_variant, read_config
from surgrec.config.phases import phase_after
from surgrec.config.schema import Config
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
    """A run read back from its folder: its weights in `objective`, what it had drawn, and how it differs from its variant."""

    config: Config
    objective: Objective
    progress: Progress
    table: MixtureTable
    clip: ClipSpec
    preprocess: PreprocessSpec
    distance: list[str]


def load_run(folder: Path, step: int | None = None) -> LoadedRun:
    """Read the checkpoint of `step`, or the newest, of a run folder, into one process on the CPU.

    The clip and the preprocessing are those of the phase that this checkpoint ends or lies in.
    """
    config = read_config(folder / "config.yaml")
    path = checkpoint_of(RunFolder(folder).checkpoints, step)
    phase = phase_after(config, read_progress(path).step)
    objective = build_objective(replace(phase.config, init=None))
    progress = load_weights(path, objective.learner, objective.frozen)
    table = build_data(config).mixture.table
    distance = distance_from_variant(config) + told_rollbacks(progress)
    return LoadedRun(
        config, objective, progress, table, build_clip(phase.config), build_preprocess(phase.config), distance
    )
