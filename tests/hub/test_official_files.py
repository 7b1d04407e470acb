"""Official checkpoints are read as a whole or not at all, and what they become computes what transformers computes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from surgrec.core.grid import TokenGrid
from surgrec.hub import pretrained, videomae, vjepa, vjepa2, vjepa21, weights_file
from surgrec.hub.initial import _READERS
from surgrec.hub.keys import ForeignWeightsError
from surgrec.hub.pretrained import Pretrained, Source, heads_of
from surgrec.hub.vjepa2 import HEADS
from surgrec.models.decoder import Decoder
from surgrec.models.embed import gather_tokens
from surgrec.models.predictor import Predictor
from surgrec.models.sizes import SIZES
from tests.hub import official_files as official
from tests.hub.official_files import Weights
from tests.models.oracle import Case, clip_and_masks, oracle, videomae_config, vjepa2_config

CASE = Case((48, 2, 3, 4.0), (24, 1, 2, 4.0), (4, 32, 32, 2, 8))
GRID = TokenGrid(2, 4, 4)


class Official(NamedTuple):
    """A family, its file's weights by the name they stand under, what to say after the path, keys that are drops."""

    family: str
    parts: dict[str, Weights]
    write: Callable[[Path, dict[str, Weights]], Path]
    options: str
    drops: tuple[str, ...]


def _mae(key: str, clip: tuple[int, int] | None = (4, 32)) -> Callable[[Path, dict[str, Weights]], Path]:
    return lambda path, parts: official.mae_file(path, parts[key], key, clip)


def _jepa(path: Path, parts: dict[str, Weights]) -> Path:
    return official.jepa_file(path, parts["encoder"], parts["predictor"], parts.get("target_encoder"))


def make(name: str, depth_of_21: int = 12) -> Official:
    """A small file of every layout; the part that a reader takes by default comes first. Of V-JEPA 2.1 no depth under 12 was published."""
    torch.manual_seed(7)
    match name:
        case "videomae, pretrained" | "surgrec-mae":
            weights = official.videomae_pretraining(oracle("VideoMAEForPreTraining", videomae_config(CASE)))
            family = name.split(",")[0]
            return Official(family, {"model": weights}, _mae("model"), "@heads:3@head_heads:2", ())
        case "videomae, fine-tuned under module" | "videomae, fine-tuned under model":
            key = name.split()[-1]
            weights = official.videomae_finetuned(oracle("VideoMAEModel", videomae_config(CASE, use_mean_pooling=True)))
            drops = ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")
            return Official("videomae", {key: weights}, _mae(key, None), "@heads:3@frames:4@crop:32", drops)
        case "vjepa2":
            encoder, predictor = official.vjepa2_parts(oracle("VJEPA2Model", vjepa2_config(CASE)))
            stray, narrow = torch.randn(1, 32, 48), torch.randn(1, 32, 24)
            parts = {
                "target_encoder": encoder | {"pos_embed": stray},
                "predictor": predictor | {"predictor_pos_embed": narrow},
            }
            parts["encoder"] = dict(parts["target_encoder"])
            return Official("vjepa2", parts, _jepa, "@heads:3@head_heads:2", ("pos_embed", "predictor_pos_embed"))
        case "vjepa" | "surgrec-jepa":
            encoder, predictor = official.vjepa1_parts(GRID)
            taken, other = ("target_encoder", "encoder") if name == "vjepa" else ("encoder", "target_encoder")
            moved = {key: value if key == "pos_embed" else value + 1 for key, value in encoder.items()}
            parts = {taken: encoder, "predictor": predictor, other: moved}
            return Official(name, parts, _jepa, "@heads:2@head_heads:2@frames:4", ())
        case "vjepa2.1":
            encoder, predictor = official.vjepa21_parts(depth=depth_of_21)
            parts = {"target_encoder": encoder, "predictor": predictor, "encoder": encoder}
            drops = ("patch_embed_img.proj.weight", "patch_embed_img.proj.bias", "img_mod_embed")
            return Official("vjepa2.1", parts, _jepa, "@heads:2@head_heads:2", drops)
    raise AssertionError(name)


LAYOUTS = [
    "videomae, pretrained",
    "videomae, fine-tuned under module",
    "videomae, fine-tuned under model",
    "surgrec-mae",
    "vjepa",
    "surgrec-jepa",
    "vjepa2",
    "vjepa2.1",
]


def read(file: Official, path: Path) -> Pretrained:
    return _READERS[file.family](f"{file.write(path / 'w.pth', file.parts)}{file.options}")


# -- whole files


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


# -- files that are not whole


@pytest.fixture
def without_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are handed over as what they hold, and V-JEPA 2.1 may be 4 deep: what is tested is in neither, and both take time."""
    held: dict[Path, Any] = {}
    monkeypatch.setattr(torch, "save", lambda content, path: held.update({path: content}))
    for module in (videomae, vjepa, vjepa2, vjepa21):
        monkeypatch.setattr(module, "read_weights_file", lambda path: held[path])
    monkeypatch.setitem(vjepa21.LEVELS, 4, (0, 1, 2, 3))


def damage(weights: Weights, kind: str, key: str) -> None:
    match kind:
        case "missing":
            del weights[key]
        case "renamed":
            weights[f"{key}_"] = weights.pop(key)
        case "wrong shape":
            weights[key] = torch.cat([weights[key], weights[key]])
        case "extra":
            weights[f"{key}.extra"] = torch.zeros(1)


@pytest.mark.parametrize("kind", ["missing", "renamed", "wrong shape", "extra"])
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.usefixtures("without_disk")
def test_one_key_that_does_not_fit_refuses_the_file_by_name(name: str, kind: str, tmp_path: Path) -> None:
    file = make(name, depth_of_21=4)
    for part, weights in parts_that_are_read(file):
        in_blocks = [key for key in weights if "blocks." in key]
        around = [
            key for key in weights if "blocks." not in key and key.endswith("proj.bias") and key not in file.drops
        ]
        for key in (in_blocks[3], around[-1]):
            broken = file._replace(parts=file.parts | {part: dict(weights)})
            damage(broken.parts[part], kind, key)
            with pytest.raises(ForeignWeightsError) as caught:
                read(broken, tmp_path)
            sentence = str(caught.value)
            wanted = {"renamed": f"{key}_", "extra": f"{key}.extra"}.get(kind, key)
            assert key in sentence and wanted in sentence and "w.pth" in sentence and "\n" not in sentence, sentence


@pytest.mark.parametrize("name", [name for name in LAYOUTS if not name.startswith("surgrec")])  # the same readers
@pytest.mark.usefixtures("without_disk")
def test_no_key_can_go_missing(name: str, tmp_path: Path) -> None:
    """Each and every one, but for the listed drops, and for the last of the mask tokens, whose number is the file's own."""
    file = make(name, depth_of_21=4)
    for part, weights in parts_that_are_read(file):
        last = f"mask_tokens.{sum(key.startswith('mask_tokens.') for key in weights) - 1}"
        for key in [key for key in weights if key not in (*file.drops, last) and not re.search(r"blocks\.[1-9]", key)]:
            broken = file._replace(parts=file.parts | {part: {k: v for k, v in weights.items() if k != key}})
            with pytest.raises(ForeignWeightsError, match=key.replace(".", r"\.")):
                read(broken, tmp_path)


def parts_that_are_read(file: Official) -> list[tuple[str, Weights]]:
    """The encoder that is taken by default, and the predictor."""
    return list(file.parts.items())[:2]


@pytest.mark.parametrize("name", ["videomae, pretrained", "vjepa2"])
def test_an_absurd_number_of_blocks_builds_nothing(name: str, tmp_path: Path) -> None:
    file = make(name)
    for _, weights in parts_that_are_read(file):
        key = next(key for key in weights if "blocks.0.norm1.bias" in key)
        weights[key.replace("blocks.0", "blocks.999999999")] = weights[key]
        with pytest.raises(ForeignWeightsError, match=r"blocks\.999999999\.norm1\.bias|which is no published size"):
            read(file, tmp_path)
        del weights[key.replace("blocks.0", "blocks.999999999")]


BAD: dict[str, tuple[Tensor, str]] = {
    "meta": (torch.empty(3, device="meta"), "without values"),
    "sparse": (torch.eye(3).to_sparse(), "in another form"),
    "not finite": (torch.full((3,), float("nan")), "not finite"),
    "expanded": (torch.zeros(()).expand(10**6, 10**6), "expanded from 4 bytes"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(
    "name", ["videomae, pretrained", "videomae, fine-tuned under module", "vjepa", "vjepa2", "vjepa2.1"]
)
@pytest.mark.usefixtures("without_disk")
def test_no_reader_meets_a_tensor_that_is_no_weight(name: str, kind: str, tmp_path: Path) -> None:
    """In every part that is read, by its key, and before anything of that size is made."""
    file = make(name, depth_of_21=4)
    tensor, sentence = BAD[kind]
    for part, weights in parts_that_are_read(file):
        key = next(key for key in weights if key.endswith("mlp.fc1.weight"))
        with pytest.raises(ForeignWeightsError, match=rf"{re.escape(key)} .*{sentence}"):
            read(file._replace(parts=file.parts | {part: weights | {key: tensor}}), tmp_path)


@pytest.mark.parametrize(
    ("name", "part", "key"),
    [
        ("videomae, pretrained", "model", "encoder.blocks.0.mlp.fc1.weight"),
        ("videomae, pretrained", "model", "encoder_to_decoder.weight"),
        ("videomae, pretrained", "model", "decoder.blocks.0.mlp.fc1.weight"),
        ("vjepa", "target_encoder", "pos_embed"),
        ("vjepa2", "target_encoder", "blocks.0.mlp.fc1.weight"),
        ("vjepa2", "predictor", "predictor_norm.weight"),
        ("vjepa2", "predictor", "predictor_blocks.0.mlp.fc1.weight"),
        ("vjepa2.1", "predictor", "predictor_embed.0.weight"),
        ("vjepa2.1", "predictor", "predictor_proj.weight"),
    ],
)
@pytest.mark.usefixtures("without_disk")
def test_keys_that_give_shapes_are_named_whatever_their_shape(name: str, part: str, key: str, tmp_path: Path) -> None:
    file = make(name, depth_of_21=4)
    own = file.parts[part]
    for tensor in (torch.tensor(1.0), own[key][None], own[key][:0], torch.ones(2, 3, 4, 5)):
        with pytest.raises(ForeignWeightsError, match=rf"{re.escape(key)} of shape"):
            read(file._replace(parts=file.parts | {part: own | {key: tensor}}), tmp_path)


@pytest.mark.parametrize("shape", [(0, 3, 2, 8, 8), (48,), ()])
def test_a_patch_embedding_of_another_shape_is_named(shape: tuple[int, ...], tmp_path: Path) -> None:
    file = make("vjepa2")
    file.parts["target_encoder"]["patch_embed.proj.weight"] = torch.zeros(shape)
    with pytest.raises(ForeignWeightsError, match=r"misfit module\.backbone\.patch_embed\.proj\.weight of shape"):
        read(file, tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_of_another_family_is_refused(name: str, tmp_path: Path) -> None:
    file = make(name)
    path = file.write(tmp_path / "w.pth", file.parts)
    alike = ({"videomae", "surgrec-mae"}, {"vjepa", "surgrec-jepa"})
    for family, reader in _READERS.items():
        if family in (file.family, "surgrec") or {family, file.family} in alike:
            continue
        options = "@heads:2" if "mae" in family else "@heads:2@head_heads:2"
        with pytest.raises(ForeignWeightsError):
            reader(f"{path}{options}")


# -- published sizes


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


# -- positions, heads, options


def test_other_positions_than_ours_are_refused(tmp_path: Path) -> None:
    file = make("vjepa")
    table = file.parts["target_encoder"]["pos_embed"]
    file.parts["target_encoder"]["pos_embed"] = table + 1e-3
    with pytest.raises(
        ForeignWeightsError, match=r"pos_embed with other values than sincos_3d positions of 2 x 4 x 4 tokens"
    ):
        read(file, tmp_path)
    file.parts["target_encoder"]["pos_embed"] = table[:, :-3]
    with pytest.raises(ForeignWeightsError, match="pos_embed with 29 positions, which are no square clip of 4 frames"):
        read(file, tmp_path)


def test_the_clip_of_a_videomae_is_in_its_options_or_as_published_or_said(tmp_path: Path) -> None:
    weights = make("videomae, pretrained").parts["model"]
    heads = "@heads:3@head_heads:2"
    read_mae = _READERS["videomae"]
    found = read_mae(f"{official.mae_file(tmp_path / 'a.pth', weights, clip=(4, 32))}{heads}")
    assert found.encoder.grid == GRID and "as the options in the file say" in found.said[-1]
    bare = official.mae_file(tmp_path / "b.pth", weights)
    assert read_mae(f"{bare}{heads}").encoder.grid == TokenGrid(8, 28, 28)
    assert "16 frames of 224 x 224 pixels, as published" in read_mae(f"{bare}{heads}").said[-1]
    found = read_mae(f"{bare}{heads}@frames:4@crop:32")
    assert found.encoder.grid == GRID and "as you said" in found.said[-1]


def test_options_that_are_a_dictionary_are_read_as_a_namespace_is(tmp_path: Path) -> None:
    weights = make("videomae, pretrained").parts["model"]
    torch.save({"model": weights, "args": {"num_frames": 4, "input_size": 32, "lr": 1e-3}}, tmp_path / "w.pth")
    found = _READERS["videomae"](f"{tmp_path / 'w.pth'}@heads:3@head_heads:2")
    assert found.encoder.grid == GRID and "as the options in the file say" in found.said[-1]


@pytest.mark.parametrize("name", ["videomae, pretrained", "vjepa", "vjepa2", "vjepa2.1"])
def test_a_clip_that_no_memory_could_hold_is_a_mistake(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before anything is built for it."""
    file = make(name)
    monkeypatch.setattr(pretrained, "added_table", lambda *args: pytest.fail("positions were made"))
    path = f"{file.write(tmp_path / 'w.pth', file.parts)}{file.options.replace('@frames:4', '')}"
    with pytest.raises(ForeignWeightsError, match="100000 frames of 8000 x 8000 pixels has 50000000000 tokens"):
        _READERS[name.split(",")[0]](f"{path}@frames:100000@crop:8000")


def test_the_longest_published_clip_is_none(tmp_path: Path) -> None:
    file = make("vjepa2")
    path = f"{file.write(tmp_path / 'w.pth', file.parts)}{file.options}"
    assert _READERS["vjepa2"](f"{path}@frames:64@crop:384").encoder.grid == TokenGrid(32, 48, 48)


# -- predictors


@pytest.mark.parametrize("name", ["vjepa", "vjepa2", "vjepa2.1"])
@pytest.mark.parametrize("kind", ["missing", "none", "misspelt", "broken"])
def test_a_training_state_without_a_whole_predictor_is_refused_unless_it_is_left_out(
    name: str, kind: str, tmp_path: Path
) -> None:
    file = make(name)
    content = torch.load(file.write(tmp_path / "w.pth", file.parts), weights_only=True)
    part, said = content.pop("predictor"), "has no weights under predictor"
    if kind == "none":
        content["predictor"] = None
    elif kind == "misspelt":
        content["predicter"], said = part, "has no weights under predictor, but what looks like one under predicter"
    elif kind == "broken":
        del part["module.backbone.predictor_norm.weight"]
        content["predictor"], said = part, r"lacks module\.backbone\.predictor_norm\.weight"
    torch.save(content, tmp_path / "w.pth")
    source = f"{tmp_path / 'w.pth'}{file.options}"
    with pytest.raises(ForeignWeightsError, match=said):
        _READERS[name](source)
    found = _READERS[name](f"{source}@head:none")
    assert found.head is None and found.said[-1] == f"{name}: no predictor was read, as you said"
    with pytest.raises(ForeignWeightsError, match="@head:some is not known; write @head:none"):
        _READERS[name](f"{source}@head:some")


@pytest.mark.parametrize("name", ["vjepa", "vjepa2", "vjepa2.1"])
def test_a_predictor_that_lost_its_last_blocks_is_of_no_published_size(name: str, tmp_path: Path) -> None:
    """No key says how many there were."""
    file = make(name)
    path = f"{file.write(tmp_path / 'w.pth', file.parts)}{file.options.replace('@head_heads:2', '')}"
    with pytest.raises(
        ForeignWeightsError, match=r"predictor\) is 24 wide .* no published size \(384 x 12.*@head_heads:12"
    ):
        _READERS[name](path)


# -- version 1 under the name of version 2


def test_version_1_named_as_version_2_is_refused_unless_insisted_on(tmp_path: Path) -> None:
    encoder, predictor = official.vjepa1_parts(GRID)
    path = official.jepa_file(tmp_path / "w.pt", encoder, predictor, encoder)
    source = f"{path}@heads:2@head_heads:2"
    sentence = (
        r"pos_embed the positions that V-JEPA 1 adds, of 2 x 4 x 4 tokens; read it as vjepa:, or write @positions:rope"
    )
    with pytest.raises(ForeignWeightsError, match=sentence):
        _READERS["vjepa2"](source)
    with pytest.raises(ForeignWeightsError, match=sentence):
        _READERS["vjepa2"](f"{source}@head:none")
    assert any("stray position table" in line for line in _READERS["vjepa2"](f"{source}@positions:rope").said)
    with pytest.raises(ForeignWeightsError, match="@positions:sincos is not known"):
        _READERS["vjepa2"](f"{source}@positions:sincos")


def test_a_stray_table_beside_many_mask_tokens_is_version_2s(tmp_path: Path) -> None:
    """Released files of version 2 keep a table that nothing reads, and have 10 mask tokens; version 1 has 2."""
    encoder, predictor = official.vjepa1_parts(GRID)
    predictor |= {f"mask_tokens.{number}": torch.zeros(1, 1, 24) for number in range(10)}
    path = official.jepa_file(tmp_path / "w.pt", encoder, predictor, encoder)
    found = _READERS["vjepa2"](f"{path}@heads:2@head_heads:2")
    assert found.encoder.positions == "rope" and isinstance(found.head, Predictor)


def test_heads_come_from_the_published_sizes_or_are_asked_for() -> None:
    assert heads_of(HEADS, 1024, 24, None, "f") == 16 and heads_of(HEADS, 1408, 40, None, "f") == 22
    assert heads_of(HEADS, 1024, 24, 8, "f") == 8
    with pytest.raises(ForeignWeightsError, match=r"48 wide and 2 deep, which is no published size .*@heads:12"):
        heads_of(HEADS, 48, 2, None, "f")


def test_what_is_written_after_the_path() -> None:
    source = Source.parse("/a@b/c.pt@heads:3@take:encoder", ("heads", "take"))
    assert str(source.path) == "/a@b/c.pt" and source.number("heads") == 3 and source.options["take"] == "encoder"
    with pytest.raises(
        ForeignWeightsError, match="no option @width: for this family of weights; choose one of heads, take"
    ):
        Source.parse("c.pt@width:3", ("heads", "take"))
    for wrong in ("0", "x"):
        with pytest.raises(ForeignWeightsError, match="is no number of heads"):
            Source.parse(f"c.pt@heads:{wrong}", ("heads",)).number("heads")


def test_weights_in_half_precision_become_float32(tmp_path: Path) -> None:
    file = make("vjepa2")
    half: dict[str, Any] = {
        part: {key: value.bfloat16() for key, value in weights.items()} for part, weights in file.parts.items()
    }
    found = read(file._replace(parts=half), tmp_path)
    assert {parameter.dtype for parameter in found.encoder.parameters()} == {torch.float32}
