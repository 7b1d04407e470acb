"""The models of a benchmark: loaded when their turn comes, and what is to be known of them afterwards.

In: entrants. Out: models, and their facts. It is its own file because a model is large and slow to load, while what keys and reports need
of it is small: one model at a time is kept, the facts of all, so that none is loaded twice to say what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from surgrec.evaluation.running.entrant import Entrant
from surgrec.features.baseline import FrozenModel

_Load = Callable[[int], FrozenModel]


@dataclass(frozen=True)
class Facts:
    """Of a model: what decides its features, and what a report says of it."""

    decide: dict[str, Any]
    num_parameters: int
    geometry: dict[str, Any]
    weights_id: str
    said: tuple[str, ...]

    @classmethod
    def of(cls, model: FrozenModel) -> Facts:
        clip = model.preprocess
        seconds = round(clip.window_seconds, 3)
        return cls(
            model.facts,
            sum(each.numel() for each in model.encoder.parameters()),
            {"frames": clip.num_frames, "seconds": seconds, "pixels": clip.pixels.crop_pixels},
            model.sha256[:16],
            model.said,
        )


class Models:
    """Those of the loader that was asked last are kept. One that could not be had is not tried again by the same object."""

    def __init__(self) -> None:
        self._kept: dict[tuple[_Load, int], FrozenModel] = {}
        self._facts: dict[tuple[_Load, int], Facts | Exception] = {}

    def get(self, entrant: Entrant, seed: int) -> FrozenModel:
        """The model of a seed. Raises whatever loading it raised."""
        assert entrant.load is not None
        at = (entrant.load, seed)
        if isinstance(known := self._facts.get(at), Exception):
            raise known
        if at not in self._kept:
            self._kept = {each: model for each, model in self._kept.items() if each[0] is entrant.load}
            try:
                self._kept[at] = entrant.load(seed)
                self._facts.setdefault(at, Facts.of(self._kept[at]))
            except Exception as error:
                self._facts[at] = error
                raise
        return self._kept[at]

    def was_tried(self, entrant: Entrant) -> bool:
        """Whether its first model was loaded, or could not be had."""
        return entrant.load is not None and (entrant.load, 0) in self._facts

    def facts(self, entrant: Entrant, seed: int = 0) -> Facts:
        """Of the model of a seed, which is loaded only where it has not been. Raises as `get`."""
        assert entrant.load is not None
        if (entrant.load, seed) not in self._facts:
            self.get(entrant, seed)
        found = self._facts[entrant.load, seed]
        if isinstance(found, Exception):
            raise found
        return found
