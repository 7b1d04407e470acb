"""What no key of an official checkpoint says: clip, heads, positions, whether a predictor is wanted; said after the path, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surgrec.core.grid import TokenGrid
from surgrec.hub import pretrained
from surgrec.hub.initial import _READERS
from surgrec.hub.keys import ForeignWeightsError
from surgrec.hub.pretrained import Source, heads_of
from surgrec.hub.vjepa2 import HEADS
from surgrec.models.predictor import Predictor
from tests.hub import official_files as official
from tests.hub.official_layouts import GRID, make, read

# -- positions, clips


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


# -- heads, and the options themselves


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
