"""What a run's configuration may contain, typed.

In: nothing. Out: dataclasses, registered with Hydra so that a misspelt key or a wrong type fails while composing, before any
footage or device is touched. It is its own file because it is the list of all options: one page answers "what can I set?".
`configs/` gives the values; `surgrec/config/build.py` is the only reader.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from surgrec.optim.schedules import Shape


class Policy(StrEnum):
    """How the share of a source follows from its hours; see docs/sampling.md."""

    natural = "natural"
    uniform = "uniform"
    temperature = "temperature"
    clusters = "clusters"


class MaskMode(StrEnum):
    """How multi-block masks get their counts: `exact` ones for every clip, or cut to the smallest of a batch as V-JEPA published them;
    see surgrec/masks/multiblock.py and surgrec/masks/official.py.
    """

    exact = "exact"
    official = "official"


class Strategy(StrEnum):
    """How several processes share the work."""

    single = "single"
    ddp = "ddp"
    fsdp = "fsdp"


class Checkpointing(StrEnum):
    """What the backward pass computes again instead of keeping it; see surgrec/models/block.py."""

    none = "none"
    selective = "selective"
    full = "full"


class OnCollapse(StrEnum):
    """What follows when the features collapse; see surgrec/training/watch.py."""

    warn = "warn"
    stop = "stop"
    rollback = "rollback"


class LoggerKind(StrEnum):
    """Where metrics go besides metrics.jsonl."""

    none = "none"
    wandb = "wandb"
    tensorboard = "tensorboard"


@dataclass
class MixAlphasConfig:
    """An alpha for one level of the mixture's tree; null: the policy's own, and 1 for videos."""

    domain: float | None = None
    procedure: float | None = None
    source: float | None = None
    video: float | None = None


@dataclass
class MixWeightsConfig:
    """Factors by name, at each level of the mixture's tree; what is not named has 1. With `policy: uniform` they are the shares. On the
    command line with a plus: `+mix.weights.source.NAME=3`.
    """

    domain: dict[str, float] = field(default_factory=dict)
    procedure: dict[str, float] = field(default_factory=dict)
    source: dict[str, float] = field(default_factory=dict)


@dataclass
class MixScheduleConfig:
    """What `mix.alpha`, `mix.alphas` and `mix.weights` become between two steps; `last_step` null: the end of the first phase. Where none
    of the three is given, nothing changes.
    """

    alpha: float | None = None
    alphas: MixAlphasConfig = field(default_factory=MixAlphasConfig)
    weights: MixWeightsConfig = field(default_factory=MixWeightsConfig)
    first_step: int = 0
    last_step: int | None = None
    shape: Shape = Shape.linear

    @property
    def is_given(self) -> bool:
        """Whether anything changes."""
        given = [self.alpha, *vars(self.alphas).values()]
        return any(alpha is not None for alpha in given) or any(vars(self.weights).values())


@dataclass
class MixConfig:
    """What is trained on. `embedded`: scale of the synthesised corpus to use where `manifests` is empty.

    The share of a node among its siblings is proportional to weight * hours ** alpha at each of the `levels` of a tree (domain, procedure,
    source), with an alpha of its own where `alphas` gives one, also to the level `video`. `max_passes`: how often any of the footage may be
    drawn in the whole run. `clusters`: file of `surgrec corpus cluster`, for the policy of that name. docs/sampling.md defines them all.

    `rehearsal_share`: share of all clips that come from general video, so that it is not forgotten: from `rehearsal_sources`, or, where
    none is named, from every source of the domain `other`. The policy then holds within either part.

    `held_out`: manifests of test material that no video of the mixture may show; see surgrec/corpus/gate.py. `held_out_splits`: which of
    their official splits are test material.
    """

    manifests: list[str] = field(default_factory=list)
    embedded: str | None = None
    policy: Policy = Policy.temperature
    alpha: float = 0.5
    levels: list[str] = field(default_factory=lambda: ["source"])
    alphas: MixAlphasConfig = field(default_factory=MixAlphasConfig)
    weights: MixWeightsConfig = field(default_factory=MixWeightsConfig)
    max_passes: float | None = None
    schedule: MixScheduleConfig = field(default_factory=MixScheduleConfig)
    clusters: str | None = None
    rehearsal_share: float | None = None
    rehearsal_sources: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    held_out_splits: list[str] = field(default_factory=lambda: ["test"])


@dataclass
class DataConfig:
    """Clip geometry in seconds, the global batch, and how clips are read.

    `global_batch_size` counts samples. `repeats` of them show the same decoded clip, each cropped and masked anew. So many clips in a row
    as `clips_per_open` says are of one video, which is opened once for them, each from a moment of its own.

    A video that cannot be read is replaced by another of its source. The run ends where a larger share than `max_failure_rate` of the last
    reads of a source failed, or `max_attempts` at one position. `workers` processes read ahead, at most `prefetch_batches` micro-batches
    and `prefetch_bytes` of pixels; a video that takes one of them longer than `clip_timeout_seconds` counts as failed.
    """

    num_frames: int = 16
    frame_interval_seconds: float = 0.16
    short_side_pixels: int | None = 320
    global_batch_size: int = MISSING
    repeats: int = 1
    clips_per_open: int = 1
    decoder: str = "pyav"
    max_attempts: int = 200
    max_failure_rate: float = 0.5
    open_readers_bytes: int = 67_108_864
    workers: int = 2
    prefetch_batches: int = 2
    prefetch_bytes: int = 2**30
    clip_timeout_seconds: float = 120.0


@dataclass
class AugmentConfig:
    """Random resized crop and flip, one per clip; `mean` and `std` of the input in [0, 1]."""

    crop_pixels: int = 224
    scale: tuple[float, float] = (0.3, 1.0)
    aspect: tuple[float, float] = (0.75, 1.35)
    flip_probability: float = 0.5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass
class MaskConfig:
    """Base of the masking schemes."""


@dataclass
class TubeMaskConfig(MaskConfig):
    """Tubes; see surgrec/masks/tube.py."""

    ratio: float = 0.9
    running_cells: bool = False


@dataclass
class BlockGroupConfig:
    """One group of blocks; see surgrec/masks/multiblock.py. Under `mask.mode=official` the batch decides the last two, not they."""

    num_blocks: int = MISSING
    block_share: float = MISSING
    context_share: float = MISSING
    target_share: float = MISSING


@dataclass
class MultiBlockMaskConfig(MaskConfig):
    """Blocks; see surgrec/masks/multiblock.py."""

    mode: MaskMode = MaskMode.exact
    groups: list[BlockGroupConfig] = MISSING
    aspect: tuple[float, float] = (0.75, 1.5)


@dataclass
class BackboneConfig:
    """The encoder: `size` names a row of surgrec/models/sizes.py; `num_heads` overrides that row's. `rope_grid` and
    `modality_embedding` are V-JEPA 2.1's, for the predictor too; `position_grid` (time steps, rows, columns): the grid that added
    positions are computed on, and resampled from for clips of another; see surgrec/models/encoder.py.
    """

    size: str = MISSING
    num_heads: int | None = None
    tubelet: int = 2
    patch: int | None = None
    positions: str = MISSING
    rope_style: str = "tiled"
    rope_grid: int | None = None
    position_grid: list[int] | None = None
    final_norm: bool = True
    modality_embedding: bool = False
    qkv_bias: str = MISSING
    init: str = MISSING


@dataclass
class ObjectiveConfig:
    """What both objectives have: the decoder or predictor on top of the encoder; null is by its size, see surgrec/models/sizes.py."""

    head_width: int | None = MISSING
    head_depth: int | None = MISSING
    head_heads: int | None = MISSING


@dataclass
class MAEConfig(ObjectiveConfig):
    """Masked autoencoding; see surgrec/objectives/mae.py."""

    normalise_targets: bool = True


@dataclass
class JEPAConfig(ObjectiveConfig):
    """Latent prediction; see surgrec/objectives/jepa.py.

    `dense` is V-JEPA 2.1's form: `levels` of the encoder, evenly spread, are predicted, and context tokens too, their loss weighted
    by `context_weight`, which is 0 before the first and whole from the second of the `context_ramp_steps` on.

    The target encoder's momentum is either `ema` per update, moving linearly to `ema_end` over the first phase if that is given, or
    follows from `ema_half_life_samples`, after how many samples a weight counts half: 0.5 ** (global batch / half-life).
    """

    ema: float | None = None
    ema_end: float | None = None
    ema_half_life_samples: float | None = None
    dense: bool = False
    levels: int = 4
    context_weight: float = 0.5
    context_ramp_steps: tuple[int, int] = (15_000, 30_000)


@dataclass
class OptimConfig:
    """AdamW and its schedules. `lr` is the peak, for the global batch as configured: it is never rescaled in silence."""

    lr: float = MISSING
    lr_start: float = 0.0
    lr_end: float = 0.0
    lr_shape: Shape = Shape.cosine
    warmup_steps: int = MISSING
    weight_decay: float = 0.05
    weight_decay_end: float | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip_norm: float | None = None


@dataclass
class PhaseConfig:
    """A further phase of the run: `steps` steps in which what is given here replaces `data`, `augment` and `optim`; null keeps it.

    Its learning rate goes from `lr` (null: where the phase before ended) to `lr_end`, without warm-up.
    """

    steps: int = MISSING
    num_frames: int | None = None
    frame_interval_seconds: float | None = None
    short_side_pixels: int | None = None
    crop_pixels: int | None = None
    global_batch_size: int | None = None
    lr: float | None = None
    lr_end: float = MISSING
    lr_shape: Shape = Shape.linear


@dataclass
class TrainerConfig:
    """Length of the run and how often it reports and saves, in steps. `phases` follow after the first `steps`.

    Where every reading of its health has been bad for `collapse_patience_steps`, the features have collapsed, which `on_collapse`
    answers; see docs/healthy_runs.md. A process that makes steps longer by `straggler_factor` is named; see surgrec/training/pace.py.

    Kept are the newest `keep_checkpoints`, each whose step `keep_every` divides, the `keep_best` best by the probe's number, and what a
    rollback may need; see docs/checkpoints.md.
    """

    steps: int = MISSING
    phases: list[PhaseConfig] = field(default_factory=list)
    log_every: int = 10
    health_every: int = 20
    on_collapse: OnCollapse = OnCollapse.warn
    collapse_patience_steps: int = 60
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    keep_every: int | None = None
    keep_best: int = 0
    picture_every: int = 10000
    straggler_factor: float = 1.25


@dataclass
class ProbeConfig:
    """A k-NN probe on labelled clips every so many steps of the run (`every`, off where empty): `manifest` lists the videos, `labels` is
    a CSV file or a folder with one for each video, `column` names the label in it; see surgrec/evaluation/labels.py.
    """

    every: int | None = None
    manifest: str | None = None
    labels: str | None = None
    column: str = "phase"
    windows: int = 256


@dataclass
class RuntimeConfig:
    """How fast, never what: every value gives the same losses within tolerance; docs/runtime.md says when to set which.

    A step is cut into `accumulation` micro-batches, or, so that the same command fits any number of processes, into the fewest of at most
    `device_batch_size` samples a process; with neither, it is one. Under `fsdp` parameters, gradients and optimiser are split over
    `shard_size` processes and replicated over the rest; null: over all. The processes have `join_minutes` to find each other; a run that
    completes nothing for `hang_minutes` writes the stacks of all ranks and ends (0 or null: never). With `async_checkpoints` the training
    goes on while a checkpoint is written, from a copy in host memory; see docs/checkpoints.md.
    """

    accelerator: str = "auto"
    strategy: Strategy = Strategy.single
    shard_size: int | None = None
    precision: str = "auto"
    accumulation: int | None = None
    device_batch_size: int | None = None
    activation_checkpointing: Checkpointing = Checkpointing.selective
    attention: str = "sdpa"
    compile: bool = False
    fused_optimizer: bool = True
    join_minutes: float = 10.0
    hang_minutes: float | None = 30.0
    async_checkpoints: bool = True


@dataclass
class LoggerConfig:
    """Metrics outside the run folder. `offline` keeps Weights & Biases from the network."""

    kind: LoggerKind = LoggerKind.none
    project: str = "surgrec"
    offline: bool = True


@dataclass
class PathsConfig:
    """Where run folders and the synthesised corpus live."""

    runs: str = "runs"
    embedded: str = "embedded"


@dataclass
class Config:
    """A whole run. `variant` has no default: choose with `+variant=mae` or `+variant=jepa`."""

    variant: str = MISSING
    name: str = "${variant}"
    seed: int = 0
    init: str | None = None
    allow_contamination: bool = False
    mix: MixConfig = field(default_factory=MixConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    mask: MaskConfig = MISSING
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    objective: ObjectiveConfig = MISSING
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


class Asked(Exception):
    """What `ask` raises; surgrec/config/explain.py tells its sentence."""


def _ask(sentence: str) -> None:
    raise Asked(sentence)


def register() -> None:
    """Put the dataclasses where the YAML files of `configs/` find them by name, and `scaled`, for a learning rate linear in the batch:
    `${scaled:VALUE,ITS_BATCH,BATCH}` (Goyal et al. 2017, arXiv 1706.02677); and `ask`, for an option that an overlay needs from the
    command line: `${ask:SENTENCE}`. A `???` does not do: merged over a value, it leaves that value.
    """
    OmegaConf.register_new_resolver("ask", _ask, replace=True)
    OmegaConf.register_new_resolver("scaled", lambda value, of, batch: value * batch / of, replace=True)
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="mask", name="tube_schema", node=TubeMaskConfig)
    store.store(group="mask", name="multiblock_schema", node=MultiBlockMaskConfig)
    store.store(group="objective", name="mae_schema", node=MAEConfig)
    store.store(group="objective", name="jepa_schema", node=JEPAConfig)
