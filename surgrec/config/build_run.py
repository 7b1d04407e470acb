"""The `Run`: runtime, model, data, rhythm, checkpoints and logs, held together.

In: a configuration and the runtime. Out: what `surgrec/training/loop.py` executes. It is its own file because every edge between the
stages of a run meets here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from surgrec.config.build_data import (
    build_augment,
    build_clip,
    build_data,
    build_positions,
    build_preprocess,
    build_read_ahead,
    build_reader,
    left_out_sentence,
)
from surgrec.config.build_masks import build_masker, model_flops
from surgrec.config.build_model import build_objective
from surgrec.config.build_schedules import one_after_another
from surgrec.config.footage import clusters_file
from surgrec.config.phases import phase_after, phases_of, rate_of, spans_of
from surgrec.config.schema import Config, LoggerKind
from surgrec.corpus.manifest import Manifest
from surgrec.data.feed import DeviceFeed
from surgrec.data.loader import ClipLoader, LoaderChain
from surgrec.data.preprocess import Preprocess
from surgrec.evaluation.labels import choose_windows
from surgrec.evaluation.online import NUM_FOLDS, OnlineProbe
from surgrec.optim.optimizer import build_adamw
from surgrec.optim.schedules import Schedule, Shape
from surgrec.training.checkpoint import Checkpoints
from surgrec.training.checkpoint_facts import Origin
from surgrec.training.folder import RunFolder
from surgrec.training.footage import record_footage
from surgrec.training.log import Sink, TensorBoardSink, WandbSink
from surgrec.training.loop import Plan, Run
from surgrec.training.phases import PhasedAugment, PhasedMasker
from surgrec.training.pictures import draw_pictures
from surgrec.training.progress import Progress
from surgrec.training.runtime import Runtime, RuntimeSpec
from surgrec.training.step import Step
from surgrec.training.trained import Trained
from surgrec.training.watch import WatchSpec


def build_runtime(config: Config) -> Runtime:
    """Join the process group, if any."""
    node = config.runtime
    return Runtime(
        RuntimeSpec(
            accelerator=node.accelerator,
            strategy=node.strategy,
            precision=node.precision,
            compile=node.compile,
            shard_size=node.shard_size,
            join_minutes=node.join_minutes,
            hang_minutes=node.hang_minutes,
        )
    )


def run_folder(config: Config) -> RunFolder:
    """`${paths.runs}/${name}`."""
    return RunFolder(Path(config.paths.runs) / config.name)


def build_run(config: Config, runtime: Runtime) -> Run:
    """All parts of a run, on their devices."""
    data, folder, phases, plan = build_data(config), run_folder(config), phases_of(config), build_plan(config)
    if left_out := left_out_sentence(data):
        say_first(runtime)(left_out)
    checkpoints = build_checkpoints(config, folder, data.manifest, runtime)
    starting = replace(config, init=None) if checkpoints.is_begun() else config
    objective = build_objective(starting, say_first(runtime))
    positions = [build_positions(phase, runtime) for phase in phases]
    learner = runtime.wrap_learner(objective.learner)
    runtime.place_frozen(objective.frozen)
    optimizer = build_adamw(
        objective.learner,
        config.optim.betas,
        config.optim.eps,
        config.optim.weight_decay,
        config.runtime.fused_optimizer,
    )
    masker = PhasedMasker(plan.spans, [build_masker(phase.config) for phase in phases])
    augments = [build_augment(phase.config) for phase in phases]
    augment = PhasedAugment(plan.spans, augments)
    step = Step(runtime, learner, objective, masker, augment)
    readers = [build_reader(phase.config, data.manifest, data.mixture).reader for phase in phases]
    for phase, reader, its_augment in zip(phases, readers, augments, strict=True):
        # no more is decoded than the augmentation shows
        reader.regions = its_augment.of_clips(phase.config.data.repeats)

    def make_loader(first_step: int) -> LoaderChain | DeviceFeed:
        loader = LoaderChain([
            ClipLoader(
                reader, its, max(first_step, phase.span.first_step), phase.span.stop_step, build_read_ahead(config),
                lambda sentence: print(sentence, file=sys.stderr, flush=True),
            )
            for phase, reader, its in zip(phases, readers, positions, strict=True)
        ])  # fmt: skip
        return DeviceFeed(loader, runtime.device) if runtime.has_cuda else loader

    def tell(sentence: str | None) -> None:
        if sentence:
            say_first(runtime)(sentence)

    def draw(done: int) -> list[Path]:
        phase = phase_after(config, done)
        return draw_pictures(step, readers[phase.number], folder.previews, done, phase.span, config.data.repeats)

    return Run(
        runtime=runtime,
        folder=folder,
        plan=plan,
        watch=build_watch(config),
        step=step,
        optimizer=optimizer,
        trained=Trained(objective.learner, objective.frozen, optimizer),
        checkpoints=checkpoints,
        sampler=data.sampler,
        source_names=data.mixture.table.sources,
        source_hours=dict(zip(data.mixture.table.sources, data.mixture.table.hours.tolist(), strict=True)),
        clip_seconds=tuple(phase.config.data.num_frames * phase.config.data.frame_interval_seconds for phase in phases),
        video_ids=data.manifest.ids,
        make_loader=make_loader,
        draw_pictures=draw,
        probe=build_probe(config, step),
        make_sink=lambda progress: build_sink(config, folder, progress),
        record_footage=lambda step: tell(record_footage(folder, data.manifest, step, clusters_file(config))),
    )


def build_plan(config: Config) -> Plan:
    """Length, rhythm and schedules of the whole run."""
    node, phases = config.optim, phases_of(config)
    decay_end = node.weight_decay if node.weight_decay_end is None else node.weight_decay_end
    return Plan(
        steps=phases[-1].span.stop_step,
        log_every=config.trainer.log_every,
        checkpoint_every=config.trainer.checkpoint_every,
        picture_every=config.trainer.picture_every,
        probe_every=config.probe.every,
        clip_norm=node.clip_norm,
        rate=one_after_another([rate_of(phase.config) for phase in phases]),
        weight_decay=Schedule(node.weight_decay, config.trainer.steps, Shape.cosine, end=decay_end),
        spans=spans_of(config),
        repeats=config.data.repeats,
        clip_flops=tuple(model_flops(phase.config) for phase in phases),
        straggler_factor=config.trainer.straggler_factor,
    )


def build_watch(config: Config) -> WatchSpec:
    """How the run's health is watched."""
    node = config.trainer
    return WatchSpec(node.health_every, node.collapse_patience_steps, config.optim.warmup_steps, node.on_collapse.value)


def build_probe(config: Config, step: Step) -> OnlineProbe | None:
    """The probe on labelled windows, where one is asked for."""
    node = config.probe
    if node.every is None or node.manifest is None or node.labels is None:
        return None
    manifest, clip = Manifest.read([Path(node.manifest)]), build_clip(config)
    seconds = clip.num_frames * clip.frame_interval_seconds
    windows = choose_windows(Path(node.labels), node.column, manifest, seconds, node.windows, NUM_FOLDS)
    probe = OnlineProbe(step, manifest, windows, clip, Preprocess(build_preprocess(config)), config.data.decoder)
    probe.check()
    return probe


def build_checkpoints(config: Config, folder: RunFolder, manifest: Manifest, runtime: Runtime) -> Checkpoints:
    """Where the run is saved. The first rank alone writes what its origin says, so it alone computes it."""
    node, origin = config.trainer, None
    if runtime.is_first:
        origin = Origin(folder.config_file, manifest.fingerprint, config.runtime.strategy.value)
    is_async = config.runtime.async_checkpoints
    return Checkpoints(folder.checkpoints, node.keep_checkpoints, node.keep_every, node.keep_best, origin, is_async)


def build_sink(config: Config, folder: RunFolder, progress: Progress) -> Sink | None:
    """Weights & Biases or TensorBoard, where asked for, of a run that goes on from `progress`."""
    match config.logger.kind:
        case LoggerKind.wandb:
            node, num_rollbacks = config.logger, len(progress.rollbacks)
            return WandbSink(folder.path, node.project, node.offline, asdict(config), num_rollbacks)
        case LoggerKind.tensorboard:
            return TensorBoardSink(folder.path, progress.step)
    return None


def say_first(runtime: Runtime) -> Callable[[str], object]:
    """What prints a line on the first rank and nothing on the others."""
    return (lambda line: print(line, file=sys.stderr, flush=True)) if runtime.is_first else (lambda line: None)
