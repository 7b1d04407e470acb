"""Models of Hugging Face transformers as ours, and back: `hub.from_transformers`, `hub.to_transformers`.

In: a model of theirs or ours. Out: the other, with the same architecture and, bit for bit, the same weights; every key accounted for.
It is its own file because it is the only one that imports transformers, and does so on first use. What can be told one way or the
other is in `huggingface_videomae` and `huggingface_vjepa2`; what cannot is refused with a sentence.

    VideoMAEForPreTraining   MAELearner (encoder and decoder)        VideoMAEModel   Encoder
    VJEPA2Model              JEPALearner (encoder and predictor)

A trap to know: the predictor of transformers' V-JEPA 2 always takes mask token number 1, the official code trains number 0. Tokens
keep their numbers here: `Predictor(..., mask_index=1)` equals transformers, and `JEPALearner` goes on with the trained number 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from surgrec.hub import huggingface_videomae as videomae
from surgrec.hub import huggingface_vjepa2 as vjepa2
from surgrec.hub.keys import ForeignWeightsError, Layout, read_weights, write_weights
from surgrec.hub.weights_file import sound
from surgrec.models.encoder import Encoder
from surgrec.objectives.jepa import JEPALearner
from surgrec.objectives.mae import MAELearner

Ours = Encoder | MAELearner | JEPALearner


def from_transformers(model: nn.Module) -> Ours:
    """`VideoMAEForPreTraining` as an `MAELearner`, `VideoMAEModel` as an `Encoder`, `VJEPA2Model` as a `JEPALearner`.

    The weights are copied, with their type, to the same device. The input differs: theirs is (B, T, C, H, W), ours (B, C, T, H, W).
    Raises `ForeignWeightsError` for another model, for an option that ours lacks, and for a key that is not accounted for.
    """
    name = type(model).__name__
    config: Any = getattr(model, "config", None)
    with torch.device("meta"):
        match name:
            case "VideoMAEForPreTraining":
                ours: Ours = videomae.learner_of(config, model.get_submodule("decoder.norm"))
            case "VideoMAEModel":
                ours = videomae.encoder_of(config)
            case "VJEPA2Model":
                ours = vjepa2.learner_of(config)
            case _:
                raise ForeignWeightsError(
                    f"there is no counterpart here of a {name}; give a VideoMAEForPreTraining, a VideoMAEModel or a VJEPA2Model itself"
                )
    where = f"the {name}"
    weights = sound(model.state_dict(), where)
    state, _ = read_weights(ours.state_dict(), weights, _layout(ours), family=name, part="model", where=where)
    ours.load_state_dict({key: value.detach().clone() for key, value in state.items()}, strict=True, assign=True)
    return ours.train(model.training)


def to_transformers(model: Ours) -> nn.Module:
    """The inverse of `from_transformers`; an `MAELearner`'s `normalise_targets` is their `norm_pix_loss`, which decides their loss.

    Raises `ForeignWeightsError` for a model that transformers cannot express, saying why.
    """
    transformers = _import_transformers()
    match model:
        case MAELearner():
            config = transformers.VideoMAEConfig(
                **videomae.config_of(model.encoder, model.decoder), norm_pix_loss=model.normalise_targets
            )
            theirs = _empty(transformers.VideoMAEForPreTraining, config)
            # not an option of theirs, and lost when their model is saved
            theirs.decoder.norm.eps = model.decoder.final_norm_eps
        case JEPALearner():
            theirs = _empty(
                transformers.VJEPA2Model, transformers.VJEPA2Config(**vjepa2.config_of(model.encoder, model.predictor))
            )
        case Encoder():
            theirs = _empty(transformers.VideoMAEModel, transformers.VideoMAEConfig(**videomae.config_of(model, None)))
        case _:
            raise ForeignWeightsError(
                f"a {type(model).__name__} cannot be written to transformers; give an MAELearner, a JEPALearner or an Encoder"
            )
    state = write_weights(model.state_dict(), _layout(model))
    theirs.load_state_dict({key: value.detach().clone() for key, value in state.items()}, strict=True, assign=True)
    return theirs.train(model.training)


def _layout(ours: Ours) -> Layout:
    match ours:
        case MAELearner():
            return videomae.learner_layout(ours.encoder)
        case JEPALearner():
            return vjepa2.learner_layout(ours.encoder)
        case _:
            return videomae.encoder_layout(ours)


def _empty(kind: Any, config: Any) -> Any:
    """A model of theirs without memory for its weights, which are about to come; its position tables are made all the same."""
    with torch.device("meta"):
        return kind(config)


def _import_transformers() -> Any:
    import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)

    try:
        import transformers
    except ImportError:
        raise ForeignWeightsError("this needs the package transformers: pip install 'surgrec[parity]'") from None
    return transformers
