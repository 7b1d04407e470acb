"""The arithmetic of shares: from hours to shares down a tree, under caps, and to whole numbers of draws.

In: hours, exponents, weights, caps. Out: shares that sum to 1, or counts that sum to what is drawn. It is its own file because these are
the equations of docs/sampling.md: pure functions of numbers, that know neither a manifest nor a video.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog
from scipy.sparse import csr_array, vstack

from surgrec.core.errors import UserError
from surgrec.data.errors import DataError

Policy = Literal["natural", "uniform", "temperature", "clusters"]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
_ROUNDS = 500  # of scaling down what is over its cap; what is left after them is settled while counting
_MOST_UNKNOWNS = 200_000  # of a linear programme, which takes seconds then


def exponent_of(policy: str, alpha: float, name: str = "mix.alpha") -> float:
    """The power of the hours that a policy takes. Raises `UserError` for an unknown policy or a bad `alpha`."""
    if policy not in get_args(Policy):
        raise UserError(f"mixture policy {policy!r} is unknown; set mix.policy to one of {', '.join(get_args(Policy))}")
    if not (np.isfinite(alpha) and alpha >= 0):
        raise UserError(f"mixture exponent {alpha} is not a number of at least 0; set {name} to one, such as 0.5")
    return {"natural": 1.0, "uniform": 0.0, "temperature": alpha, "clusters": 0.0}[policy]


def among_siblings(hours: Floats, exponent: float, weights: Floats) -> Floats:
    """Shares (n,) proportional to weight * hours ** exponent; 0 without hours. Raises `DataError` where all would be 0."""
    if not (hours * weights > 0).any() or not (hours >= 0).all():
        raise DataError("no source of the mixture has usable footage; check the manifests of mix.manifests")
    weighted = weights * np.where(hours > 0, (hours / hours.max()) ** exponent, 0.0)
    return weighted / weighted.sum()


def down_a_tree(paths: Integers, hours: Floats, exponents: Floats, weights: Floats) -> Floats:
    """Share of every leaf (G,): the product, over the levels, of its ancestor's share among its siblings.

    Args:
        paths: (G, L), the number of the leaf's ancestor at each level; numbers need be unlike among siblings only.
        hours: (G,) of the leaves; a node has the sum of its leaves'.
        exponents: (L,) of each level.
        weights: (G, L) of the leaf's ancestor at each level; below a node of which no child has weight and hours, nothing is drawn, and
            its siblings take its share.
    """
    shares = np.where((hours > 0) & (weights > 0).all(axis=1), 1.0, 0.0)
    alive = np.flatnonzero(shares)
    if not len(alive):
        raise DataError(
            "no source of the mixture has usable footage and a weight above 0; check mix.manifests and mix.weights"
        )
    paths, weights, hours = paths[alive], weights[alive], hours[alive]
    parent, found = np.zeros(len(alive), dtype=np.int64), np.ones(len(alive))
    for level, exponent in enumerate(exponents):
        key = parent * (paths[:, level].max() + 1) + paths[:, level]
        _, first, node = np.unique(key, return_index=True, return_inverse=True)
        its_parent = parent[first]
        node_hours = summed(hours, node, len(first))
        order = np.argsort(its_parent, kind="stable")
        share = np.empty(len(first))
        for siblings in np.split(order, np.flatnonzero(np.diff(its_parent[order])) + 1):
            share[siblings] = among_siblings(node_hours[siblings], exponent, weights[first[siblings], level])
        found = found * share[node]
        parent = node
    shares[alive] = found
    return shares


def effective_number(shares: Floats, sizes: Floats) -> float:
    """How much footage a run with these shares sees as if all of it were drawn alike: 1 / sum(share**2 / size), in the unit of the sizes.

    Kish's effective sample size (1965) of footage of which every hour of one source has the same weight; the whole under natural shares.
    """
    drawn = sizes > 0
    return float(1.0 / (shares[drawn] ** 2 / sizes[drawn]).sum())


def summed(values: Floats, groups: Integers, num_groups: int) -> Floats:
    """(num_groups,) sums of the values (n,) of each group."""
    return np.asarray(np.bincount(groups, weights=values, minlength=num_groups), dtype=np.float64)


def filled(shares: Floats, caps: Floats) -> Floats:
    """`shares` (n,), none above its cap, what is over given to the others in proportion: min(cap, c * share) with the c that sums to 1.

    Where the caps sum to less than 1, they are all that can be given.
    """
    positive = shares > 0
    if caps[positive].sum() <= 1:
        return np.where(positive, caps, 0.0)
    ratio = np.full(len(shares), np.inf)
    ratio[positive] = caps[positive] / shares[positive]
    order = np.argsort(ratio)
    capped_before = np.concatenate([[0.0], np.cumsum(np.where(positive, caps, 0.0)[order])[:-1]])
    free_from = np.cumsum(shares[order][::-1])[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(free_from > 0, (1 - capped_before) / free_from, 0.0)
    first_free = int(np.argmax(factor <= ratio[order]))  # the first whose cap its scaled share does not reach
    return np.minimum(np.where(positive, caps, 0.0), factor[first_free] * shares)


def counts_under_caps(shares: Floats, draws: Integers, costs: Floats, caps: Floats) -> Integers:
    """How often each of G is drawn in each of S stages (S, G), so that every stage has its draws and no cap is passed.

    Args:
        shares: (S, G) wanted, each row summing to 1.
        draws: (S,) of each stage.
        costs: (S,) footage that one draw of the stage takes, in the unit of the caps.
        caps: (G,) over all stages.

    Raises:
        ValueError: the caps do not allow so many draws.
    """
    wanted = _scaled(shares, draws, costs, caps)
    try:
        return _counted(wanted, shares, draws, costs, caps)
    except ValueError:
        if len(draws) == 1 or shares.size > _MOST_UNKNOWNS:
            raise
    return _counted(_planned(wanted, shares, draws, costs, caps), shares, draws, costs, caps)


def _counted(wanted: Floats, shares: Floats, draws: Integers, costs: Floats, caps: Floats) -> Integers:
    """Whole numbers near `wanted` times the draws; stages that may draw from few have their draws first."""
    counts = np.zeros(shares.shape, dtype=np.int64)
    left = caps.astype(np.float64).copy()
    for stage in np.argsort((shares > 0) @ caps - draws * costs, kind="stable").tolist():
        number, cost = int(draws[stage]), float(costs[stage])
        if not number:
            continue
        room = np.where(shares[stage] > 0, np.floor(np.maximum(left, 0.0) / cost * (1 + 1e-12)), 0.0)
        counts[stage] = _whole(number * wanted[stage], number, room)
        left -= cost * counts[stage]
    return counts


def _scaled(shares: Floats, draws: Integers, costs: Floats, caps: Floats) -> Floats:
    """`shares` (S, G) times a factor for each of G, rows normed again, so that none takes more than its cap in all."""
    if len(shares) == 1:
        return filled(shares[0], caps / (draws[0] * costs[0]))[None] if draws[0] else shares
    factor, taken_by = np.ones(shares.shape[1]), draws * costs
    scaled = shares
    for _ in range(_ROUNDS):
        scaled = shares * factor
        total = scaled.sum(axis=1, keepdims=True)
        scaled = np.divide(scaled, total, out=np.zeros_like(scaled), where=total > 0)
        taken = taken_by @ scaled
        is_over = taken > caps * (1 + 1e-9)
        if not is_over.any():
            break
        factor[is_over] *= caps[is_over] / taken[is_over]
    return scaled


def _planned(wanted: Floats, shares: Floats, draws: Integers, costs: Floats, caps: Floats) -> Floats:
    """Shares (S, G) that pass no cap, a draw of every stage to spare in each, as near to `wanted` as a linear programme finds them: least
    is drawn above what is wanted. Raises `ValueError` where there are none."""
    stage, stratum = np.nonzero((shares > 0) & (draws > 0)[:, None])
    number, unknown = len(stage), np.arange(len(stage))
    drawn = draws[stage].astype(np.float64)
    rows_of_stage = csr_array((np.ones(number), (stage, unknown)), shape=(len(draws), 2 * number))
    taken = csr_array((drawn * costs[stage], (stratum, unknown)), shape=(len(caps), 2 * number))
    above = csr_array(
        (np.tile([1.0, -1.0], number), (np.repeat(unknown, 2), np.stack([unknown, unknown + number], 1).ravel()))
    )
    spare = np.bincount(stratum, weights=costs[stage], minlength=len(caps))
    for kept_back in (spare, np.zeros_like(spare)):
        solved = linprog(
            np.concatenate([np.zeros(number), drawn]),
            A_ub=vstack([taken, above]),
            b_ub=np.concatenate([np.maximum(caps - kept_back, 0.0), wanted[stage, stratum]]),
            A_eq=rows_of_stage,
            b_eq=(draws > 0).astype(np.float64),
        )
        if solved.success:
            plan = np.zeros(shares.shape)
            plan[stage, stratum] = solved.x[:number]
            return plan
    raise ValueError("the caps do not allow so many draws")


def _whole(wanted: Floats, number: int, room: Floats) -> Integers:
    """Whole numbers near `wanted` (G,), none above its room, that sum to `number`: by largest remainder, then where there is room."""
    if room.sum() < number:
        raise ValueError("the caps do not allow so many draws")
    counts = np.minimum(np.floor(wanted + 1e-9), room)
    missing = number - int(counts.sum())
    while missing > 0:
        has_room = np.flatnonzero(counts < room)
        order = has_room[np.argsort(-(wanted - counts)[has_room], kind="stable")]
        each = max(1, missing // len(order))
        take = np.minimum((room - counts)[order], each)
        take = np.minimum(take, np.maximum(0, missing - (np.cumsum(take) - take)))
        counts[order] += take
        missing -= int(take.sum())
    if missing < 0:  # a wanted sum just above the number
        counts[np.argsort(wanted - counts)[:-missing]] -= 1
    return counts.astype(np.int64)
