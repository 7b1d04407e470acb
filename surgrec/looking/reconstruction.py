"""What a masked autoencoder makes of what is hidden from it.

In: clips, an encoder, its decoder. Out: for each clip one frame three times: with the hidden cells in grey, rebuilt, and as it is. It is
its own file because only releases with a decoder have it, and because a release tells in `distance_from_variant` what its decoder's values
are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from surgrec.hub.preprocess import ClipPreprocess
from surgrec.masks.tube import TubeMasker
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.objectives.mae import MAE
from surgrec.training.pictures import rebuilt_views

# Of the published variant, which a release departs from only as it says.
_MASK_RATIO, _NORMALISE_TARGETS = 0.9, True


def mask_ratio(config: Mapping[str, Any]) -> float:
    """The share of cells that was hidden in training. `config`: that of a release."""
    return float(_value(config, "mask.ratio") or _MASK_RATIO)


def normalises_targets(config: Mapping[str, Any]) -> bool:
    """Whether the decoder predicts patches less their mean and over their deviation, rather than pixels."""
    value = _value(config, "objective.normalise_targets")
    return _NORMALISE_TARGETS if value is None else value.lower() == "true"


def _value(config: Mapping[str, Any], key: str) -> str | None:
    """What a release's line `KEY OLD -> NEW` says, if it has one."""
    for line in config.get("distance_from_variant", ()):
        if str(line).startswith(f"{key} "):
            return str(line).rpartition(" -> ")[2].strip()
    return None


@torch.inference_mode()
def reconstruct(
    encoder: Encoder,
    decoder: Decoder,
    preprocess: ClipPreprocess,
    clips: Sequence[Tensor],
    places: Sequence[int],
    ratio: float,
    is_normalised: bool,
) -> list[npt.NDArray[np.float32]]:
    """For each clip (C, T, S, S) the first frame of its time step `places[i]`: float32 (3, S, S, 3) in [0, 1], hidden, rebuilt, as it
    is."""
    spec = preprocess.pixels
    objective = MAE(encoder, decoder, spec.mean, spec.std, is_normalised)
    video = torch.stack(list(clips))
    masker = TubeMasker(encoder.grid_of(video), ratio, seed=0)
    mask = masker.draw(np.arange(len(video)))[0].to(video.device)
    outcome = objective.learner(video, (mask,), objective.targets(video, (mask,)))
    views = rebuilt_views(objective, video, mask, outcome.predictions[0])
    return [
        np.stack([view[number, place * encoder.tubelet] for view in views]).clip(0, 1)
        for number, place in enumerate(places)
    ]
