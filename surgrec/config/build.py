"""The only wiring: a configuration becomes objects here and nowhere else.

In: a typed, composed configuration. Out: encoder, objective, masks, data path, runtime, and the `Run` that holds them. It is its own
file so that every edge between stages can be followed in an editor: no registry, no class names in YAML.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from surgrec.config.compose import distance_from_variant, read_config
from surgrec.config.footage import clusters_file, open_footage
from surgrec.config.phases import Phase, phase_after, phases_of, rate_of, spans_of
from surgrec.config.schema import (
    Config,
    JEPAConfig,
    LoggerKind,
    MAEConfig,
    MaskMode,
    MultiBlockMaskConfig,
    TubeMaskConfig,
)
from surgrec.core.errors import UserError
from surgrec.core.grid import TokenGrid
from surgrec.core.wording import counted
from surgrec.corpus.manifest import Manifest
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.data.clips import ClipReader, ClipSpec
from surgrec.data.feed import DeviceFeed
from surgrec.data.loader import ClipLoader, LoaderChain, PositionPlan, ReadAhead, fewest_micro_batches
from surgrec.data.mixture import Mixture, MixtureTable
from surgrec.data.preprocess import Preprocess, PreprocessSpec
from surgrec.data.sampler import Sampler
from surgrec.evaluation.labels import choose_windows
from surgrec.evaluation.online import NUM_FOLDS, OnlineProbe
from surgrec.hub.image_start import Pixels
from surgrec.hub.initial import start_from
from surgrec.masks.masks import Masker
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.masks.official import OfficialMultiBlockMasker
from surgrec.masks.tube import TubeMasker
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder, spread_levels
from surgrec.models.flops import training_flops
from surgrec.models.predictor import Predictor
from surgrec.models.sizes import DECODERS, PREDICTORS, HeadSize, size_named
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.objectives.objective import Objective
from surgrec.optim.optimizer import build_adamw
from surgrec.optim.schedules import Ramp, Schedule, Shape
from surgrec.training.checkpoint import Checkpoints, load_weights
from surgrec.training.checkpoint_facts import Origin, read_progress
from surgrec.training.checkpoint_listing import checkpoint_of
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
from surgrec.training.watch import WatchSpec, told_rollbacks

CHANNELS = 3
_CLIPS_FOR_A_MEAN = 512


@dataclass(frozen=True)
class DataPath:
    """Everything between manifests and clips."""

    manifest: Manifest
    mixture: Mixture
    sampler: Sampler
    reader: ClipReader


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


def accumulation_of(config: Config, world_size: int) -> int:
    """Micro-batches of a step of the phase whose configuration is `config`. Raises `UserError` for what cannot be split."""
    node, batch, repeats = config.runtime, config.data.global_batch_size, config.data.repeats
    if node.device_batch_size is None:
        return node.accumulation or 1
    if node.accumulation is None:
        return fewest_micro_batches(batch, world_size, node.device_batch_size, repeats)
    if batch > world_size * node.accumulation * node.device_batch_size:
        raise UserError(
            f"runtime.accumulation={node.accumulation} over {world_size} processes makes micro-batches of more than "
            f"runtime.device_batch_size={node.device_batch_size} samples; leave runtime.accumulation out, and it follows"
        )
    return node.accumulation


def build_grid(config: Config) -> TokenGrid:
    """The token grid of the configured clip."""
    crop = config.augment.crop_pixels
    return TokenGrid.of_clip(config.data.num_frames, crop, crop, config.backbone.tubelet, patch_pixels(config))


def patch_pixels(config: Config) -> int:
    """Side of a patch: the backbone's own unless set."""
    return config.backbone.patch or size_named(config.backbone.size).patch


def build_encoder(config: Config) -> Encoder:
    """The encoder; its random weights depend on `seed` alone."""
    node, size = config.backbone, size_named(config.backbone.size)
    levels: tuple[int, ...] = ()
    if isinstance(config.objective, JEPAConfig) and config.objective.dense:
        levels = spread_levels(size.depth, config.objective.levels)
    return Encoder(
        width=size.width,
        depth=size.depth,
        num_heads=node.num_heads or size.num_heads,
        mlp_ratio=size.mlp_ratio,
        num_frames=config.data.num_frames,
        height_pixels=config.augment.crop_pixels,
        width_pixels=config.augment.crop_pixels,
        tubelet=node.tubelet,
        patch=patch_pixels(config),
        positions=node.positions,  # type: ignore[arg-type]
        rope_style=node.rope_style,  # type: ignore[arg-type]
        rope_grid=node.rope_grid,
        position_grid=node.position_grid,
        has_final_norm=node.final_norm,
        levels=levels,
        has_modality_embedding=node.modality_embedding,
        qkv_bias=node.qkv_bias,  # type: ignore[arg-type]
        init=node.init,  # type: ignore[arg-type]
        attention_backend=config.runtime.attention,  # type: ignore[arg-type]
        activation_checkpointing=config.runtime.activation_checkpointing.value,
    )


def head_size(config: Config) -> HeadSize:
    """Shape of decoder or predictor: what the configuration says, else by the encoder's size."""
    node, table = config.objective, DECODERS if isinstance(config.objective, MAEConfig) else PREDICTORS
    size_named(config.backbone.size)  # names the sizes there are
    own = table[config.backbone.size]
    return HeadSize(node.head_width or own.width, node.head_depth or own.depth, node.head_heads or own.num_heads)


def build_objective(config: Config, say: Callable[[str], object] = lambda line: None) -> Objective:
    """Encoder, decoder or predictor, and target encoder; random weights depend on `seed` alone, so all ranks start alike.

    With `init`, encoder and target encoder start from those weights, and so does the decoder or predictor where one came along that
    fits; what was done is told to `say`, a sentence each.
    """
    torch.manual_seed(config.seed)
    encoder = build_encoder(config)
    head = build_head(config, encoder)
    if config.init is not None:
        for line in start_from(
            encoder, head, config.init, Pixels(tuple(config.augment.mean), tuple(config.augment.std))
        ):
            say(line)
    match config.objective, head:
        case MAEConfig() as node, Decoder():
            return MAE(encoder, head, config.augment.mean, config.augment.std, node.normalise_targets)
        case JEPAConfig() as node, Predictor():
            return JEPA(encoder, head, build_momentum(config, node), build_context_weight(node))
    raise AssertionError("a head follows from its objective")


def build_head(config: Config, encoder: Encoder) -> Decoder | Predictor:
    """The decoder or predictor on top of the encoder."""
    size = head_size(config)
    match config.objective:
        case MAEConfig():
            return Decoder(
                encoder_width=encoder.width,
                width=size.width,
                depth=size.depth,
                num_heads=size.num_heads,
                tubelet=encoder.tubelet,
                patch=encoder.patch,
                positions="sincos" if encoder.positions == "sincos" else "sincos_3d",
                position_grid=encoder.position_grid,
                attention_backend=config.runtime.attention,  # type: ignore[arg-type]
                activation_checkpointing=config.runtime.activation_checkpointing.value,
                init=encoder.init_scheme,
            )
        case JEPAConfig() as node:
            return Predictor(
                encoder_width=encoder.width,
                num_levels=max(1, len(encoder.levels)),
                has_context_head=node.dense,
                has_modality_embedding=encoder.has_modality_embedding,
                width=size.width,
                depth=size.depth,
                num_heads=size.num_heads,
                num_mask_tokens=1,
                positions=encoder.positions,
                rope_style=config.backbone.rope_style,  # type: ignore[arg-type]
                rope_grid=encoder.rope_grid,
                position_grid=encoder.position_grid,
                attention_backend=config.runtime.attention,  # type: ignore[arg-type]
                activation_checkpointing=config.runtime.activation_checkpointing.value,
                init=encoder.init_scheme,
            )
    raise UserError("the configuration names no objective; add +variant=mae or +variant=jepa")


def build_momentum(config: Config, node: JEPAConfig) -> Schedule:
    """The target encoder's momentum over the run, all phases of it."""
    if node.ema is not None:
        end = node.ema if node.ema_end is None else node.ema_end
        return Schedule(node.ema, config.trainer.steps, Shape.linear, end=end)
    assert node.ema_half_life_samples is not None
    half_life = node.ema_half_life_samples
    return _one_after_another(
        [Schedule(0.5 ** (phase.span.batch / half_life), phase.span.num_steps) for phase in phases_of(config)]
    )


def _one_after_another(schedules: list[Schedule]) -> Schedule:
    """The schedules of all phases as one."""
    *before, whole = schedules
    for schedule in reversed(before):
        whole = replace(schedule, then=whole)
    return whole


def build_context_weight(node: JEPAConfig) -> Ramp | None:
    """The weight of the loss on context tokens over the run, where there is such a loss."""
    return Ramp(node.context_weight, *node.context_ramp_steps) if node.dense else None


def build_masker(config: Config) -> Masker:
    """Masks for the configured token grid."""
    grid = build_grid(config)
    match config.mask:
        case TubeMaskConfig() as node:
            return TubeMasker(grid, node.ratio, config.seed, node.running_cells)
        case MultiBlockMaskConfig() as node:
            groups = [BlockGroup(**vars(group)) for group in node.groups]
            scheme = OfficialMultiBlockMasker if node.mode is MaskMode.official else MultiBlockMasker
            return scheme(grid, groups, config.seed, node.aspect)
    raise UserError("the configuration names no mask; add +variant=mae or +variant=jepa")


def tokens_of_masks(config: Config) -> tuple[tuple[int, int], ...]:
    """Context and target tokens of each mask set; where the batch decides them, the mean over batches of one process."""
    masker, batch, num_batches = build_masker(config), 1, 1
    if isinstance(config.mask, MultiBlockMaskConfig) and config.mask.mode is MaskMode.official:
        batch = PositionPlan(config.data.global_batch_size, accumulation=accumulation_of(config, 1)).micro_batch_size
        num_batches = max(1, _CLIPS_FOR_A_MEAN // batch)
    drawn = [masker.draw(range(first, first + batch)) for first in range(0, num_batches * batch, batch)]
    counts = np.array([[(mask.context.shape[1], mask.target.shape[1]) for mask in masks] for masks in drawn])
    return tuple((int(context), int(target)) for context, target in counts.mean(axis=0).round())


def num_patch_values(config: Config) -> int:
    """P, the values of one patch."""
    return CHANNELS * config.backbone.tubelet * patch_pixels(config) ** 2


def num_levels(config: Config) -> int:
    """Levels of the encoder that are predicted."""
    return config.objective.levels if isinstance(config.objective, JEPAConfig) and config.objective.dense else 1


def model_flops(config: Config) -> int:
    """Operations of one clip's step that the model needs, forward and backward: what its utilisation of a device is counted from."""
    is_jepa = isinstance(config.objective, JEPAConfig)
    return training_flops(
        tokens_of_masks(config),
        size_named(config.backbone.size),
        head_size(config),
        patch_values=num_patch_values(config),
        num_tokens=build_grid(config).num_tokens if is_jepa else None,
        num_levels=num_levels(config),
        has_context_head=isinstance(config.objective, JEPAConfig) and config.objective.dense,
    )


def build_clip(config: Config) -> ClipSpec:
    """A clip's geometry in seconds."""
    return ClipSpec(config.data.num_frames, config.data.frame_interval_seconds, config.data.short_side_pixels)


def build_data(config: Config) -> DataPath:
    """Manifests to a reader of addressed clips."""
    return build_reader(config, *open_footage(config))


def left_out_sentence(data: DataPath) -> str:
    """What the user is told of videos that are never drawn; empty where there are none."""
    of_all = f"of {counted(len(data.manifest), 'video')}"
    mixture = data.mixture
    told = [f"no usable footage in {mixture.num_left_out} {of_all}, left out"] if mixture.num_left_out else []
    if mixture.hours_unclustered > 1e-6 * (in_clusters := float(mixture.table.hours.sum())):
        share = mixture.hours_unclustered / (mixture.hours_unclustered + in_clusters)
        whole = f", among them the whole of {mixture.num_unclustered} {of_all}" if mixture.num_unclustered else ""
        told.append(f"in no cluster of mix.clusters: {share:.0%} of the usable hours{whole}, left out")
    return "; ".join(told)


def build_reader(config: Config, manifest: Manifest, mixture: Mixture) -> DataPath:
    """The reader of the clips of a phase, whose configuration is `config`."""
    spec = build_clip(config)
    sampler = Sampler(mixture, config.seed, spec.span_seconds, config.data.clips_per_open)
    data = config.data
    reader = ClipReader(
        manifest, sampler, spec, data.decoder, data.max_attempts, open_readers_bytes=data.open_readers_bytes
    )
    return DataPath(manifest, mixture, sampler, reader)


def build_augment(config: Config) -> ClipAugment:
    """Random resized crop, flip and normalisation, on the device."""
    return ClipAugment(AugmentSpec(**asdict(config.augment)), config.seed)


def build_preprocess(config: Config) -> PreprocessSpec:
    """The deterministic counterpart of the training input, for features: shortest side to the crop, centre crop."""
    return PreprocessSpec(
        short_side_pixels=config.augment.crop_pixels,
        crop_pixels=config.augment.crop_pixels,
        mean=config.augment.mean,
        std=config.augment.std,
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
        rate=_one_after_another([rate_of(phase.config) for phase in phases]),
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


def build_checkpoints(config: Config, folder: RunFolder, manifest: Manifest, runtime: Runtime) -> Checkpoints:
    """Where the run is saved. The first rank alone writes what its origin says, so it alone computes it."""
    node, origin = config.trainer, None
    if runtime.is_first:
        origin = Origin(folder.config_file, manifest.fingerprint, config.runtime.strategy.value)
    is_async = config.runtime.async_checkpoints
    return Checkpoints(folder.checkpoints, node.keep_checkpoints, node.keep_every, node.keep_best, origin, is_async)


def say_first(runtime: Runtime) -> Callable[[str], object]:
    """What prints a line on the first rank and nothing on the others."""
    return (lambda line: print(line, file=sys.stderr, flush=True)) if runtime.is_first else (lambda line: None)


def build_positions(phase: Phase, runtime: Runtime) -> PositionPlan:
    """What this process reads in a phase."""
    return PositionPlan(
        phase.span.batch,
        runtime.fabric.world_size,
        runtime.fabric.global_rank,
        accumulation_of(phase.config, runtime.fabric.world_size),
        phase.config.data.repeats,
        phase.span,
    )


def build_read_ahead(config: Config) -> ReadAhead:
    """How clips are read ahead."""
    node = config.data
    return ReadAhead(
        node.workers, node.prefetch_batches, node.prefetch_bytes, node.clip_timeout_seconds, node.max_failure_rate
    )


def build_sink(config: Config, folder: RunFolder, progress: Progress) -> Sink | None:
    """Weights & Biases or TensorBoard, where asked for, of a run that goes on from `progress`."""
    match config.logger.kind:
        case LoggerKind.wandb:
            node, num_rollbacks = config.logger, len(progress.rollbacks)
            return WandbSink(folder.path, node.project, node.offline, asdict(config), num_rollbacks)
        case LoggerKind.tensorboard:
            return TensorBoardSink(folder.path, progress.step)
    return None


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
