"""Everything between manifests and the clips that a process reads and augments.

In: a configuration, and the manifest and mixture of its footage. Out: sampler, reader, augmentation, the positions of a process. It is its
own file because `surgrec preview` and `surgrec doctor` read as a run does, without its model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from surgrec.config.footage import open_footage
from surgrec.config.phases import Phase
from surgrec.config.schema import Config
from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.manifest import Manifest
from surgrec.data.augment import AugmentSpec, ClipAugment
from surgrec.data.clips import ClipReader, ClipSpec
from surgrec.data.loader import PositionPlan, ReadAhead, fewest_micro_batches
from surgrec.data.mixture import Mixture
from surgrec.data.preprocess import PreprocessSpec
from surgrec.data.sampler import Sampler
from surgrec.training.runtime import Runtime


@dataclass(frozen=True)
class DataPath:
    """Everything between manifests and clips."""

    manifest: Manifest
    mixture: Mixture
    sampler: Sampler
    reader: ClipReader


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
