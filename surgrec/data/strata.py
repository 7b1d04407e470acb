"""Into which strata a mixture divides its footage, and how often each is drawn.

In: a manifest, a policy and its options, hours. Out: the tree of shares and, with hours, the share of every stratum in every stage of the
run, or its exact count where passes are capped. It is its own file because it is all that names and options mean; what stands behind a
stratum is `mixture`'s, the arithmetic is `shares`'.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgrec.core.errors import UserError
from surgrec.corpus.clusters import Clusters
from surgrec.corpus.manifest import Manifest
from surgrec.data.shares import Floats, Integers, counts_under_caps, down_a_tree, exponent_of, filled

GENERAL_DOMAIN = "other"  # what a manifest calls footage of none of the four kinds of surgery
LEVELS = ("domain", "procedure", "source")
VIDEO = "video"
UNKNOWN = "unknown"  # what a video of which no procedure is known is counted under


@dataclass(frozen=True)
class Rehearsal:
    """General video beside the surgical, so that a continued run does not forget what its first weights knew.

    `share` of all clips, at least 0 and below 1, comes from the sources called `sources`, or, where none is named, from those all of
    whose videos are of the domain `other`.
    """

    share: float
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weighting:
    """What tilts the shares: `alphas` by level, where not the policy's own; `weights` by level and name, 1 where not given."""

    alphas: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class MixtureOptions:
    """What may be asked of a mixture beyond its policy.

    `levels`: of the tree, from `LEVELS`, in that order; `source` is always the last. `weighting`: see there; level `video` has an alpha,
    too, 1 where not given. `end_alpha`, `end`: what alpha and weighting have become when the schedule is through. `max_passes`: how
    often, in all, the footage of a stratum may be drawn. `clusters`: the tree of the policy `clusters`.
    """

    levels: tuple[str, ...] = ("source",)
    weighting: Weighting = field(default_factory=Weighting)
    end_alpha: float | None = None
    end: Weighting | None = None
    max_passes: float | None = None
    clusters: Clusters | None = None


@dataclass(frozen=True)
class Course:
    """A run as stages of draws, S of them, in each of which shares are constant. A draw is of `data.clips_per_open` clips of one video.

    `first` draw of each stage, from 0 on; `num_draws` of the run; `seconds` of footage that one draw of each stage shows; `progress` of
    the schedule in each, from 0 to 1. Beyond its end, a run goes on as in its last stage.
    """

    first: tuple[int, ...]
    num_draws: int
    seconds: tuple[float, ...]
    progress: tuple[float, ...]

    @property
    def draws(self) -> Integers:
        """(S,) of each stage."""
        return np.diff([*self.first, self.num_draws])


@dataclass(frozen=True)
class Strata:
    """What a share belongs to, G of them, ordered by source, then by place in the tree.

    `paths` (G, L): the number of its node at each of `levels`, the source last, in the level's `nodes`. `hours` (G,). `shares` (S, G), one
    row a stage of the run (one where it has none). `counts` (S, G): where passes are capped, how often each is drawn, exactly.
    """

    levels: tuple[str, ...]
    nodes: tuple[tuple[str, ...], ...]
    paths: Integers
    hours: Floats
    shares: Floats
    counts: Integers | None = None

    @property
    def source_index(self) -> Integers:
        """(G,) in the table."""
        return self.paths[:, -1]

    @property
    def names(self) -> list[tuple[str, ...]]:
        """Of the nodes above each, the source last; for reports, since there may be many."""
        return [tuple(self.nodes[level][code] for level, code in enumerate(path)) for path in self.paths.tolist()]


# -- the tree


@dataclass(frozen=True)
class Tree:
    """`codes` (N, L) of each manifest row at each of the manifest's own levels, the source last; `names` by level, clusters first."""

    levels: tuple[str, ...]
    codes: Integers
    names: tuple[tuple[str, ...], ...]
    clusters: Clusters | None

    @property
    def sources(self) -> tuple[str, ...]:
        return self.names[-1]


def plant(manifest: Manifest, policy: str, options: MixtureOptions) -> Tree:
    exponent_of(policy, 0.0)  # names the policies there are
    if (policy == "clusters") != (options.clusters is not None):
        raise UserError(
            "mix.policy=clusters and mix.clusters=FILE belong together: make FILE with `surgrec corpus cluster`, or choose another policy"
        )
    own = check_levels(options.levels)
    coded = [_codes(manifest.table[level]) for level in own]
    codes = np.stack([codes for codes, _ in coded], axis=1)
    names = tuple(names for _, names in coded)
    if options.clusters is None:
        return Tree(own, codes, names, None)
    if own != ("source",):
        raise UserError(f"mix.levels={list(options.levels)} does nothing under mix.policy=clusters; leave it out")
    depth = options.clusters.paths.shape[1]
    nodes = tuple(
        tuple(str(node) for node in range(options.clusters.paths[:, level].max() + 1)) for level in range(depth)
    )
    return Tree(
        (*(f"cluster {number + 1}" for number in range(depth)), *own), codes, (*nodes, *names), options.clusters
    )


def check_levels(levels: Iterable[str]) -> tuple[str, ...]:
    """The levels with `source` at their end. Raises `UserError` for unknown ones and for another order."""
    given = tuple(levels)
    for level in given:
        if level not in LEVELS:
            raise UserError(f"mix.levels names {level!r}, which is none; {suggestion(level, LEVELS)}")
    if list(given) != sorted(set(given), key=LEVELS.index):
        raise UserError(f"mix.levels={list(given)} must go down, each once: {', '.join(LEVELS)}")
    return given if given and given[-1] == "source" else (*given, "source")


def suggestion(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 3, 0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(known[:20])}{' ...' if len(known) > 20 else ''}"


def _codes(column: pa.ChunkedArray) -> tuple[Integers, tuple[str, ...]]:
    """The number of each row's name, and the names, sorted."""
    coded = pc.fill_null(column, UNKNOWN).combine_chunks().dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=np.str_)
    order = np.argsort(names)
    number = np.empty(len(names), dtype=np.int64)
    number[order] = np.arange(len(names))
    return number[coded.indices.to_numpy()], tuple(names[order].tolist())


# -- shares


def rehearsed(rehearsal: Rehearsal | None, tree: Tree, manifest: Manifest) -> npt.NDArray[np.bool_]:
    """Which of the sources are rehearsed. Raises `UserError` for one that is named and not there."""
    names = tree.sources
    if rehearsal is None:
        return np.zeros(len(names), dtype=bool)
    if unknown := sorted(set(rehearsal.sources) - set(names)):
        raise UserError(
            f"mix.rehearsal_sources names {', '.join(unknown)}, which no manifest has; there are {', '.join(names)}"
        )
    if rehearsal.sources:
        return np.isin(names, rehearsal.sources)
    is_surgical = pc.not_equal(manifest.table["domain"], GENERAL_DOMAIN).to_numpy()
    return np.bincount(tree.codes[:, -1], weights=is_surgical, minlength=len(names)) == 0


def shares_of_strata(
    policy: str,
    alpha: float,
    rehearsal: Rehearsal | None,
    options: MixtureOptions,
    course: Course | None,
    tree: Tree,
    paths: Integers,
    hours: Floats,
    is_rehearsal: npt.NDArray[np.bool_],
) -> tuple[Floats, Integers | None]:
    """Shares (S, G) and, under a cap, counts (S, G), part by part."""
    parts = [(np.ones(len(hours), dtype=bool), 1.0)]
    if rehearsal is not None:
        parts = [(is_rehearsal, rehearsal.share), (~is_rehearsal, 1 - rehearsal.share)]
        _check_parts(rehearsal, hours, is_rehearsal)
    stages = course.progress if course is not None else (0.0,)
    tilts = [_tilt(policy, alpha, options, progress, tree, paths) for progress in stages]
    end = [] if options.end is None else [_tilt(policy, alpha, options, 1.0, tree, paths)]
    shares = np.zeros((len(stages), len(hours)))
    for part, total in parts:
        if total:
            _check_weights([*tilts, *end], hours, part, is_rehearsal if rehearsal is not None else None)
            for stage, (exponents, weights) in enumerate(tilts):
                shares[stage, part] = total * down_a_tree(paths[part], hours[part], exponents, weights[part])
    if options.max_passes is None:
        return shares, None
    assert course is not None, "a cap is on the passes of a whole run"
    counts = np.zeros(shares.shape, dtype=np.int64)
    drawn = np.zeros(len(stages), dtype=np.int64)
    for number, (part, total) in enumerate(part for part in parts if part[1]):
        is_last = number == sum(1 for _, share in parts if share) - 1
        # of the draws so far, so that what is rounded off in one stage is not lost in all
        draws = (
            course.draws - drawn
            if is_last
            else np.diff(np.rint(total * np.cumsum([0, *course.draws]))).astype(np.int64)
        )
        drawn = drawn + draws
        named = [tree.sources[code] for code in paths[part, -1].tolist()]
        counts[:, part] = _capped(shares[:, part] / total, draws, course, hours[part], options.max_passes, named)
    return counts / np.maximum(course.draws, 1)[:, None], counts


def _tilt(
    policy: str, alpha: float, options: MixtureOptions, progress: float, tree: Tree, paths: Integers
) -> tuple[Floats, Floats]:
    """Exponent of each level (L,) and weight of each stratum's ancestor at each level (G, L) when the schedule has come so far."""

    def between(first: float, last: float) -> float:
        return first + progress * (last - first)

    own = exponent_of(policy, between(alpha, alpha if options.end_alpha is None else options.end_alpha))
    begin, end = options.weighting, options.end or Weighting()
    _check_names(begin, tree, "mix")
    _check_names(end, tree, "mix.schedule")
    exponents, weights = [], np.ones(paths.shape)
    for number, level in enumerate(tree.levels):
        given = begin.alphas.get(level)
        later = end.alphas.get(level, given)
        if level.startswith("cluster "):
            exponents.append(0.0)
        elif policy == "clusters":
            exponents.append(1.0)  # of what sources show of a leaf, by the second
        elif later is None:
            exponents.append(own)
        else:
            exponents.append(
                exponent_of(policy, between(own if given is None else given, later), f"mix.alphas.{level}")
            )
        factors = np.ones(len(tree.names[number]))
        first, last = begin.weights.get(level, {}), end.weights.get(level, {})
        for name in {**first, **last}:
            weight = first.get(name, 1.0)
            factors[tree.names[number].index(name)] = between(weight, last.get(name, weight))
        weights[:, number] = factors[paths[:, number]]
    return np.array(exponents), weights


def _check_names(weighting: Weighting, tree: Tree, key: str) -> None:
    """Raise `UserError` for a level that the tree does not have, a name that the manifest does not have, or an impossible number."""
    for level in weighting.alphas:
        if level not in (*tree.levels, VIDEO):
            raise UserError(
                f"{key}.alphas.{level} is of no level of this mixture; {suggestion(level, (*tree.levels, VIDEO))}"
            )
    for level, weights in weighting.weights.items():
        if weights and level not in tree.levels:
            raise UserError(
                f"{key}.weights.{level} does nothing, since mix.levels={list(tree.levels)}; add {level} to mix.levels"
            )
        for name, weight in weights.items():
            known = tree.names[tree.levels.index(level)]
            if name not in known:
                raise UserError(f"{key}.weights.{level} names {name}, which no manifest has; {suggestion(name, known)}")
            if not (np.isfinite(weight) and weight >= 0):
                raise UserError(f"{key}.weights.{level}.{name}={weight} must be a number of at least 0")


def _check_weights(
    tilts: list[tuple[Floats, Floats]],
    hours: Floats,
    part: npt.NDArray[np.bool_],
    is_rehearsal: npt.NDArray[np.bool_] | None,
) -> None:
    """Raise `UserError` where, at some point of the run, no stratum of the part has both hours and weights."""
    if not hours[part].any():
        return  # told with the other reasons for it
    for number, (_, weights) in enumerate(tilts):
        if ((hours > 0) & (weights > 0).all(axis=1))[part].any():
            continue
        which = "source of the mixture"
        if is_rehearsal is not None:
            which = "rehearsed source" if is_rehearsal[part].all() else "source but those that are rehearsed"
        key = "mix.weights" if number == 0 else "mix.schedule.weights"
        raise UserError(
            f"{key} leaves no {which} with a weight above 0; give one that has usable footage another weight"
        )


def _capped(
    shares: Floats, draws: Integers, course: Course, hours: Floats, max_passes: float, sources: list[str]
) -> Integers:
    """How often each stratum, of one of `sources`, is drawn in each stage (S, G). Raises `UserError` with what is possible."""
    seconds = np.array(course.seconds)
    caps = np.where((shares > 0).any(axis=0), max_passes * 3600.0 * hours, 0.0)
    try:
        return counts_under_caps(shares, draws, seconds, caps)
    except ValueError:
        stages, is_open = _tightest(shares, draws * seconds, caps)
        asked, allowed = float((draws * seconds)[stages].sum()), float(caps[is_open].sum())
        needed = np.ceil(100 * max_passes * asked / allowed) / 100 if allowed else np.inf
        if len(stages) == len(draws):
            whose, when, instead = "", "the run", f"take about {min(1.0, allowed / asked):.0%} of trainer.steps"
        else:
            first, last = course.first[stages[0]], ([*course.first, course.num_draws])[stages[-1] + 1]
            names = sorted({sources[index] for index in np.flatnonzero(is_open).tolist()})
            whose = f" of {', '.join(names[:8])}{' and others' if len(names) > 8 else ''}"
            when = f"from {first / course.num_draws:.0%} to {last / course.num_draws:.0%} of the run, where nothing else has a share, it"
            instead = "change mix.schedule"
        raise UserError(
            f"mix.max_passes={max_passes:g} allows {allowed / 3600:,.2f} hours of clips from {allowed / max_passes / 3600:,.2f} hours of "
            f"footage{whose}, and {when} draws {asked / 3600:,.2f}: it takes {needed:g} passes at least, more where a stratum has little "
            f"footage; raise mix.max_passes, {instead}, or add footage"
        ) from None


def _tightest(shares: Floats, taken: Floats, caps: Floats) -> tuple[list[int], npt.NDArray[np.bool_]]:
    """The stretch of stages that asks for most of what its strata allow, and which these are (G,). Any stretch: where a schedule leads
    away from a source, it is the last stages."""
    num = len(taken)
    stretches = [(first, last) for first in range(num) for last in range(first, num)]
    best: tuple[float, int, list[int]] = (-1.0, 0, [])
    for first, last in stretches:
        is_open = (shares[first : last + 1] > 0).any(axis=0)
        ratio = float(taken[first : last + 1].sum() / max(caps[is_open].sum(), 1e-9))
        best = max(best, (ratio, last - first, list(range(first, last + 1))))  # of equal ones the longest
    return best[2], np.asarray((shares[best[2]] > 0).any(axis=0))


def video_weights(
    seconds: Floats, first_video: Integers, options: MixtureOptions, strata: Strata, course: Course | None
) -> Floats:
    """Weights (V,) of the videos within their strata: seconds ** alpha, under a cap none above what it allows the video."""
    alpha = options.weighting.alphas.get(VIDEO, 1.0)
    if alpha == 1.0:
        return seconds  # and then a capped stratum's videos all have its own passes
    exponent_of("temperature", alpha, "mix.alphas.video")
    weights = np.empty_like(seconds)
    drawn = None
    if strata.counts is not None and course is not None:
        drawn = np.array(course.seconds) @ strata.counts
    for stratum, (first, stop) in enumerate(pairwise(first_video.tolist())):
        own = seconds[first:stop]
        if not len(own):
            continue
        share = (own / own.max()) ** alpha
        share /= share.sum()
        if drawn is not None and drawn[stratum] and options.max_passes is not None:
            share = filled(share, options.max_passes * own / drawn[stratum])
        weights[first:stop] = share * own.sum()
    return weights


def _check_parts(rehearsal: Rehearsal, hours: Floats, is_rehearsal: npt.NDArray[np.bool_]) -> None:
    """Raise `UserError` for a part that has a share and no footage."""
    if rehearsal.share and not hours[is_rehearsal].any():
        raise UserError(
            f"mix.rehearsal_share={rehearsal.share:g} needs usable footage of general video: index some with --domain {GENERAL_DOMAIN} "
            "and add its manifest to mix.manifests, name sources that are there in mix.rehearsal_sources, or set mix.rehearsal_share=null"
        )
    if not hours[~is_rehearsal].any():
        raise UserError(
            f"mix.rehearsal_share={rehearsal.share:g}, but every source with usable footage is rehearsal; add the manifest of what is to "
            "be learned to mix.manifests, or name only some sources in mix.rehearsal_sources"
        )
