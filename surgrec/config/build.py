"""The only wiring: a configuration becomes objects here and nowhere else.

In: a typed, composed configuration. Out: encoder, objective, masks, data path, runtime, and the `Run` that holds them. It is its own
file so that every edge between stages can be followed in an editor: no registry, no class names in YAML.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from surgrec.config.compose import distance_from_variant, read_config
from surgrec.config.schema import (
    Config,
    JEPAConfig,
    LoggerKind,
    MAEConfig,
    MultiBlockMaskConfig,
    TubeMaskConfig,
)
from surgrec.core.errors import UserError
from surgrec.core.grid import TokenGrid
from surgrec.corpus.manifest import Manifest
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.data.clips import ClipReader, ClipSpec
from surgrec.data.loader import ClipLoader, PositionPlan
from surgrec.data.mixture import Mixture, MixtureTable
from surgrec.data.preprocess import Preprocess, PreprocessSpec
from surgrec.data.sampler import Sampler
from surgrec.evaluation.labels import choose_windows
from surgrec.evaluation.online import NUM_FOLDS, OnlineProbe
from surgrec.hub.initial import start_from
from surgrec.masks.masks import Masker
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.masks.tube import TubeMasker
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from surgrec.models.sizes import size_named
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.objectives.objective import Objective
from surgrec.optim.optimizer import build_adamw
from surgrec.optim.schedules import Schedule, Shape
from surgrec.training.checkpoint import Checkpoints, Progress, Trained, checkpoint_of, load_weights
from surgrec.training.folder import RunFolder
from surgrec.training.log import Sink, TensorBoardSink, WandbSink
from surgrec.training.loop import Plan, Run
from surgrec.training.pictures import draw_pictures
from surgrec.training.runtime import Runtime, RuntimeSpec
from surgrec.training.step import Step
from surgrec.training.watch import WatchSpec, told_rollbacks


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
    return Runtime(RuntimeSpec(node.accelerator, node.strategy, node.precision, node.accumulation, node.compile))


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
        qkv_bias=node.qkv_bias,  # type: ignore[arg-type]
        init=node.init,  # type: ignore[arg-type]
        attention_backend=config.runtime.attention,  # type: ignore[arg-type]
        activation_checkpointing=config.runtime.activation_checkpointing,
    )


def build_objective(config: Config) -> Objective:
    """Encoder, decoder or predictor, and target encoder; random weights depend on `seed` alone, so all ranks start alike.

    With `init`, encoder and target encoder start from that release's weights; decoder or predictor are random as ever.
    """
    torch.manual_seed(config.seed)
    encoder = build_encoder(config)
    if config.init is not None:
        start_from(encoder, config.init)
    match config.objective:
        case MAEConfig() as node:
            decoder = Decoder(
                encoder_width=encoder.width,
                width=node.head_width,
                depth=node.head_depth,
                num_heads=node.head_heads,
                tubelet=encoder.tubelet,
                patch=encoder.patch,
                positions="sincos" if encoder.positions == "sincos" else "sincos_3d",
                attention_backend=config.runtime.attention,  # type: ignore[arg-type]
                activation_checkpointing=config.runtime.activation_checkpointing,
                init=encoder.init_scheme,
            )
            return MAE(encoder, decoder, config.augment.mean, config.augment.std, node.normalise_targets)
        case JEPAConfig() as node:
            predictor = Predictor(
                encoder_width=encoder.width,
                width=node.head_width,
                depth=node.head_depth,
                num_heads=node.head_heads,
                num_mask_tokens=1,
                positions=encoder.positions,
                rope_style=config.backbone.rope_style,  # type: ignore[arg-type]
                attention_backend=config.runtime.attention,  # type: ignore[arg-type]
                activation_checkpointing=config.runtime.activation_checkpointing,
                init=encoder.init_scheme,
            )
            return JEPA(encoder, predictor, build_momentum(node, config.trainer.steps))
    raise UserError("the configuration names no objective; add +variant=mae or +variant=jepa")


def build_momentum(node: JEPAConfig, steps: int) -> Schedule:
    """The target encoder's momentum over the run."""
    end = node.ema if node.ema_end is None else node.ema_end
    return Schedule(node.ema, steps, Shape.linear, end=end)


def build_masker(config: Config) -> Masker:
    """Masks for the configured token grid."""
    grid = build_grid(config)
    match config.mask:
        case TubeMaskConfig() as node:
            return TubeMasker(grid, node.ratio, config.seed, node.running_cells)
        case MultiBlockMaskConfig() as node:
            groups = [BlockGroup(**vars(group)) for group in node.groups]
            return MultiBlockMasker(grid, groups, config.seed, node.aspect)
    raise UserError("the configuration names no mask; add +variant=mae or +variant=jepa")


def build_clip(config: Config) -> ClipSpec:
    """A clip's geometry in seconds."""
    return ClipSpec(config.data.num_frames, config.data.frame_interval_seconds, config.data.short_side_pixels)


def build_data(config: Config) -> DataPath:
    """Manifests to a reader of addressed clips."""
    manifest = Manifest.read([Path(path) for path in config.mix.manifests])
    mixture = Mixture(manifest, config.mix.policy.value, config.mix.alpha)
    spec = build_clip(config)
    sampler = Sampler(mixture, config.seed, spec.span_seconds)
    reader = ClipReader(manifest, sampler, spec, config.data.decoder, config.data.max_attempts)
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
    """Length, rhythm and schedules."""
    node, steps = config.optim, config.trainer.steps
    decay_end = node.weight_decay if node.weight_decay_end is None else node.weight_decay_end
    return Plan(
        steps=steps,
        log_every=config.trainer.log_every,
        checkpoint_every=config.trainer.checkpoint_every,
        picture_every=config.trainer.picture_every,
        probe_every=config.probe.every,
        clip_norm=node.clip_norm,
        rate=Schedule(node.lr, steps, node.lr_shape, node.lr_start, node.lr_end, node.warmup_steps),
        weight_decay=Schedule(node.weight_decay, steps, Shape.cosine, end=decay_end),
        global_batch_size=config.data.global_batch_size,
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
    return OnlineProbe(step, manifest, windows, clip, Preprocess(build_preprocess(config)), config.data.decoder)


def run_folder(config: Config) -> RunFolder:
    """`${paths.runs}/${name}`."""
    return RunFolder(Path(config.paths.runs) / config.name)


def build_run(config: Config, runtime: Runtime) -> Run:
    """All parts of a run, on their devices."""
    data, folder = build_data(config), run_folder(config)
    checkpoints = Checkpoints(folder.checkpoints, config.trainer.keep_checkpoints)
    objective = build_objective(config if checkpoints.latest() is None else replace(config, init=None))
    positions = PositionPlan(
        config.data.global_batch_size,
        runtime.fabric.world_size,
        runtime.fabric.global_rank,
        config.runtime.accumulation,
    )
    learner = runtime.wrap_learner(objective.learner)
    runtime.place_frozen(objective.frozen)
    optimizer = build_adamw(
        objective.learner,
        config.optim.betas,
        config.optim.eps,
        config.optim.weight_decay,
        config.runtime.fused_optimizer,
    )
    step = Step(runtime, learner, objective, build_masker(config), build_augment(config))

    def make_loader(first_step: int) -> ClipLoader:
        return ClipLoader(
            data.reader, positions, first_step, config.trainer.steps, config.data.workers, config.data.prefetch_batches,
            pin_memory=runtime.has_cuda,
        )  # fmt: skip

    return Run(
        runtime=runtime,
        folder=folder,
        plan=build_plan(config),
        watch=build_watch(config),
        step=step,
        optimizer=optimizer,
        trained=Trained(objective.learner, objective.frozen, optimizer),
        checkpoints=checkpoints,
        sampler=data.sampler,
        source_names=data.mixture.table.sources,
        video_ids=data.manifest.video_ids,
        make_loader=make_loader,
        draw_pictures=lambda done: draw_pictures(step, data.reader, folder.previews, done),
        probe=build_probe(config, step),
        make_sink=lambda: build_sink(config, folder),
    )


def build_sink(config: Config, folder: RunFolder) -> Sink | None:
    """Weights & Biases or TensorBoard, where asked for."""
    match config.logger.kind:
        case LoggerKind.wandb:
            return WandbSink(folder.path, config.logger.project, config.logger.offline, asdict(config))
        case LoggerKind.tensorboard:
            return TensorBoardSink(folder.path)
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
    """Read the checkpoint of `step`, or the newest, of a run folder, into one process on the CPU."""
    config = read_config(folder / "config.yaml")
    path = checkpoint_of(RunFolder(folder).checkpoints, step)
    objective = build_objective(replace(config, init=None))
    progress = load_weights(path, objective.learner, objective.frozen)
    table = build_data(config).mixture.table
    distance = distance_from_variant(config) + told_rollbacks(progress)
    return LoadedRun(config, objective, progress, table, build_clip(config), build_preprocess(config), distance)
