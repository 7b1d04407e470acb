"""Out of body: the camera looks at the room, at drapes, at people. In: a survey. Out: which samples, and how sure.

It is its own file because it is the filter that protects people, the one that colour alone cannot do well, and the one with a place for a
learned model (such as that of Zohar et al. 2020, "Accurate detection of out of body segments in surgical video using semi-supervised
learning").

Colour statistics after Muenzer et al. 2013 ("Relevance segmentation of laparoscopic videos"): tissue under white light is red, drapes and
walls are not. A video is compared with itself, since under narrow-band light tissue is green, and some benches are grey:

* cold: much of what is lit has a small share of red, and the picture is less red than this video is elsewhere. One hue alone is
  narrow-band light that was switched on.
* neutral: hardly anything is warm, in a video that is very red elsewhere.

A video that shows nothing but the room is not found: by its colours it might be an operation under narrow-band light.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Protocol

import numpy as np
import numpy.typing as npt

from surgrec.core.errors import UserError
from surgrec.corpus.filters.intervals import Bools, hysteresis
from surgrec.corpus.filters.thresholds import OutOfBody
from surgrec.corpus.survey import Survey

_OWN_REDNESS = (
    75  # percentile: a quarter of the video inside the body is enough to know its colour; bleeding may redden another
)


class OutOfBodyModel(Protocol):
    """What can stand in for the colours: a function of a survey."""

    def __call__(self, survey: Survey) -> npt.NDArray[np.floating]:
        """(n,): the probability, 0 to 1, that each sample is out of the body."""
        ...


def load_model(place: str | None) -> OutOfBodyModel | None:
    """The function at `package.module:name`; None for None. Raises `UserError`."""
    if place is None:
        return None
    module_name, _, name = place.partition(":")
    try:
        model = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"out_of_body.model is {place!r}, which cannot be imported ({error}); write package.module:function and "
            "have the module on PYTHONPATH"
        ) from None
    if not callable(model) or inspect.isclass(model):
        raise UserError(
            f"out_of_body.model {place!r} is no function; it must take a survey and return a probability per sample"
        )
    return model


def out_of_body(survey: Survey, config: OutOfBody, model: OutOfBodyModel | None) -> tuple[Bools, npt.NDArray]:
    """Samples (n,), and the score: the model's probability, or the share of what is lit that is cold (or, if more, not warm)."""
    if model is not None:
        probability = _checked(model(survey), len(survey), config.model)
        return hysteresis(probability >= config.model_begin, probability >= config.model_hold), probability
    cold, warm = survey.measures["cold_share"], survey.measures["warm_share"]
    redness, variety = survey.measures["redness"], survey.measures["variety"]
    is_judged = survey.is_readable & (survey.measures["bright"] >= 40)  # what is nearly black has no colour
    own = float(np.percentile(redness[is_judged], _OWN_REDNESS)) if is_judged.any() else 1 / 3
    departs, has_hues = own - redness, variety > config.one_hue
    is_neutral = is_judged & has_hues & (warm < config.neutral_warm) & (departs >= config.neutral_departure)
    begins = is_judged & has_hues & (cold >= config.cold_begin) & (departs >= config.departure)
    holds = is_judged & (cold >= config.cold_hold) & (departs >= config.departure)
    score = np.where(is_neutral, np.maximum(cold, 1 - warm), cold)
    return hysteresis(begins | is_neutral, holds | is_neutral), score


def _checked(probability: npt.NDArray, count: int, place: str | None) -> npt.NDArray:
    values = np.asarray(probability, np.float64)
    if values.shape != (count,) or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise UserError(
            f"out_of_body.model {place!r} must return one probability from 0 to 1 per sample, an array of shape ({count},)"
        )
    return values
