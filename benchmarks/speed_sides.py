"""The two sides of benchmarks/speed.py: what is measured, the peer's step and ours.

In: a `Row`. Out: for either side, a function from clips and masks to the loss, the trained parameters, and what follows an update; and
how many operations a clip needs. It is its own file because it says what is compared; how it is timed is the script's.

The peers are what a competent user would write with the layers of Hugging Face transformers:

- MAE: `VideoMAEForPreTraining` as it is.
- JEPA: one target pass without gradients, all patches embedded once with gradients (by the model's own convolution), both masks on
  their visible tokens only from there on (the layers take a position mask), a mask token for every target, no sorting, L1, AdamW,
  averaging in one call over all parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)
from surgrec.core.grid import TokenGrid
from surgrec.hub import from_transformers
from surgrec.masks.masks import Masker, MaskSet
from surgrec.masks.multiblock import BlockGroup, MultiBlockMasker
from surgrec.masks.tube import TubeMasker
from surgrec.models.flops import TRAINING_OVER_FORWARD, decoder_flops, encoder_flops, predictor_flops
from surgrec.models.sizes import size_named
from surgrec.objectives.jepa import JEPA
from surgrec.objectives.mae import MAE
from surgrec.optim.schedules import Schedule

PATCH, TUBELET, FRAMES = 16, 2, 16
P = 3 * TUBELET * PATCH**2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # VideoMAE's port undoes this normalisation too
EMA = 0.99925
PREDICTOR = {"width": 384, "depth": 12}


@dataclass(frozen=True)
class Row:
    """What is measured: `objective` mae or jepa, an encoder size, clip side, whether ours decodes half (VideoMAE V2's dual masking)."""

    name: str
    objective: str
    size: str
    side: int
    batch: int
    is_dual: bool = False

    @property
    def grid(self) -> TokenGrid:
        return TokenGrid.of_clip(FRAMES, self.side, self.side, TUBELET, PATCH)

    def masker(self, is_dual: bool) -> Masker:
        if self.objective == "mae":
            return TubeMasker(self.grid, 0.9, 0, running_cells=is_dual)
        groups = [BlockGroup(8, 0.15, 0.25, 0.5), BlockGroup(2, 0.7, 0.0625, 0.6875)]
        return MultiBlockMasker(self.grid, groups, 0)


ROWS = (
    Row("mae-base", "mae", "base", 224, batch=8),
    Row("mae-base-dual", "mae", "base", 224, batch=8, is_dual=True),
    Row("jepa-base", "jepa", "base", 256, batch=2),
    Row("jepa-large", "jepa", "large", 256, batch=1),
)
# to try the script itself
SMALL = (Row("mae-nano", "mae", "nano", 64, batch=2), Row("jepa-nano", "jepa", "nano", 64, batch=2))


def useful_flops(row: Row, is_dual: bool) -> int:
    """Operations of one clip's step. Patches of visible tokens have no gradient of their own; the target encoder has none at all."""
    size, total = size_named(row.size), 0
    shape = {"width": size.width, "depth": size.depth, "mlp_ratio": size.mlp_ratio, "patch_values": P}
    for mask in row.masker(is_dual).draw([0]):
        context, target = mask.context.shape[1], mask.target.shape[1]
        total += TRAINING_OVER_FORWARD * encoder_flops(context, **shape) - 2 * context * P * size.width
        if row.objective == "mae":
            head = decoder_flops(context, target, encoder_width=size.width, patch_values=P, width=384, depth=4)
        else:
            head = predictor_flops(context, target, encoder_width=size.width, **PREDICTOR)
        total += TRAINING_OVER_FORWARD * head
    return total + (encoder_flops(row.grid.num_tokens, **shape) if row.objective == "jepa" else 0)


# -- the two sides; each a function from a clip batch and masks to the loss of one whole step


def peer_model(row: Row) -> Any:
    """The transformers model of a row, its weights drawn from one seed."""
    import transformers

    torch.manual_seed(0)
    size = size_named(row.size)
    if row.objective == "mae":
        config = transformers.VideoMAEConfig(
            image_size=row.side, patch_size=PATCH, num_frames=FRAMES, hidden_size=size.width, num_hidden_layers=size.depth,
            num_attention_heads=size.num_heads, intermediate_size=4 * size.width, decoder_hidden_size=384,
            decoder_num_hidden_layers=4, decoder_num_attention_heads=6, decoder_intermediate_size=1536, layer_norm_eps=1e-6,
            use_mean_pooling=False, norm_pix_loss=True,
        )  # fmt: skip
        return transformers.VideoMAEForPreTraining._from_config(config, attn_implementation="sdpa").train()
    config = transformers.VJEPA2Config(
        crop_size=row.side, patch_size=PATCH, frames_per_clip=FRAMES, hidden_size=size.width, num_hidden_layers=size.depth,
        num_attention_heads=size.num_heads, mlp_ratio=4.0, pred_hidden_size=384, pred_num_hidden_layers=12,
        pred_num_attention_heads=12, pred_num_mask_tokens=2,
    )  # fmt: skip
    return transformers.VJEPA2Model._from_config(config, attn_implementation="sdpa").train()


Loss = Callable[[Tensor, tuple[MaskSet, ...]], Tensor]


def peer(row: Row, device: str, is_compiled: bool) -> tuple[Loss, list[torch.nn.Parameter], Callable[[], None]]:
    """The peer's loss, its trained parameters, and what follows an update."""
    model = peer_model(row).to(device)
    if row.objective == "mae":
        forward = torch.compile(model) if is_compiled else model

        def reconstruct(video: Tensor, masks: tuple[MaskSet, ...]) -> Tensor:
            hidden = torch.ones(len(video), row.grid.num_tokens, dtype=torch.bool, device=device)
            return forward(video.transpose(1, 2), hidden.scatter(1, masks[0].context, False)).loss

        return reconstruct, list(model.parameters()), lambda: None

    encoder, predictor = model.encoder, model.predictor
    average = copy.deepcopy(encoder).requires_grad_(False)

    def layers(module: Any, tokens: Tensor, positions: Tensor | None) -> Tensor:
        for layer in module.layer:
            tokens = layer(tokens, positions)[0]
        return module.layernorm(tokens)

    def gathered(tokens: Tensor, ids: Tensor) -> Tensor:
        return tokens.gather(1, ids[..., None].expand(-1, -1, tokens.shape[-1]))

    def predict(video: Tensor, masks: tuple[MaskSet, ...]) -> Tensor:
        frames = video.transpose(1, 2)
        with torch.no_grad():
            wanted = layers(average, average.embeddings(frames), None).float()
            wanted = F.layer_norm(wanted, wanted.shape[-1:])
        patches, losses = encoder.embeddings(frames), []
        for mask in masks:
            context = layers(encoder, gathered(patches, mask.context), mask.context)
            context = predictor.embeddings.predictor_embeddings(context)
            target = predictor.embeddings.mask_tokens[0].expand(*mask.target.shape, -1)
            tokens = torch.cat((context, target.to(context.dtype)), dim=1)
            tokens = layers(predictor, tokens, torch.cat(tuple(mask), dim=1))
            predicted = predictor.proj(tokens[:, mask.context.shape[1] :])
            losses.append(F.l1_loss(predicted.float(), gathered(wanted, mask.target)))
        return torch.stack(losses).mean()

    def follow() -> None:
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(encoder.parameters()), 1 - EMA)

    return torch.compile(predict) if is_compiled else predict, list(model.parameters()), follow


def ours(row: Row, device: str, is_compiled: bool) -> tuple[Loss, list[torch.nn.Parameter], Callable[[], None]]:
    """Our objective with the peer's weights, called as the training step calls it."""
    learner = from_transformers(peer_model(row)).to(device)
    objective: MAE | JEPA
    if row.objective == "mae":
        objective = MAE(learner.encoder, learner.decoder, MEAN, STD)
    else:
        objective = JEPA(learner.encoder, learner.predictor, Schedule(EMA, 1))
    if is_compiled:
        for module in (objective.learner, *objective.frozen.values()):
            module.compile()

    def loss(video: Tensor, masks: tuple[MaskSet, ...]) -> Tensor:
        return objective.learner(video, masks, objective.targets(video, masks)).loss

    return loss, list(objective.learner.parameters()), lambda: objective.after_update(0)
