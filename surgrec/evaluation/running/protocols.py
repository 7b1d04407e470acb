"""The protocols of a benchmark by the keys of a configuration, with the settings that all encoders get alike.

In: a key such as `linear` or `few_shot_5`, settings. Out: a `ProtocolPlan`, which fits and predicts. It is its own file because here three
forms that protocols have (frozen clips, whole operations, clips as pixels) become one that the loop can call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from surgrec.core.errors import UserError
from surgrec.evaluation.clips import ClipSource
from surgrec.evaluation.encode import Kept
from surgrec.evaluation.frozen import HeldOut
from surgrec.evaluation.protocols.attentive import Attentive
from surgrec.evaluation.protocols.dense import DenseHeldOut, DenseProtocol, DenseRecording, dense_held_out
from surgrec.evaluation.protocols.few_shot import few_shot
from surgrec.evaluation.protocols.finetune import Finetune, FinetuneSettings, finetuned
from surgrec.evaluation.protocols.frame_linear import FrameLinear
from surgrec.evaluation.protocols.held_out import FrozenProtocol, held_out
from surgrec.evaluation.protocols.knn import KNN
from surgrec.evaluation.protocols.linear import Linear
from surgrec.evaluation.protocols.temporal import Temporal, TemporalSettings
from surgrec.evaluation.splits import Split
from surgrec.evaluation.tasks.task import ClipTask, NamedSplit
from surgrec.features.baseline import FrozenModel
from surgrec.features.extractor import Layout

FROZEN = ("knn", "linear", "linear_change", "attentive", "few_shot_1", "few_shot_5", "few_shot_10")
FINETUNE = "finetune"
LINEAR_CHANGE = "linear_change"  # on features of a layout of its own
DENSE = ("frame_linear", "temporal", "temporal_causal")
KEYS = (*FROZEN, FINETUNE, *DENSE)
LOOKS_AT_NOTHING = "none"  # the key of answers such as the majority
_SHARES = {"few_shot_1": 0.01, "few_shot_5": 0.05, "few_shot_10": 0.1}
FEW_SHOT = tuple(_SHARES)
_DRAWN = ("attentive", *_SHARES, FINETUNE, "temporal", "temporal_causal")  # what the seed changes


@dataclass(frozen=True)
class Settings:
    """The same for every encoder; see the protocols."""

    knn: KNN = field(default_factory=KNN)
    linear: Linear = field(default_factory=Linear)
    attentive: Attentive = field(default_factory=Attentive)
    temporal: TemporalSettings = field(default_factory=TemporalSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)

    def facts(self, key: str) -> dict[str, Any]:
        """What decides the numbers of a protocol, in plain values."""
        match key:
            case "knn":
                return {"ks": self.knn.ks, "temperature": self.knn.temperature}
            case "attentive":
                return vars(self.attentive.settings)
            case "finetune":
                return vars(self.finetune)
            case "temporal" | "temporal_causal":
                return vars(self.temporal)
            case _:
                return {"l2": self.linear.l2_grid, "iterations": self.linear.max_iterations}


def title_of(key: str) -> str:
    """What stands beside the number."""
    match key:
        case "knn":
            return KNN.name
        case "linear":
            return Linear.name
        case "linear_change":
            return f"{Linear.name}, with change"
        case "attentive":
            return Attentive.name
        case "finetune":
            return Finetune.name
        case "frame_linear":
            return FrameLinear().name
        case "temporal":
            return Temporal().name
        case "temporal_causal":
            return Temporal(is_causal=True).name
        case key if key in _SHARES:
            return f"{Linear.name}, {_SHARES[key]:.0%} of cases".replace("%", " %")
    if key == LOOKS_AT_NOTHING:
        return "looks at nothing"
    raise UserError(f"protocols.names has {key!r}; choose of {', '.join(KEYS)}")


def layout_of(key: str, layout: Layout) -> Kept | None:
    """The layout of features that a protocol reads where `layout` is that of the benchmark; None where it reads no features of clips."""
    if key == LINEAR_CHANGE:
        return "change"
    return layout if key in FROZEN else None


def is_drawn(key: str) -> bool:
    """Whether the seed changes what the protocol does with the same features."""
    return key in _DRAWN


def frozen_of(key: str, settings: Settings) -> FrozenProtocol:
    """The protocol on frozen features of clips."""
    protocols: Mapping[str, FrozenProtocol] = {
        "knn": settings.knn,
        "linear": settings.linear,
        LINEAR_CHANGE: replace(settings.linear, name=title_of(LINEAR_CHANGE)),
        "attentive": settings.attentive,
    }
    return protocols.get(key, settings.linear)


def on_clips(
    key: str, settings: Settings, features: Tensor, task: ClipTask, splits: Sequence[NamedSplit], seed: int
) -> tuple[HeldOut, str | None]:
    """Predictions of the test clips from frozen features, and what a reader must know of them."""
    parts, note = [_split(each) for each in splits], None
    if key in _SHARES:
        draws = [
            few_shot(each, task.groups, task.labels, len(task.classes), _SHARES[key], seed, seed=0) for each in parts
        ]
        parts = [draw.split for draw in draws]
        cases = [(sum(draw.num_cases), sum(draw.num_asked)) for draw in draws]
        if any(drawn > asked for drawn, asked in cases):
            drawn, asked = (round(float(np.mean(column)), 1) for column in zip(*cases, strict=True))
            note = f"{drawn:g} cases in place of {asked:g}, so that every class has one"
    found = held_out(
        features,
        task.labels,
        task.groups,
        parts,
        frozen_of(key, settings),
        len(task.classes),
        seed,
        may_share_groups=_is_replayed(splits),
    )
    return found, note


def on_pixels(
    settings: Settings,
    model: FrozenModel,
    clips: ClipSource,
    task: ClipTask,
    splits: Sequence[NamedSplit],
    seed: int,
    folder: Path | None = None,
) -> HeldOut:
    """Predictions of the test clips after training all of a copy of the encoder. `folder`: see `Finetune`."""
    protocol = Finetune(model.encoder, model.preprocess, settings.finetune, folder=folder)
    parts = [_split(each) for each in splits]
    return finetuned(
        clips,
        task.labels,
        task.groups,
        parts,
        protocol,
        len(task.classes),
        seed,
        may_share_groups=_is_replayed(splits),
    )


def on_operations(
    protocol: DenseProtocol,
    recordings: Sequence[DenseRecording],
    num_classes: int,
    splits: Sequence[NamedSplit],
    seed: int,
) -> DenseHeldOut:
    """Predictions at every moment of the test recordings."""
    return dense_held_out(
        recordings, [_split(each) for each in splits], protocol, num_classes, seed, _is_replayed(splits)
    )


def dense_of(key: str, settings: Settings) -> DenseProtocol:
    """The protocol on features of whole operations."""
    if key == "frame_linear":
        return FrameLinear(replace(settings.linear, name=FrameLinear().name))
    return Temporal(key == "temporal_causal", settings.temporal)


def _split(named: NamedSplit) -> Split:
    return Split(named.train, named.validation, named.test)


def _is_replayed(splits: Sequence[NamedSplit]) -> bool:
    return any(each.origin == "replayed" for each in splits)
