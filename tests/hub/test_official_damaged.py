"""Official checkpoints that are not whole, or of another family, are refused, and the key is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surgrec.hub import videomae, vjepa, vjepa2, vjepa21
from surgrec.hub.initial import _READERS
from surgrec.hub.keys import ForeignWeightsError
from tests.hub.official_files import Weights
from tests.hub.official_layouts import LAYOUTS, make, parts_that_are_read, read


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
