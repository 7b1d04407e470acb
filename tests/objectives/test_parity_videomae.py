"""The whole MAE loss equals that of the Apache-2.0 port in transformers, on the same weights, video and mask."""

from __future__ import annotations

import pytest
import torch

import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)
from surgrec.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.objectives.mae import MAE
from tests.models.build import FAMILIES, random_ids

parity = pytest.importorskip("tests.models.test_parity_transformers", reason="parity needs transformers")
transformers = pytest.importorskip("transformers", reason="parity needs transformers: pip install 'surgrec[parity]'")
from surgrec.masks.masks import MaskSet  # noqa: E402


@pytest.mark.parametrize("normalise", [True, False])
def test_loss(normalise: bool) -> None:
    torch.manual_seed(5)
    frames, side, patch = 4, 32, 8
    config = transformers.VideoMAEConfig(
        image_size=side,
        patch_size=patch,
        num_frames=frames,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=192,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=128,
        layer_norm_eps=1e-6,
        use_mean_pooling=False,
        norm_pix_loss=normalise,
    )
    oracle = parity.videomae_oracle(config)
    weights = parity.videomae_weights(oracle.state_dict())
    encoder = Encoder(
        width=48,
        depth=2,
        num_heads=3,
        num_frames=frames,
        height_pixels=side,
        width_pixels=side,
        patch=patch,
        **FAMILIES["mae"],
    )
    decoder = Decoder(encoder_width=48, width=32, depth=1, num_heads=2, patch=patch)
    parity.load(encoder, parity.part_of(weights, "encoder"))
    parity.load(decoder, parity.part_of(weights, "decoder"))
    objective = MAE(encoder, decoder, IMAGENET_MEAN, IMAGENET_STD, normalise)

    video = torch.randn(3, 3, frames, side, side)
    split = random_ids(3, encoder.grid.num_tokens, encoder.grid.num_tokens)
    context, target = split[:, :8].sort().values, split[:, 8:].sort().values
    masked = torch.ones(split.shape, dtype=torch.bool).scatter(1, context, False)
    masks = (MaskSet(context, target),)
    ours = objective.learner(video, masks, objective.targets(video, masks)).loss
    theirs = oracle(video.transpose(1, 2), masked).loss
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)

    ours.backward()
    theirs.backward()
    torch.testing.assert_close(encoder.norm.weight.grad, oracle.videomae.layernorm.weight.grad, rtol=1e-4, atol=1e-7)
