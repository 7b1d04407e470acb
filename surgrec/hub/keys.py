"""Every key of foreign weights accounted for, in both directions.

In: the weights that a module of ours wants, the weights that were found under foreign names, and a family's rules. Out: weights under
our names and a `KeyReport`, or one sentence that names the keys that are missing, unknown or of the wrong shape. It is its own file
because every family needs the same strictness: a checkpoint that loads in part looks like one that loads, and trains worse.

A `Layout` is a family's key map, written from our side: each `Rule` says for some of our keys where their values lie, and a `Change`
says how the tensors are laid out there. What lies in a file and is no part of our model must be on the layout's list of drops.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from surgrec.core.errors import UserError

Shape = tuple[int, ...]
_NAMED = 5  # how many keys an error names before it only counts


class ForeignWeightsError(UserError):
    """Weights of another project that cannot be read, or not as a whole."""


class Change(Protocol):
    """How one tensor of ours is laid out in the foreign weights, as one tensor or several."""

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """The shapes of the foreign tensors, given the shape of ours."""
        ...

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """Ours from theirs."""
        ...

    def write(self, ours: Tensor, num_parts: int) -> list[Tensor]:
        """Theirs from ours; the inverse of `read`."""
        ...


@dataclass(frozen=True)
class Same:
    """The same tensor."""

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """One tensor of our shape."""
        return [ours]

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """As it is."""
        return theirs[0]

    def write(self, ours: Tensor, num_parts: int) -> list[Tensor]:
        """As it is."""
        return [ours]


@dataclass(frozen=True)
class Unfolded:
    """A Linear weight (D, P) of ours is theirs with axes `inner` in place of P: a convolution's (D, C, t, p, p) or (D, C, p, p)."""

    inner: Shape

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """(D, *inner)."""
        return [(ours[0], *self.inner)]

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """Flattened."""
        return theirs[0].reshape(ours)

    def write(self, ours: Tensor, num_parts: int) -> list[Tensor]:
        """With the axes again."""
        return [ours.reshape(ours.shape[0], *self.inner)]


@dataclass(frozen=True)
class Split:
    """Ours is theirs one below the other, in equal numbers of rows: queries, keys and values, fused here and apart there."""

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """(rows / parts, ...) each."""
        return [(ours[0] // num_parts, *ours[1:])] * num_parts

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """Concatenated along rows."""
        return torch.cat(list(theirs))

    def write(self, ours: Tensor, num_parts: int) -> list[Tensor]:
        """Cut into equal parts."""
        return list(ours.chunk(num_parts))


@dataclass(frozen=True)
class Listed:
    """Ours has theirs along its first axis, one entry each: a list of mask tokens."""

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """Our shape without the first axis."""
        return [ours[1:]] * num_parts

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """Stacked."""
        return torch.stack(list(theirs))

    def write(self, ours: Tensor, num_parts: int) -> list[Tensor]:
        """One entry after the other."""
        return list(ours.unbind(0))


@dataclass(frozen=True)
class Lifted:
    """Theirs is ours with `axes` more axes of size one in front: a vector that was kept ready to be added to (B, N, D)."""

    axes: int

    def shapes(self, ours: Shape, num_parts: int) -> list[Shape]:
        """(1, ..., 1, *ours)."""
        return [(1,) * self.axes + ours]

    def read(self, theirs: Sequence[Tensor], ours: Shape) -> Tensor:
        """Without the axes."""
        return theirs[0].reshape(ours)

    def write(self, ours: Tensor, num_parts: int) -> list[Tensor]:
        """With the axes again."""
        return [ours.reshape((1,) * self.axes + tuple(ours.shape))]


@dataclass(frozen=True)
class Rule:
    """Our keys that match the whole of `ours` are made of the foreign keys `theirs`, templates with the groups of `ours` as \\1, \\2."""

    ours: str
    theirs: tuple[str, ...]
    change: Change = field(default_factory=Same)


@dataclass(frozen=True)
class Layout:
    """A family's rules, the first that matches counts, and `drops`: tensors left out, each a pattern of the whole key and the reason."""

    rules: tuple[Rule, ...]
    drops: tuple[tuple[str, str], ...] = ()

    def under(self, prefix: str) -> Layout:
        """The same layout where every foreign key begins with `prefix`."""
        rules = tuple(
            replace(rule, theirs=tuple(_escaped(prefix) + name for name in rule.theirs)) for rule in self.rules
        )
        return Layout(rules, tuple((re.escape(prefix) + f"(?:{pattern})", reason) for pattern, reason in self.drops))

    def sources(self, key: str) -> tuple[tuple[str, ...], Change] | None:
        """The foreign keys that our `key` is made of, and how; None where no rule speaks of it."""
        for rule in self.rules:
            if match := re.fullmatch(rule.ours, key):
                return tuple(match.expand(template) for template in rule.theirs), rule.change
        return None

    def reason_to_drop(self, foreign: str) -> str | None:
        """Why a foreign key is left out, or None where it is on no list."""
        return next((reason for pattern, reason in self.drops if re.fullmatch(pattern, foreign)), None)


@dataclass(frozen=True)
class KeyReport:
    """Where every key went. `loaded`: ours to theirs; `dropped`: theirs to the reason; the last three are empty or the weights refused."""

    family: str
    part: str  # what was filled: "encoder", "encoder and decoder"
    num_wanted: int
    loaded: dict[str, tuple[str, ...]]
    dropped: dict[str, str]
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Everything wanted was found, everything found is used or on the list of drops."""
        return not (self.missing or self.unknown or self.misshapen)

    def text(self) -> str:
        """One line for people."""
        line = f"{self.family}: {len(self.loaded)} of {self.num_wanted} weights of the {self.part} filled"
        if not self.dropped:
            return f"{line}; no key dropped"
        reasons = Counter(self.dropped.values())
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        return f"{line}; {len(self.dropped)} key{'s' * (len(self.dropped) > 1)} dropped: {said}"

    def problems(self) -> str:
        """What is wrong, naming keys: "lacks a; has the unknown b"."""
        said = (("lacks", self.missing), ("has the unknown", self.unknown), ("has the misfit", self.misshapen))
        return " and ".join(f"{verb} {_some(keys)}" for verb, keys in said if keys)


def read_weights(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], layout: Layout, *, family: str, part: str, where: str
) -> tuple[dict[str, Tensor], KeyReport]:
    """The weights `found`, under foreign names, as the state that a module wants (`wanted`: its `state_dict`, on any device).

    Tensors keep their type and may share memory with `found`. `where` names the origin in the error.
    Raises `ForeignWeightsError`, naming the keys, unless every wanted weight is there in its shape and everything else is a listed drop.
    """
    report = account(wanted, found, layout, family=family, part=part)
    if not report.is_complete:
        raise ForeignWeightsError(
            f"{where} does not hold the whole {report.part} of the family {family}: it {report.problems()}; nothing was loaded, "
            "check the family and fetch the file anew"
        )
    state = {}
    for key, names in report.loaded.items():
        _, change = layout.sources(key) or ((), Same())
        state[key] = change.read([found[name] for name in names], tuple(wanted[key].shape))
    return state, report


def account(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], layout: Layout, *, family: str, part: str
) -> KeyReport:
    """Where every key of `wanted` and of `found` goes; nothing is loaded and nothing raised."""
    loaded: dict[str, tuple[str, ...]] = {}
    missing: list[str] = []
    misshapen: list[str] = []
    used: set[str] = set()
    for key, value in wanted.items():
        source = layout.sources(key)
        if source is None:
            missing.append(f"anything for our {key}")
            continue
        names, change = source
        used.update(names)
        absent = [name for name in names if name not in found]
        there = zip(names, change.shapes(tuple(value.shape), len(names)), strict=True)
        misfits = [_misfit(name, found[name], shape) for name, shape in there if name in found]
        missing += absent
        misshapen += [sentence for sentence in misfits if sentence]
        if not absent and not any(misfits):
            loaded[key] = names
    rest = {name: layout.reason_to_drop(name) for name in found if name not in used}
    no_tensors = [name for name, reason in rest.items() if reason is not None and not isinstance(found[name], Tensor)]
    misshapen += [_no_tensor(name, found[name]) for name in no_tensors]
    return KeyReport(
        family=family,
        part=part,
        num_wanted=len(wanted),
        loaded=loaded,
        dropped={name: reason for name, reason in rest.items() if reason is not None},
        missing=tuple(missing),
        unknown=tuple(name for name, reason in rest.items() if reason is None),
        misshapen=tuple(misshapen),
    )


def write_weights(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Our weights under foreign names: the inverse of `read_weights`. Raises `ForeignWeightsError` for a key that has no place there."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        source = layout.sources(key)
        if source is None:
            raise ForeignWeightsError(
                f"the weight {key} has no place in that layout; such a model cannot be written to it"
            )
        names, change = source
        out |= zip(names, change.write(value, len(names)), strict=True)
    return out


def _misfit(name: str, tensor: Tensor, wanted: Shape) -> str | None:
    if not isinstance(tensor, Tensor):
        return _no_tensor(name, tensor)
    if tuple(tensor.shape) != wanted:
        return f"{name} of shape {tuple(tensor.shape)} instead of {wanted}"
    if not tensor.is_floating_point():
        return f"{name} of type {tensor.dtype}"
    return None


def _no_tensor(name: str, value: object) -> str:
    return f"{name}, which is a {type(value).__name__} and no tensor"


def _escaped(prefix: str) -> str:
    return prefix.replace("\\", r"\\")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else "")
