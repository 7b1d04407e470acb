"""Which manifests a run reads: those it was given, or the embedded corpus; and how much of what they list.

In: a configuration. Out: `mix.manifests` filled in, and the embedded corpus rendered where it is asked for and not there; the mixture
of a manifest. It is its own file because `train` and `preview` must look at the same footage and end with the same sentence where there
is none, and because what a run drew is computed again long after it, without its model.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path

from surgrec.config.phases import phases_of, spans_of
from surgrec.config.schema import Config, MixAlphasConfig, MixWeightsConfig
from surgrec.core.errors import UserError
from surgrec.corpus.clusters import Clusters
from surgrec.corpus.gate import Standing, refuse_contaminated, standing_of
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.mapped import MappedManifest, open_manifest
from surgrec.data.mixture import Course, Mixture, MixtureOptions, Rehearsal, Weighting, kept
from surgrec.data.strata import LEVELS
from surgrec.optim.schedules import Shape

SCHEDULE_STAGES = 64  # of a mixture that changes: shares are constant in each
MIXTURE_VERSION = 1  # of what `Mixture.save` writes
CACHE = ".footage"
_MANIFEST = "manifest.parquet"


def resolve_footage(config: Config) -> None:
    """Fill in `mix.manifests`: what was given, or the embedded corpus where the configuration names one."""
    if not config.mix.manifests and not config.mix.embedded:
        raise UserError(
            "there is nothing to train on; give mix.manifests=[corpus.parquet] (written by `surgrec index`), "
            "or add +experiment=quickstart to train on a synthesised corpus"
        )
    if not config.mix.manifests:
        config.mix.manifests = [str(_embedded(config) / _MANIFEST)]


def provide_footage(config: Config) -> None:
    """Synthesise the embedded corpus where it is what `resolve_footage` chose, and not there."""
    if config.mix.embedded and config.mix.manifests == [str(_embedded(config) / _MANIFEST)]:
        from surgrec.synthetic.corpus import synthesize

        synthesize(_embedded(config), config.mix.embedded, seed=0, num_workers=os.cpu_count() or 1)


def standing(config: Config) -> Standing:
    """What is known of test material in the mixture."""
    mix = config.mix
    manifests, held_out = ([Path(path) for path in paths] for paths in (mix.manifests, mix.held_out))
    return replace(standing_of(manifests, held_out, mix.held_out_splits), is_allowed=config.allow_contamination)


def judge_footage(config: Config) -> Standing:
    """The same. Raises `ContaminatedError` for a mixture that may not be trained on, unless `allow_contamination` is set."""
    known = standing(config)
    if not config.allow_contamination:
        refuse_contaminated(known)
    return known


def open_footage(config: Config) -> tuple[Manifest, Mixture]:
    """The manifest and the configured mixture of it; of a large one both from files beside the runs, written by whoever comes first.

    Every rank and worker maps the same files into memory. They may be deleted while no run is going on.
    """
    cache = cache_of(Path(config.paths.runs))
    manifest = open_manifest([Path(path) for path in config.mix.manifests], cache)
    if not isinstance(manifest, MappedManifest):
        return manifest, build_mixture(config, manifest)
    return manifest, kept(cache / f"mixture_{_key(config, manifest)}", lambda: build_mixture(config, manifest))


def write_footage(config: Config) -> None:
    """Have the files of a large footage written, those of every phase, which the other processes then map."""
    _, mixture = open_footage(config)
    if mixture.draws.folder is not None:
        for phase in phases_of(config):
            clip = phase.config.data
            mixture.draws.windows((clip.num_frames - 1) * clip.frame_interval_seconds)


def cache_of(runs: Path) -> Path:
    """Where these files are: a folder for each user, since no other may look into it."""
    return runs / f"{CACHE}_{os.getuid()}"


def _key(config: Config, manifest: MappedManifest) -> str:
    """Of all that decides what is in the files of a mixture."""
    node = asdict(config.mix) | {"manifests": manifest.name, "held_out": None, "embedded": None}
    changes = config.mix.schedule.is_given or config.mix.max_passes is not None
    file = clusters_file(config)
    digest = hashlib.sha256(json.dumps(node, sort_keys=True, default=str).encode())
    digest.update(repr((MIXTURE_VERSION, course_of(config) if changes else None)).encode())
    digest.update(file.read_bytes() if file is not None and file.is_file() else b"")
    return digest.hexdigest()[:16]


def clusters_file(config: Config) -> Path | None:
    """The file of `mix.clusters`, where there is one."""
    return None if config.mix.clusters is None else Path(config.mix.clusters)


def build_mixture(config: Config, manifest: Manifest) -> Mixture:
    """The configured shares of the manifest's sources."""
    node = config.mix
    rehearsal = None if node.rehearsal_share is None else Rehearsal(node.rehearsal_share, tuple(node.rehearsal_sources))
    return Mixture(manifest, node.policy.value, node.alpha, rehearsal, mixture_options(config), course_of(config))


def mixture_options(config: Config) -> MixtureOptions:
    """What is asked of the mixture beyond its policy. Raises `UserError` for clusters that are not there."""
    node = config.mix
    end = node.schedule if node.schedule.is_given else None
    return MixtureOptions(
        levels=tuple(node.levels),
        weighting=_weighting(node.alphas, node.weights),
        end_alpha=None if end is None else end.alpha,
        end=None if end is None else _weighting(end.alphas, end.weights),
        max_passes=node.max_passes,
        clusters=None if node.clusters is None else Clusters.read(Path(node.clusters)),
    )


def _weighting(alphas: MixAlphasConfig, weights: MixWeightsConfig) -> Weighting:
    given = {level: alpha for level, alpha in vars(alphas).items() if alpha is not None}
    return Weighting(given, {level: dict(getattr(weights, level)) for level in LEVELS})


def course_of(config: Config) -> Course:
    """The run as stages: its phases, and within them the steps of the mixture's schedule, at most `SCHEDULE_STAGES` in all."""
    phases, node = phases_of(config), config.mix.schedule
    spans, clips_per_draw = spans_of(config), config.data.repeats * config.data.clips_per_open
    edges = {phase.span.first_step for phase in phases}
    first = last = 0
    if node.is_given:
        first, last = node.first_step, config.trainer.steps if node.last_step is None else node.last_step
        number = min(last - first, SCHEDULE_STAGES)
        edges |= {first + (last - first) * index // number for index in range(number + 1)}
    steps = sorted(step for step in edges if step < spans.num_steps)
    begins = [-(-spans.positions_before(step) // clips_per_draw) for step in steps]
    num_draws = -(-spans.positions_before(spans.num_steps) // clips_per_draw)
    # one draw at least
    kept = [index for index, begin in enumerate(begins) if begin < ([*begins, num_draws][index + 1])]
    clips = [phases[spans.number_at(steps[index])].config.data for index in kept]
    after = [*steps, spans.num_steps]
    middles = [(after[index] + after[index + 1] - 1) / 2 for index in kept]
    return Course(
        first=tuple(begins[index] for index in kept),
        num_draws=num_draws,
        seconds=tuple(config.data.clips_per_open * clip.num_frames * clip.frame_interval_seconds for clip in clips),
        progress=tuple(_progress(middle, first, last, node.shape) if node.is_given else 0.0 for middle in middles),
    )


def _progress(step: float, first: int, last: int, shape: Shape) -> float:
    """How far a schedule from step `first` to `last` has come, from 0 to 1."""
    passed = min(1.0, max(0.0, (step - first) / max(1, last - 1 - first)))
    return 0.5 * (1.0 - math.cos(math.pi * passed)) if shape is Shape.cosine else passed


def _embedded(config: Config) -> Path:
    return Path(config.paths.embedded) / str(config.mix.embedded)
