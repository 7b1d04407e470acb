"""Whether two lists name the same clips below different roots.

In: the paths of two lists that share none. Out: the two roots and the tails they have in common. It is its own file because lists of one
benchmark come from different machines (`__DATA_ROOT__/v0/clip.mp4`, `/mnt/d/v0/clip.mp4`), and because names that are counted from 1 in
every folder must not be taken for the same clips.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

_MAX_NAMESAKES = 50  # paths of one file name that are compared with each other; names that so many share tell nothing
_SPLIT_WORD = re.compile(r"train(ing)?|val(id(ation)?)?|test(ing)?|dev|eval(uation)?|fold_?\d+", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")

Parts = tuple[str, ...]


@dataclass(frozen=True)
class Respelled:
    """`tails` that both lists have, below roots of which at least one is absolute. `is_certain`: the roots have nothing in common, so that
    they are places on two machines and not two folders side by side."""

    tails: tuple[str, ...]
    is_certain: bool


def respelled(first: Iterable[str], second: Iterable[str]) -> Respelled | None:
    """The clips that both lists name, `first` and `second` paths with slashes; None where none of them can be told to be the same.

    All must be below the same pair of roots. Roots that name a split, and relative ones, are folders of the benchmark: two of them hold
    different clips, whatever these are called.
    """
    named: dict[str, list[Parts]] = defaultdict(list)
    for path in set(second):
        parts = tuple(path.split("/"))
        named[parts[-1]].append(parts)
    tails: dict[tuple[Parts, Parts], set[str]] = defaultdict(set)
    for path in set(first):
        mine = tuple(path.split("/"))
        for theirs in named.get(mine[-1], ())[:_MAX_NAMESAKES]:
            length = _num_common(mine, theirs)
            roots = mine[: len(mine) - length], theirs[: len(theirs) - length]
            if _are_places(*roots):
                tails[roots].add("/".join(mine[len(mine) - length :]))
    counts = Counter({roots: len(found) for roots, found in tails.items()})
    if not counts:
        return None
    (roots, _), *_ = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Respelled(tuple(sorted(tails[roots])), is_certain=_top(roots[0]) != _top(roots[1]))


def _num_common(mine: Parts, theirs: Parts) -> int:
    """How many parts at the end are the same."""
    length = 0
    while length < min(len(mine), len(theirs)) and mine[-1 - length] == theirs[-1 - length]:
        length += 1
    return length


def _are_places(mine: Parts, theirs: Parts) -> bool:
    """Whether two roots are spellings of one place: each absolute or nothing, not both nothing, and none of a split."""
    if mine == theirs or not all(root == () or _is_absolute(root) for root in (mine, theirs)):
        return False
    return not any(_SPLIT_WORD.fullmatch(part) for part in (*mine, *theirs))


def _is_absolute(root: Parts) -> bool:
    return root[0] == "" or _DRIVE.fullmatch(root[0]) is not None


def _top(root: Parts) -> Parts:
    return root[:2] if root[:1] == ("",) else root[:1]
