"""Splits that never put one patient on both sides.

In: a group id per row (patient, case or lesion), fractions or a number of folds, a seed. Out: row numbers of train, validation
and test. It is its own file because every score rests on it: clips of one case look alike, and a row-wise split measures memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.core.rng import uniforms

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Ascending row numbers of the three parts; no group occurs in two of them."""

    train: Rows
    validation: Rows
    test: Rows


def split_by_group(
    groups: npt.ArrayLike,
    seed: int,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    strata: npt.ArrayLike | None = None,
) -> Split:
    """Split rows (n,) by their group, so that train, validation and test hold about `fractions` of the groups.

    With `strata` (n,), say the source of each row, every stratum is divided in about the same proportions. The split depends on
    the seed and the set of groups only, not on the order or number of their rows. Raises `UserError` where the groups are too
    few for every part to have one.
    """
    wanted = np.asarray(fractions, dtype=np.float64)
    if (wanted <= 0).any() or not np.isclose(wanted.sum(), 1.0):
        raise ValueError(f"fractions must be positive and sum to 1, got {fractions}")
    names, group_of_row, ordered = _shuffled_groups(groups, seed, strata)
    part_of_group = np.empty(len(names), dtype=np.int64)
    part_of_group[ordered] = _spread(_quotas(len(names), wanted))
    parts = part_of_group[group_of_row]
    return Split(*(np.flatnonzero(parts == part) for part in range(3)))


def folds_by_group(
    groups: npt.ArrayLike, seed: int, num_folds: int, strata: npt.ArrayLike | None = None
) -> tuple[Split, ...]:
    """Cross-validation: `num_folds` splits whose test parts hold every row exactly once.

    The validation part of a split is the test part of the next, so at least three folds and as many groups are needed.
    """
    names, group_of_row, ordered = _shuffled_groups(groups, seed, strata)
    if num_folds < 3:
        raise ValueError(f"num_folds must be at least 3 (one for test, one for validation), got {num_folds}")
    fold_of_group = np.empty(len(names), dtype=np.int64)
    fold_of_group[ordered] = _spread(_quotas(len(names), np.full(num_folds, 1.0 / num_folds)))
    folds = fold_of_group[group_of_row]
    return tuple(_fold(folds, test, (test + 1) % num_folds) for test in range(num_folds))


def carve_by_group(
    groups: npt.ArrayLike, seed: int, fraction: float = 0.2, strata: npt.ArrayLike | None = None
) -> tuple[Rows, Rows]:
    """Divide rows (n,) into those that stay and about `fraction` of the groups that are carved off, say for validation.

    At least one group goes to each side. Raises `UserError` where there is only one.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}")
    names, group_of_row, ordered = _shuffled_groups(groups, seed, strata)
    part_of_group = np.empty(len(names), dtype=np.int64)
    part_of_group[ordered] = _spread(_quotas(len(names), np.array([1 - fraction, fraction])))
    is_carved = part_of_group[group_of_row] == 1
    return np.flatnonzero(~is_carved), np.flatnonzero(is_carved)


def _fold(folds: Rows, test: int, validation: int) -> Split:
    is_test, is_validation = folds == test, folds == validation
    return Split(*(np.flatnonzero(rows) for rows in (~is_test & ~is_validation, is_validation, is_test)))


def _shuffled_groups(
    groups: npt.ArrayLike, seed: int, strata: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.str_], Rows, Rows]:
    """Group names (g,), the group of each row (n,), and an order of the groups (g,): by stratum, shuffled within it."""
    names, first_row, group_of_row = np.unique(
        np.asarray(groups, dtype=np.str_), return_index=True, return_inverse=True
    )
    stratum = np.zeros(len(names), dtype=np.int64)
    if strata is not None:
        stratum_of_row = np.unique(np.asarray(strata, dtype=np.str_), return_inverse=True)[1]
        stratum = stratum_of_row[first_row]
        astray = stratum_of_row != stratum[group_of_row]
        if astray.any():
            raise UserError(
                f"group '{names[group_of_row[astray][0]]}' lies in several strata; make group ids unique, say source/group"
            )
    shuffled = uniforms(seed, "split", [position_of(str(name)) for name in names], lanes=1)[:, 0]
    return names, group_of_row, np.lexsort((shuffled, stratum))


def position_of(name: str) -> int:
    """An address for a name: 63 bits of its hash, so that other groups do not matter to it."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 1


def _quotas(num_groups: int, fractions: npt.NDArray[np.float64]) -> list[int]:
    """Whole numbers of groups nearest to the fractions (largest remainders), at least one each, summing to `num_groups`."""
    if num_groups < len(fractions):
        raise UserError(
            f"a split into {len(fractions)} parts needs at least {len(fractions)} groups (patients or cases), "
            f"there are {num_groups}; add cases or use fewer parts"
        )
    exact = fractions * num_groups
    quotas = np.maximum(np.floor(exact).astype(np.int64), 1)
    while quotas.sum() < num_groups:
        quotas[np.argmax(exact - quotas)] += 1
    while quotas.sum() > num_groups:
        quotas[np.argmax(np.where(quotas > 1, quotas - exact, -np.inf))] -= 1
    return [int(quota) for quota in quotas]


def _spread(quotas: Sequence[int]) -> Rows:
    """A sequence with `quotas[i]` copies of i, each spread evenly, so that any stretch holds about the same proportions."""
    places = np.concatenate([(np.arange(quota) + 0.5) / quota for quota in quotas])
    parts = np.repeat(np.arange(len(quotas)), quotas)
    return parts[np.argsort(places, kind="stable")]
