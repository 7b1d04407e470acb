"""Official checkpoints are read as a whole, and what they become computes what transformers computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from surgrec.hub import vjepa, vjepa2, weights_file
from surgrec.hub.initial import _READERS
from surgrec.hub.keys import ForeignWeightsError
from surgrec.hub.pretrained import Pretrained
from surgrec.models.decoder import Decoder
from surgrec.models.embed import gather_tokens
from surgrec.models.predictor import Predictor
from surgrec.models.sizes import SIZES
from tests.hub import official_files as official
from tests.hub.official_layouts import CASE, GRID, LAYOUTS, make, read
from tests.models.oracle import clip_and_masks, oracle, videomae_config, vjepa2_config


@pytest.mark.parametrize("name", LAYOUTS)
def test_everything_is_filled_and_said(name: str, tmp_path: Path) -> None:
    file = make(name)
    found = read(file, tmp_path)
    assert not any(parameter.is_meta for parameter in found.encoder.parameters())
    num = len(found.encoder.state_dict())
    said = "\n".join(found.said)
    if "encoder and decoder" in said:
        assert isinstance(found.head, Decoder)
        num += len(found.head.state_dict())
    assert f"{file.family}: {num} of {num} weights of the" in said
    if "predictor" in file.parts:
        assert isinstance(found.head, Predictor)
        num = len(found.head.state_dict())
        assert f"{num} of {num} weights of the predictor filled" in said
    assert "no key dropped" in said or " dropped: " in said
    assert "heads" in said


def encoder_output(found: Pretrained, video: Tensor) -> Tensor:
    with torch.no_grad():
        return found.encoder(video)


def test_a_pretrained_videomae_computes_what_transformers_computes(tmp_path: Path) -> None:
    theirs = oracle("VideoMAEForPreTraining", videomae_config(CASE))
    weights = official.videomae_pretraining(theirs)
    path = official.mae_file(tmp_path / "w.pth", weights, clip=(4, 32))
    found = _READERS["videomae"](f"{path}@heads:3@head_heads:2")
    assert isinstance(found.head, Decoder)
    video, context, target, masked = clip_and_masks(CASE, GRID.num_tokens)
    with torch.no_grad():
        ours = found.head(found.encoder(video, context), context, target, found.encoder.grid)
        torch.testing.assert_close(ours, theirs(video.transpose(1, 2), masked).logits, rtol=0, atol=1e-5)


def test_a_finetuned_videomae_computes_what_transformers_computes(tmp_path: Path) -> None:
    theirs = oracle("VideoMAEModel", videomae_config(CASE, use_mean_pooling=True))
    path = official.mae_file(tmp_path / "w.pth", official.videomae_finetuned(theirs), "module")
    found = _READERS["videomae"](f"{path}@heads:3@frames:4@crop:32")
    assert not found.encoder.has_final_norm and found.head is None
    assert any("4 keys dropped: 4 of the classifier" in line for line in found.said)
    video = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        expected = theirs(video.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(encoder_output(found, video), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_mask_tokens", [1, 2, 10])
def test_a_vjepa2_computes_what_transformers_computes(num_mask_tokens: int, tmp_path: Path) -> None:
    theirs = oracle("VJEPA2Model", vjepa2_config(CASE, pred_num_mask_tokens=num_mask_tokens))
    encoder, predictor = official.vjepa2_parts(theirs)
    path = official.jepa_file(tmp_path / "w.pt", encoder, predictor, target=encoder)
    found = _READERS["vjepa2"](f"{path}@heads:3@head_heads:2")
    assert isinstance(found.head, Predictor) and len(found.head.mask_tokens) == num_mask_tokens
    video, context, target, _ = clip_and_masks(CASE, GRID.num_tokens)
    with torch.no_grad():
        expected = theirs(video.transpose(1, 2), context_mask=[context], target_mask=[target])
        tokens = found.encoder(video)
        torch.testing.assert_close(tokens, expected.last_hidden_state, rtol=0, atol=1e-5)
        number = 1 % num_mask_tokens  # transformers takes number 1
        ours = found.head(gather_tokens(tokens, context), context, target, GRID, mask_index=number)
        torch.testing.assert_close(ours, expected.predictor_output.last_hidden_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["vjepa", "vjepa2", "vjepa2.1", "surgrec-jepa"])
def test_which_encoder_is_taken_is_a_choice_and_said(name: str, tmp_path: Path) -> None:
    file = make(name)
    first = "encoder" if name == "surgrec-jepa" else "target_encoder"
    file.parts["encoder"] = dict(file.parts["encoder"])
    file.parts["encoder"]["patch_embed.proj.bias"] = torch.full_like(
        file.parts["encoder"]["patch_embed.proj.bias"], 3.0
    )
    path = file.write(tmp_path / "w.pt", file.parts)
    for wanted, option in ((first, ""), ("encoder", "@take:encoder"), ("target_encoder", "@take:target_encoder")):
        found = _READERS[name](f"{path}{file.options}{option}")
        assert torch.equal(found.encoder.embed.proj.bias, file.parts[wanted]["patch_embed.proj.bias"])
        how = "as you said" if option else "the default of this family"
        assert f"the encoder is {wanted}, {how}; not read: " in found.said[0] and "opt, scaler" in found.said[0]
    with pytest.raises(ForeignWeightsError, match="no weights under teacher"):
        _READERS[name](f"{path}{file.options}@take:teacher")


@pytest.mark.parametrize("name", ["vjepa", "vjepa2", "vjepa2.1"])
def test_an_encoder_alone_in_safetensors_is_read_too(name: str, tmp_path: Path) -> None:
    file = make(name)
    weights = file.parts["target_encoder"]
    save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / "w.safetensors")
    found = _READERS[name](f"{tmp_path / 'w.safetensors'}{file.options}")
    assert torch.equal(found.encoder.embed.proj.bias, weights["patch_embed.proj.bias"]) and found.head is None
    assert (
        found.said[0] == f"{name}: the file holds one encoder"
        and found.said[-1] == f"{name}: the file has no predictor"
    )
    with pytest.raises(ForeignWeightsError, match="holds one encoder without a name; leave out @take:opt"):
        _READERS[name](f"{tmp_path / 'w.safetensors'}{file.options}@take:opt")


def test_vjepa_1_lands_where_it_should(tmp_path: Path) -> None:
    """transformers has no version 1, so weights are followed one by one; the blocks are those of version 2."""
    file = make("vjepa")
    found = read(file, tmp_path)
    encoder, predictor = file.parts["target_encoder"], file.parts["predictor"]
    ours = found.encoder.state_dict()
    assert torch.equal(ours["embed.proj.weight"], encoder["patch_embed.proj.weight"].flatten(1))
    for key in ("attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "mlp.fc2.bias", "norm2.weight"):
        assert torch.equal(ours[f"blocks.1.{key.replace('attn', 'attention')}"], encoder[f"blocks.1.{key}"])
    assert found.encoder.positions == "sincos_3d" and found.encoder.grid == GRID
    assert found.head is not None
    head = found.head.state_dict()
    assert torch.equal(head["mask_tokens"][0], predictor["mask_tokens.0"]) and head["mask_tokens"].shape == (
        2,
        1,
        1,
        24,
    )
    assert torch.equal(head["proj.weight"], predictor["predictor_proj.weight"])
    assert found.head.blocks[0].attention.num_heads == 2


@pytest.mark.parametrize("is_distilled", [False, True])
def test_vjepa_21_lands_where_it_should(is_distilled: bool, tmp_path: Path) -> None:
    encoder, predictor = official.vjepa21_parts(is_distilled=is_distilled)
    path = official.jepa_file(tmp_path / "w.pt", encoder, predictor)
    if is_distilled:
        content = torch.load(path, weights_only=True)
        content["ema_encoder"] = content.pop("target_encoder")
        torch.save(content, path)
    found = _READERS["vjepa2.1"](f"{path}@heads:2@head_heads:2")
    assert f"the encoder is {'ema' if is_distilled else 'target'}_encoder" in found.said[0]
    assert any("3 keys dropped: 3 of still pictures" in line for line in found.said)
    ours = found.encoder.state_dict()
    assert torch.equal(ours["modality"], encoder["video_mod_embed"].flatten())
    assert torch.equal(ours["norm.weight"], encoder["norms_block.3.weight"] + 1)  # the target's, see jepa_file
    assert torch.equal(ours["level_norms.1.bias"], encoder["norms_block.1.bias"] + 1)
    assert found.encoder.levels == (2, 5, 8, 11) and found.encoder.rope_style == "interleaved"
    assert isinstance(found.head, Predictor)
    assert found.head.out_width == (40 if is_distilled else 96)
    assert found.head.num_levels == (1 if is_distilled else 4)
    head = found.head.state_dict()
    assert torch.equal(head["modality"], predictor["video_mod_embed"].flatten())
    assert torch.equal(head["proj_context.bias"], predictor["predictor_proj_context.bias"])
    assert len(head["mask_tokens"]) == 8
    video = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        levels = found.encoder(video, all_levels=True)
        tokens = levels if not is_distilled else found.encoder(video)
        ids = torch.arange(32)[None]
        assert found.head(tokens[:, :10], ids[:, :10], ids[:, 10:], GRID).shape == (1, 22, found.head.out_width)


def test_weights_in_half_precision_become_float32(tmp_path: Path) -> None:
    file = make("vjepa2")
    half: dict[str, Any] = {
        part: {key: value.bfloat16() for key, value in weights.items()} for part, weights in file.parts.items()
    }
    found = read(file._replace(parts=half), tmp_path)
    assert {parameter.dtype for parameter in found.encoder.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("size", "num_heads", "num_keys"), [("base", 12, 148), ("large", 16, 292), ("huge", 16, 388), ("giant", 22, 484)]
)
def test_published_sizes_of_vjepa2_are_those_of_the_table(
    size: str, num_heads: int, num_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shapes only: the weights are on the meta device, so that the giant costs nothing."""
    row = SIZES[size]
    hidden = round(row.width * row.mlp_ratio)
    with torch.device("meta"):
        encoder = {
            "patch_embed.proj.weight": torch.empty(row.width, 3, 2, 16, 16),
            "patch_embed.proj.bias": torch.empty(row.width),
            **official.random_blocks("blocks", row.depth, row.width, hidden),
            "norm.weight": torch.empty(row.width),
            "norm.bias": torch.empty(row.width),
        }
        predictor = {
            **{f"mask_tokens.{number}": torch.empty(1, 1, 384) for number in range(10)},
            "predictor_embed.weight": torch.empty(384, row.width),
            "predictor_embed.bias": torch.empty(384),
            **official.random_blocks("predictor_blocks", 12, 384, 1536),
            "predictor_norm.weight": torch.empty(384),
            "predictor_norm.bias": torch.empty(384),
            "predictor_proj.weight": torch.empty(row.width, 384),
            "predictor_proj.bias": torch.empty(row.width),
        }
    content = {"target_encoder": official.wrapped(encoder), "predictor": official.wrapped(predictor)}
    monkeypatch.setattr(vjepa2, "read_weights_file", lambda path: content)
    for module in (weights_file, vjepa):  # which refuses weights without values
        monkeypatch.setattr(module, "sound", lambda weights, where: dict(weights))
    found = vjepa2.read_vjepa2("vit.pt")
    assert f"vjepa2: {num_keys} of {num_keys} weights of the encoder filled; no key dropped" in found.said
    ours = found.encoder
    assert (ours.width, ours.depth, ours.num_heads, ours.mlp_ratio) == (row.width, row.depth, num_heads, row.mlp_ratio)
    assert isinstance(found.head, Predictor) and found.head.num_heads == 12 and len(found.head.mask_tokens) == 10
