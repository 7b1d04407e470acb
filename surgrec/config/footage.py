"""Which manifests a run reads: those it was given, or the embedded corpus; and how much of what they list.

In: a configuration. Out: `mix.manifests` filled in, and the embedded corpus rendered where it is asked for and not there; the mixture
of a manifest. It is its own file because `train` and `preview` must look at the same footage and end with the same sentence where there
is none, and because what a run drew is computed again long after it, without its model.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from surgrec.config.schema import Config
from surgrec.core.errors import UserError
from surgrec.corpus.gate import Standing, refuse_contaminated, standing_of
from surgrec.corpus.manifest import Manifest
from surgrec.data.mixture import Mixture, Rehearsal

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


def build_mixture(config: Config, manifest: Manifest) -> Mixture:
    """The configured shares of the manifest's sources."""
    node = config.mix
    rehearsal = None if node.rehearsal_share is None else Rehearsal(node.rehearsal_share, tuple(node.rehearsal_sources))
    return Mixture(manifest, node.policy.value, node.alpha, rehearsal)


def _embedded(config: Config) -> Path:
    return Path(config.paths.embedded) / str(config.mix.embedded)
