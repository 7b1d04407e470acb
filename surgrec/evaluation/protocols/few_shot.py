"""Which cases a few-shot protocol may see.

In: a split, the group and the classes of every row, a share of cases. Out: the split with fewer train and validation rows; its test rows
are the same. It is its own file because the draws must be the same for every encoder and every protocol, and because a hospital labels
cases, not clips: one case of forty clips is one, and validation rows are labelled ones too, so they are drawn as well.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgrec.core.rng import uniforms
from surgrec.evaluation.splits import Rows, Split, position_of

SHARES = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class FewShot:
    """Draw number `draw` of about `share` of the cases.

    `num_cases` and `num_asked`: of train and validation cases, how many were drawn and how many the share asks for; more are drawn where
    a class would have none. `absent`: classes without a train row in the whole split, which no draw can help.
    """

    split: Split
    share: float
    draw: int
    num_cases: tuple[int, int]
    num_asked: tuple[int, int]
    absent: tuple[int, ...]


def few_shot(
    split: Split,
    groups: npt.ArrayLike,
    classes: Sequence[int] | npt.NDArray[np.int64] | Sequence[Collection[int]],
    num_classes: int,
    share: float,
    draw: int = 0,
    seed: int = 0,
) -> FewShot:
    """Draw `share` of the train cases and of the validation cases, at least one each, so that every class there has one case or more.

    `groups`: the case of every row (n,). `classes`: the class of every row (n,), or the classes in it (a whole operation has many; -1 is
    none). First come cases that cover the classes, the rarest class first, then others up to the share, both in one random order of the
    cases: a larger share of the same draw holds all that a smaller one does. It depends on seed, draw, cases and classes alone.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of cases lies above 0 and up to 1, not at {share}")
    names = np.asarray(groups, dtype=np.str_)
    sets = [
        frozenset(c for c in (each if isinstance(each, Collection) else (int(each),)) if c >= 0) for each in classes
    ]
    drawn: list[Rows] = []
    counts: list[tuple[int, int]] = []
    for part, rows in (("train", split.train), ("validation", split.validation)):
        of_case: dict[str, set[int]] = {}
        for row in rows:
            of_case.setdefault(str(names[row]), set()).update(sets[row])
        order = _order(list(of_case), f"few-shot {part} {draw}", seed)
        num_asked = max(1, math.floor(share * len(order) + 0.5))
        chosen = _covering(order, of_case, num_asked)
        drawn.append(rows[np.isin(names[rows], sorted(chosen))])
        counts.append((len(chosen), num_asked))
    seen = {c for row in split.train for c in sets[row]}
    absent = tuple(c for c in range(num_classes) if c not in seen)
    (num_train, asked_train), (num_validation, asked_validation) = counts
    return FewShot(
        Split(drawn[0], drawn[1], split.test),
        share,
        draw,
        (num_train, num_validation),
        (asked_train, asked_validation),
        absent,
    )


def _order(names: Sequence[str], purpose: str, seed: int) -> list[str]:
    """Names in an order that depends on each name alone, so that other cases do not matter to it."""
    draws = uniforms(seed, purpose, [position_of(name) for name in names], lanes=1)[:, 0]
    return [names[index] for index in np.lexsort((np.asarray(names, dtype=np.str_), draws))]


def _covering(order: Sequence[str], of_case: Mapping[str, set[int]], number: int) -> set[str]:
    """Cases that have all classes between them, then the first others up to `number`."""
    num_cases = {c: sum(c in has for has in of_case.values()) for c in set().union(*of_case.values())}
    chosen: set[str] = set()
    covered: set[int] = set()
    for wanted in sorted(num_cases, key=lambda c: (num_cases[c], c)):
        if wanted not in covered:
            case = next(name for name in order if wanted in of_case[name])
            chosen.add(case)
            covered |= of_case[case]
    chosen.update([name for name in order if name not in chosen][: max(0, number - len(chosen))])
    return chosen
