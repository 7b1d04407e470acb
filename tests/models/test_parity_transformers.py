"""Equality with the Apache-2.0 ports in transformers, the project's oracle, on random weights and random shapes."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import surgrec.core.torchvision_guard  # noqa: F401  (transformers imports torchvision)
from surgrec.models.decoder import Decoder
from surgrec.models.embed import gather_tokens
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from tests.models.build import FAMILIES, random_ids, scramble

transformers = pytest.importorskip("transformers", reason="parity needs transformers: pip install 'surgrec[parity]'")

Weights = dict[str, Tensor]


def renamed(state: Weights, rules: list[tuple[str, str]]) -> Weights:
    """The weights under new names: the first rule that matches the whole of a name gives the new one."""
    out: Weights = {}
    for key, value in state.items():
        new = next((re.sub(old, new, key) for old, new in rules if re.fullmatch(old, key)), None)
        assert new is not None, f"no place for {key}"
        out[new] = value
    return out


def fuse(state: Weights, into: str, has_key_bias: bool) -> Weights:
    """Stack query, key and value of every block; biases become `qkv.bias` or `q_bias` and `v_bias`."""
    out = dict(state)
    for key in [key for key in state if re.fullmatch(rf"{into}\.\d+\.attention\.query\.weight", key)]:
        stem = key.removesuffix("query.weight")
        parts = [stem + part for part in ("query", "key", "value")]
        out[stem + "qkv.weight"] = torch.cat([out.pop(part + ".weight") for part in parts])
        if has_key_bias:
            out[stem + "qkv.bias"] = torch.cat([out.pop(part + ".bias") for part in parts])
        else:
            out[stem + "q_bias"], out[stem + "v_bias"] = out.pop(parts[0] + ".bias"), out.pop(parts[2] + ".bias")
    return out


def load(ours: nn.Module, state: Weights) -> None:
    shapes = ours.state_dict()
    ours.load_state_dict(
        {key: value.reshape(shapes[key].shape) for key, value in state.items()}
    )  # strict; Conv3d to Linear


VIDEOMAE_BLOCK = [
    (r"(.*)\.attention\.attention\.(query|key|value)\.(weight|bias)", r"\1.attention.\2.\3"),
    (r"(.*)\.attention\.output\.dense\.(.*)", r"\1.attention.proj.\2"),
    (r"(.*)\.layernorm_before\.(.*)", r"\1.norm1.\2"),
    (r"(.*)\.layernorm_after\.(.*)", r"\1.norm2.\2"),
    (r"(.*)\.intermediate\.dense\.(.*)", r"\1.mlp.fc1.\2"),
    (r"(.*)\.output\.dense\.(.*)", r"\1.mlp.fc2.\2"),
]
VIDEOMAE_ENDS = [
    (r"videomae\.embeddings\.patch_embeddings\.projection\.(.*)", r"encoder.embed.proj.\1"),
    (r"videomae\.layernorm\.(.*)", r"encoder.norm.\1"),
    (r"encoder_to_decoder\.weight", "decoder.embed.weight"),
    ("mask_token", "decoder.mask_token"),
    (r"decoder\.(norm|head)\.(.*)", r"decoder.\1.\2"),
]
VJEPA2_ENDS = [
    (r"encoder\.embeddings\.patch_embeddings\.proj\.(.*)", r"encoder.embed.proj.\1"),
    (r"(encoder|predictor)\.layernorm\.(.*)", r"\1.norm.\2"),
    (r"predictor\.embeddings\.predictor_embeddings\.(.*)", r"predictor.embed.\1"),
    (r"predictor\.embeddings\.mask_tokens", "predictor.mask_tokens"),
    (r"predictor\.proj\.(.*)", r"predictor.proj.\1"),
    (r"(encoder|predictor)\.layer\.(.*)", r"\1.blocks.\2"),
]


def videomae_weights(state: Weights) -> Weights:
    lifted = {
        re.sub(
            r"^videomae\.encoder\.layer\.",
            "encoder.blocks.",
            re.sub(r"^decoder\.decoder_layers\.", "decoder.blocks.", key),
        ): value
        for key, value in state.items()
    }
    state = renamed(lifted, VIDEOMAE_BLOCK + VIDEOMAE_ENDS)
    return fuse(fuse(state, r"encoder\.blocks", False), r"decoder\.blocks", False)


def vjepa2_weights(state: Weights) -> Weights:
    state = renamed(state, VJEPA2_ENDS)
    return fuse(fuse(state, r"encoder\.blocks", True), r"predictor\.blocks", True)


def part_of(state: Weights, name: str) -> Weights:
    return {key.removeprefix(name + "."): value for key, value in state.items() if key.startswith(name + ".")}


# encoder width, depth, heads, MLP ratio; decoder width, depth, heads; frames, height, width, patch
@pytest.mark.parametrize(
    ("encoder", "decoder", "clip"),
    [
        ((48, 2, 3, 4.0), (32, 1, 2), (4, 32, 32, 16)),
        ((64, 3, 2, 3.0), (24, 2, 3), (8, 32, 48, 8)),  # not square
        ((32, 1, 4, 2.0), (40, 3, 5), (6, 24, 24, 8)),
    ],
)
def test_videomae(
    encoder: tuple[int, int, int, float], decoder: tuple[int, int, int], clip: tuple[int, int, int, int]
) -> None:
    torch.manual_seed(sum(clip))
    frames, height, width, patch = clip
    config = transformers.VideoMAEConfig(
        image_size=[height, width],
        patch_size=patch,
        num_frames=frames,
        hidden_size=encoder[0],
        num_hidden_layers=encoder[1],
        num_attention_heads=encoder[2],
        intermediate_size=int(encoder[0] * encoder[3]),
        decoder_hidden_size=decoder[0],
        decoder_num_hidden_layers=decoder[1],
        decoder_num_attention_heads=decoder[2],
        decoder_intermediate_size=decoder[0] * 4,
        layer_norm_eps=1e-6,  # the port's default, 1e-12, is not VideoMAE's
        use_mean_pooling=False,
        norm_pix_loss=False,
    )
    oracle = videomae_oracle(config)
    weights = videomae_weights(oracle.state_dict())
    ours = Encoder(
        width=encoder[0],
        depth=encoder[1],
        num_heads=encoder[2],
        mlp_ratio=encoder[3],
        num_frames=frames,
        height_pixels=height,
        width_pixels=width,
        patch=patch,
        **FAMILIES["mae"],
    )
    head = Decoder(encoder_width=encoder[0], width=decoder[0], depth=decoder[1], num_heads=decoder[2], patch=patch)
    load(ours, part_of(weights, "encoder"))
    load(head, part_of(weights, "decoder"))

    video = torch.randn(2, 3, frames, height, width)
    grid = ours.grid
    split = random_ids(2, grid.num_tokens, grid.num_tokens)
    kept = grid.num_tokens // 4
    context, target = split[:, :kept].sort().values, split[:, kept:].sort().values
    masked = torch.ones(2, grid.num_tokens, dtype=torch.bool).scatter(1, context, False)
    with torch.no_grad():
        inner = oracle.videomae(video.transpose(1, 2), masked).last_hidden_state
        logits = oracle(video.transpose(1, 2), masked).logits
        tokens = ours(video, context)
        torch.testing.assert_close(tokens, inner, rtol=0, atol=1e-5)
        torch.testing.assert_close(head(tokens, context, target, grid), logits, rtol=0, atol=1e-5)


def videomae_oracle(config: object) -> nn.Module:
    """A VideoMAE of transformers with random weights and the official epsilon in the decoder's norm, where the port has 1e-5."""
    oracle = transformers.VideoMAEForPreTraining._from_config(config, attn_implementation="eager").eval()
    oracle.decoder.norm.eps = 1e-6
    scramble(oracle)
    return oracle  # type: ignore[no-any-return]


# encoder width, depth, heads, MLP ratio; predictor width, depth, heads; frames, crop, patch
@pytest.mark.parametrize(
    ("encoder", "predictor", "clip"),
    [
        ((48, 2, 3, 4.0), (24, 1, 2), (4, 32, 8)),
        ((128, 2, 2, 3.0), (48, 2, 4), (8, 48, 16)),  # heads of 64: 20, 20, 20 and 4 not rotated
        ((60, 3, 6, 2.0), (96, 3, 3), (6, 40, 8)),
    ],
)
def test_vjepa2(
    encoder: tuple[int, int, int, float], predictor: tuple[int, int, int], clip: tuple[int, int, int]
) -> None:
    torch.manual_seed(sum(clip))
    frames, crop, patch = clip
    config = transformers.VJEPA2Config(
        crop_size=crop,
        patch_size=patch,
        frames_per_clip=frames,
        hidden_size=encoder[0],
        num_hidden_layers=encoder[1],
        num_attention_heads=encoder[2],
        mlp_ratio=encoder[3],
        pred_hidden_size=predictor[0],
        pred_num_hidden_layers=predictor[1],
        pred_num_attention_heads=predictor[2],
        pred_num_mask_tokens=3,
    )
    oracle = transformers.VJEPA2Model._from_config(config, attn_implementation="eager").eval()
    scramble(oracle)
    weights = vjepa2_weights(oracle.state_dict())
    ours = Encoder(
        width=encoder[0],
        depth=encoder[1],
        num_heads=encoder[2],
        mlp_ratio=encoder[3],
        num_frames=frames,
        height_pixels=crop,
        width_pixels=crop,
        patch=patch,
        **FAMILIES["jepa"],
    )
    latent = Predictor(
        encoder_width=encoder[0], width=predictor[0], depth=predictor[1], num_heads=predictor[2], num_mask_tokens=3
    )
    load(ours, part_of(weights, "encoder"))
    load(latent, part_of(weights, "predictor"))

    video = torch.randn(2, 3, frames, crop, crop)
    grid = ours.grid
    split = random_ids(2, grid.num_tokens, grid.num_tokens)
    context, target = split[:, : grid.num_tokens // 3], split[:, grid.num_tokens // 3 :]
    with torch.no_grad():
        reference = oracle(video.transpose(1, 2), context_mask=[context], target_mask=[target])
        tokens = ours(video)
        torch.testing.assert_close(tokens, reference.last_hidden_state, rtol=0, atol=1e-5)
        # the port encodes the whole clip and gathers afterwards, and always takes mask token 1
        predicted = latent(gather_tokens(tokens, context), context, target, grid, mask_index=1)
        torch.testing.assert_close(predicted, reference.predictor_output.last_hidden_state, rtol=0, atol=1e-5)
