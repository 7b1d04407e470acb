"""Laws of the encoder: what it may look at, that order is free, and that runtime options change speed, never results."""

from __future__ import annotations

import copy
import json
import socket

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from surgrec.core.grid import GeometryError, TokenGrid
from surgrec.models import attention
from surgrec.models.embed import gather_tokens
from surgrec.models.encoder import Encoder, spread_levels
from surgrec.models.errors import ModelError
from surgrec.models.positions import sincos_table
from tests.models.build import CLIP, FAMILIES, VJEPA21, random_ids, small_encoder

both_families = pytest.mark.parametrize("family", list(FAMILIES))


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    torch.manual_seed(0)


def videos(batch: int = 2) -> Tensor:
    return torch.randn(batch, *CLIP)


def close(actual: object, expected: object, atol: float = 5e-6) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


@both_families
def test_all_ids_in_order_are_no_ids(family: str) -> None:
    encoder, video = small_encoder(family), videos()
    assert encoder.grid == encoder.grid_of(video) == TokenGrid(2, 4, 6)
    tokens = encoder(video)
    assert tokens.shape == (2, 48, 48)
    close(encoder(video, torch.arange(48).expand(2, -1)), tokens)


@both_families
def test_order_of_tokens_is_free(family: str) -> None:
    encoder, video, ids = small_encoder(family), videos(), random_ids(2, 48, 20)
    order = torch.randperm(20)
    close(encoder(video, ids[:, order]), encoder(video, ids)[:, order])


@both_families
def test_masked_encoding_is_full_encoding_with_attention_among_the_kept(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, video, ids = small_encoder(family, depth=3), videos(), random_ids(2, 48, 15)
    masked = encoder(video, ids)
    hidden = torch.ones(2, 1, 1, 48, dtype=torch.bool).scatter(3, ids[:, None, None], False)

    def attend_among_kept(q: Tensor, k: Tensor, v: Tensor, backend: str) -> Tensor:
        scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).masked_fill(hidden, float("-inf"))
        return scores.softmax(-1) @ v

    monkeypatch.setattr(attention, "attend", attend_among_kept)
    close(masked, gather_tokens(encoder(video), ids))


@both_families
def test_pixels_outside_the_kept_tokens_are_not_seen(family: str) -> None:
    encoder, video = small_encoder(family), videos()
    ids = torch.tensor([[0, 5, 30], [47, 2, 8]])
    other = torch.full_like(video, float("nan"))
    for sample, kept in enumerate(ids.tolist()):
        for n in kept:
            t, h, w = n // 24, n // 6 % 4, n % 6
            place = (sample, slice(None), slice(2 * t, 2 * t + 2), slice(8 * h, 8 * h + 8), slice(8 * w, 8 * w + 8))
            other[place] = video[place]
    assert torch.equal(encoder(other, ids), encoder(video, ids))


def test_rope_positions_come_from_the_grid_of_the_video() -> None:
    encoder, large = small_encoder("jepa"), torch.randn(1, 3, 6, 48, 64)
    small = large[:, :, :4, :32, :48]  # the corner of it at the origin, where the positions agree
    t, h, w = torch.meshgrid(torch.arange(2), torch.arange(4), torch.arange(6), indexing="ij")
    corner = ((t * 6 + h) * 8 + w).flatten()[None]
    close(encoder(large, corner), encoder(small))


def test_sincos_positions_count_tokens_of_the_grid_of_the_video() -> None:
    encoder, video = small_encoder("mae", depth=0), torch.zeros(1, 3, 8, 16, 24)  # positions pass nothing but the norm
    table = sincos_table(4 * 2 * 3, 48)
    close(encoder(video), encoder.norm(encoder.embed.proj.bias + table)[None])


@both_families
def test_backends_agree(family: str) -> None:
    encoder, video = small_encoder(family), videos()
    reference = small_encoder(family, attention_backend="math")
    reference.load_state_dict(encoder.state_dict())
    close(encoder(video), reference(video))


@both_families
def test_checkpointing_gives_the_same_gradients(family: str) -> None:
    encoder, video, ids = small_encoder(family), videos(), random_ids(2, 48, 20)
    saving = small_encoder(family, activation_checkpointing="full")
    saving.load_state_dict(encoder.state_dict())
    for model in (encoder, saving):
        model(video, ids).square().mean().backward()
    for (name, a), (_, b) in zip(encoder.named_parameters(), saving.named_parameters(), strict=True):
        assert a.grad is not None and b.grad is not None, name
        assert torch.equal(a.grad, b.grad), name


@both_families
def test_bfloat16_autocast_is_close(family: str) -> None:
    encoder, video, ids = small_encoder(family), videos(), random_ids(2, 48, 20)
    exact = encoder(video, ids)
    stream: list[torch.dtype] = []
    encoder.blocks[1].register_forward_pre_hook(lambda _, inputs: stream.append(inputs[0].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(video, ids)
    assert stream == [torch.float32]  # the residual stream is not rounded
    assert torch.nn.functional.cosine_similarity(exact, rough.float(), dim=-1).min() > 0.999
    half = copy.deepcopy(encoder).bfloat16()(video, ids)
    assert half.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(exact, half.float(), dim=-1).min() > 0.999


@pytest.mark.slow
@both_families
def test_compiles_to_one_graph_without_recompiling(family: str) -> None:
    encoder, video = small_encoder(family, depth=1), videos()
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(encoder, backend=counter, fullgraph=True)
    for _ in range(3):
        ids = random_ids(2, 48, 20)
        close(compiled(video, ids), encoder(video, ids))
    assert counter.frame_count == 1
    # other sizes get a graph of their own
    close(compiled(torch.randn(1, 3, 6, 48, 64)).shape, torch.Size((1, 144, 48)))
    torch._dynamo.reset()


@both_families
def test_sharded_blocks_give_the_same_gradients(family: str) -> None:
    from torch.distributed.fsdp import fully_shard

    encoder = small_encoder(family, activation_checkpointing="full")
    sharded, video, ids = copy.deepcopy(encoder), videos(), random_ids(2, 48, 20)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    try:
        mesh = dist.init_device_mesh("cpu", (1,))
        for block in sharded.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(sharded, mesh=mesh)
        for model in (encoder, sharded):
            model(video, ids).square().mean().backward()
        for a, b in zip(encoder.parameters(), sharded.parameters(), strict=True):
            close(b.grad.full_tensor(), a.grad)  # type: ignore[union-attr]
    finally:
        dist.destroy_process_group()


@both_families
def test_architecture_and_weights_rebuild_the_encoder(family: str) -> None:
    encoder, video = small_encoder(family, rope_style="interleaved"), videos()
    again = Encoder(**encoder.architecture)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(video), encoder(video))
    assert not list(encoder.buffers())  # positions are not weights


@both_families
def test_can_be_built_without_memory_and_filled_later(family: str) -> None:
    arguments = small_encoder(family).architecture
    with torch.device("meta"):
        encoder = Encoder(**arguments)
    filled = encoder.to_empty(device="cpu"), Encoder(**arguments)
    for model in filled:
        torch.manual_seed(3)
        model.init_weights()
    for a, b in zip(*(model.parameters() for model in filled), strict=True):
        assert torch.equal(a, b)


def test_levels_are_the_normed_outputs_of_their_blocks() -> None:
    encoder, video, ids = small_encoder("jepa", depth=4, levels=[1, 2, 3], **VJEPA21), videos(), random_ids(2, 48, 20)
    outputs: list[Tensor] = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda _, inputs, out: outputs.append(out))
    tokens = encoder(video, ids, all_levels=True)
    norms = [*encoder.level_norms, encoder.norm]
    assert tokens.shape == (2, 20, 3 * 48)
    close(tokens, torch.cat([norm(outputs[level]) for norm, level in zip(norms, (1, 2, 3), strict=True)], -1), 0)
    close(encoder(video, ids), tokens[..., -48:], 0)
    tokens.square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_the_published_levels() -> None:
    """V-JEPA 2.1's B, L and g; its G (11, 23, 37, 47 of 48) is not evenly spread and must be written out."""
    assert spread_levels(12, 4) == (2, 5, 8, 11) and spread_levels(24, 4) == (5, 11, 17, 23)
    assert spread_levels(40, 4) == (9, 19, 29, 39)
    with pytest.raises(ModelError, match="3 blocks has no 4 levels"):
        spread_levels(3, 4)


def test_a_modality_embedding_is_added_to_every_token_before_the_first_block() -> None:
    encoder, video = small_encoder("jepa", depth=1, **VJEPA21), videos()
    assert encoder.modality is not None and encoder.modality.shape == (48,)
    with_embedding = encoder(video)
    with torch.no_grad():
        encoder.embed.proj.bias += encoder.modality
        encoder.modality.zero_()
    close(encoder(video), with_embedding)


def test_without_the_options_the_weights_are_those_without_them() -> None:
    encoders = []
    for options in ({}, {"levels": [0, 1], **VJEPA21}):
        torch.manual_seed(1)
        encoder = small_encoder("jepa")
        encoder = Encoder(**(encoder.architecture | options))
        torch.manual_seed(2)
        encoder.init_weights()
        encoders.append(encoder.state_dict())
    plain, full = encoders
    assert full.keys() - plain.keys() == {"modality", "level_norms.0.weight", "level_norms.0.bias"}
    assert all(torch.equal(weight, full[name]) for name, weight in plain.items())


def test_the_architecture_of_vjepa21_rebuilds_it() -> None:
    encoder, video = small_encoder("jepa", levels=(0, 1), **VJEPA21), torch.randn(2, 3, 4, 64, 48)
    again = Encoder(**encoder.architecture)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again(video, all_levels=True), encoder(video, all_levels=True))
    tiled = Encoder(**(encoder.architecture | {"rope_grid": None}))
    tiled.load_state_dict(encoder.state_dict())
    assert (tiled(video) - encoder(video)).abs().max() > 1e-3


def test_what_cannot_be_built_is_refused() -> None:
    for levels in ([0], [1, 0], [1, 1], [-1, 1], [0, 2]):
        with pytest.raises(ModelError, match="do not ascend"):
            small_encoder("jepa", levels=levels)
    with pytest.raises(ModelError, match="rotary positions"):
        small_encoder("mae", rope_grid=16)
    with pytest.raises(ModelError, match="without levels"):
        small_encoder("jepa")(videos(), all_levels=True)
    with pytest.raises(GeometryError, match="height 36"):
        small_encoder("mae", height_pixels=36)
    with pytest.raises(ModelError, match="positions"):
        small_encoder("mae", positions="learned")
    with pytest.raises(ModelError, match="initialisation"):
        small_encoder("mae", init="zeros")
    with pytest.raises(ModelError, match="even number"):
        small_encoder("jepa", num_heads=12)
    with pytest.raises(GeometryError, match="frames 3"):
        small_encoder("mae")(torch.zeros(1, 3, 3, 32, 48))


def test_norms_and_position_grid_are_part_of_the_architecture() -> None:
    encoder = small_encoder("mae", norm_eps=1e-3, has_final_norm=False, position_grid=[1, 2, 2])
    assert not any(key.startswith("norm.") for key in encoder.state_dict())
    again = Encoder(**json.loads(json.dumps(encoder.architecture)))  # as a release keeps it
    assert again.architecture == encoder.architecture and again.position_grid == (1, 2, 2)
    again.load_state_dict(encoder.state_dict())
    video = torch.randn(1, *CLIP)
    assert torch.equal(again(video), encoder(video))
    for change in ({"norm_eps": 1e-6}, {"position_grid": None}):
        other = Encoder(**(encoder.architecture | change))
        other.load_state_dict(encoder.state_dict())
        assert (other(video) - encoder(video)).abs().max() > 1e-4
    with_norm = Encoder(**(encoder.architecture | {"has_final_norm": True}))
    with_norm.load_state_dict(encoder.state_dict(), strict=False)
    torch.testing.assert_close(with_norm(video), with_norm.norm(encoder(video)))


def test_the_mlp_ratio_is_that_of_the_rounded_width() -> None:
    encoder = small_encoder("mae", mlp_ratio=2.7)
    assert encoder.mlp_ratio == 130 / 48 and len(encoder.blocks[0].mlp.fc1.weight) == 130
    assert Encoder(**encoder.architecture).architecture == encoder.architecture
