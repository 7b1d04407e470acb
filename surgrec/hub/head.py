"""The half of an objective that is not the encoder: decoder or predictor.

In: a trained objective. Out: a `Head`: its weights and the arguments that build it again. It is its own file because only those who
go on pretraining need it; who wants features never loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from surgrec.hub.folder import HEADS
from surgrec.models.block import Block
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.objectives.objective import Objective


@dataclass(frozen=True)
class Head:
    """`kind` is decoder or predictor; `arguments` rebuild `module`: `Decoder(**arguments)`, `Predictor(**arguments)`."""

    kind: str
    module: nn.Module
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            raise ValueError(f"a head is one of {', '.join(HEADS)}, not {self.kind!r}")


def head_of(objective: Objective) -> Head:
    """The decoder of an MAE, the predictor of a JEPA."""
    encoder, learner = objective.released_encoder, objective.learner
    match objective:
        case MAE():
            decoder = learner.get_submodule("decoder")
            assert isinstance(decoder, Decoder)
            own: dict[str, Any] = {"tubelet": encoder.tubelet, "patch": encoder.patch, "channels": encoder.channels}
            own |= {"positions": decoder.positions, "final_norm_eps": decoder.final_norm_eps}
            own["positions"] = decoder.positions
            return Head("decoder", decoder, _shape(encoder, decoder) | own)
        case JEPA():
            predictor = learner.get_submodule("predictor")
            assert isinstance(predictor, Predictor)
            own = {
                "num_mask_tokens": len(predictor.mask_tokens),
                "positions": predictor.positions,
                "rope_style": predictor.rope_style,
                "rope_grid": predictor.rope_grid,
                "num_levels": predictor.num_levels,
                "out_width": predictor.out_width,
                "has_context_head": predictor.proj_context is not None,
                "has_modality_embedding": predictor.modality is not None,
            }
            return Head("predictor", predictor, _shape(encoder, predictor) | own)
    raise TypeError(f"{type(objective).__name__} has neither decoder nor predictor that is known here")


def _shape(encoder: Encoder, head: Decoder | Predictor) -> dict[str, Any]:
    """The arguments that both kinds share."""
    first = head.blocks[0]
    assert isinstance(first, Block)
    return {
        "encoder_width": encoder.width,
        "width": head.width,
        "depth": len(head.blocks),
        "num_heads": first.attention.num_heads,
        "position_grid": head.position_grid,
        "norm_eps": head.norm_eps,
        "mlp_ratio": len(first.get_parameter("mlp.fc1.weight")) / head.width,
    }
