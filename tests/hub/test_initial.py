"""A run starts from foreign weights as a whole, says what it took, and refuses what would compute something else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgrec.core.errors import UserError
from surgrec.hub.folder import SUMS_FILE, sums_text
from surgrec.hub.initial import FAMILIES, start_from
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from tests.hub import official_files as official
from tests.hub.build import PIXELS, small_release, written
from tests.hub.official_layouts import GRID, make
from tests.models.build import FAMILIES as POSITIONS

SMALL = {"width": 48, "depth": 2, "num_heads": 3, "num_frames": 4, "height_pixels": 32, "width_pixels": 32, "patch": 8}
PREDICTOR = {"encoder_width": 48, "width": 24, "depth": 1, "num_heads": 2, "num_mask_tokens": 1}


def run_encoder(kind: str, **changes: Any) -> Encoder:
    return Encoder(**(SMALL | POSITIONS[kind] | changes))


def decoder(**changes: Any) -> Decoder:
    return Decoder(**({"encoder_width": 48, "width": 24, "depth": 1, "num_heads": 2, "patch": 8} | changes))


def predictor(**changes: Any) -> Predictor:
    return Predictor(**(PREDICTOR | changes))


@pytest.fixture
def mae(tmp_path: Path) -> str:
    file = make("videomae, pretrained")
    return f"videomae:{file.write(tmp_path / 'mae.pth', file.parts)}{file.options}"


@pytest.fixture
def vjepa2(tmp_path: Path) -> str:
    file = make("vjepa2")
    return f"vjepa2:{file.write(tmp_path / 'v2.pt', file.parts)}{file.options}"


@pytest.fixture
def vjepa1(tmp_path: Path) -> str:
    file = make("vjepa")
    return f"vjepa:{file.write(tmp_path / 'v1.pt', file.parts)}{file.options}"


def changed(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, before[key]) for key, value in module.state_dict().items())


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def test_encoder_and_decoder_start_from_a_videomae(mae: str) -> None:
    weights = make("videomae, pretrained").parts["model"]
    encoder, head = run_encoder("mae"), decoder()
    said = start_from(encoder, head, mae, PIXELS)
    assert torch.equal(encoder.blocks[1].mlp.fc1.weight, weights["encoder.blocks.1.mlp.fc1.weight"])
    assert torch.equal(head.head.weight, weights["decoder.head.weight"])
    assert all(parameter.requires_grad for parameter in (*encoder.parameters(), *head.parameters()))
    assert "videomae: 49 of 49 weights of the encoder and decoder filled; no key dropped" in said
    assert said[-1] == "videomae: the decoder starts from the file too"


def test_encoder_and_predictor_start_from_a_vjepa2_with_the_trained_mask_token(vjepa2: str) -> None:
    parts = make("vjepa2").parts
    encoder, head = run_encoder("jepa"), predictor()
    said = start_from(encoder, head, vjepa2, PIXELS)
    assert torch.equal(encoder.norm.weight, parts["target_encoder"]["norm.weight"])
    assert torch.equal(head.mask_tokens[0], parts["predictor"]["mask_tokens.0"]) and len(head.mask_tokens) == 1
    assert said[-1] == "vjepa2: the predictor starts from the file too, with the first 1 of its 3 mask tokens"


def test_a_head_that_is_another_stays_random_and_this_is_said(vjepa2: str, mae: str) -> None:
    for head, sentence in (
        (predictor(width=36), "its width is 24, not 36"),
        (predictor(num_heads=1), "its num_heads is 2, not 1"),
        (predictor(rope_style="interleaved"), "its rotation is"),
        (predictor(num_mask_tokens=5), "it has 3 mask tokens, not 5"),
        (decoder(), "no decoder came along"),
    ):
        before = copied(head)
        assert sentence in start_from(run_encoder("jepa"), head, vjepa2, PIXELS)[-1]
        assert not changed(head, before)
    head = decoder(final_norm_eps=1e-5)
    assert "final_norm_eps is 1e-06, not 1e-05" in start_from(run_encoder("mae"), head, mae, PIXELS)[-1]


# -- releases of our own


@pytest.mark.parametrize("variant", ["mae", "jepa", "dense jepa"])
def test_a_run_goes_on_with_both_halves_of_a_release(variant: str, tmp_path: Path) -> None:
    """Whatever objective it had: every weight of either half is that of the release, and can be trained."""
    folder, released = written(tmp_path / "release", variant), small_release(variant)
    other = small_release(variant, seed=7)
    encoder, head = other.encoder.requires_grad_(True), other.head
    assert head is not None and released.head is not None
    assert isinstance(head.module, Decoder | Predictor)
    said = start_from(encoder, head.module, f"surgrec:{folder}", PIXELS)
    assert not changed(encoder, released.encoder.state_dict())
    assert not changed(head.module, released.head.module.state_dict())
    assert all(parameter.requires_grad for parameter in (*encoder.parameters(), *head.module.parameters()))
    number = len(released.head.module.state_dict())
    assert f"surgrec: all {number} weights of its {released.head.kind} read; no key dropped" in said
    assert said[-1] == f"surgrec: the {released.head.kind} starts from the file too"


def test_another_head_than_that_of_the_release_starts_at_random_and_this_is_said(tmp_path: Path) -> None:
    mae, alone = written(tmp_path / "mae", "mae"), written(tmp_path / "alone", "mae", head=None)
    jepa = written(tmp_path / "jepa", "jepa")
    for variant, folder, head, sentence in (
        ("mae", mae, decoder(width=36), "its width is 24, not 36"),
        ("mae", mae, predictor(positions="sincos_3d"), "no predictor came along"),
        ("mae", alone, decoder(), "only an encoder was read"),
        ("jepa", jepa, predictor(rope_style="interleaved"), "its rotation is"),
        ("jepa", jepa, predictor(num_mask_tokens=2), "it has 1 mask tokens, not 2"),
    ):
        encoder, before = small_release(variant, seed=7).encoder, copied(head)
        assert sentence in start_from(encoder, head, f"surgrec:{folder}", PIXELS)[-1]
        assert not changed(head, before) and not changed(encoder, small_release(variant).encoder.state_dict())


@pytest.mark.parametrize("variant", ["mae", "jepa"])
def test_a_release_whose_head_lacks_a_weight_is_refused_and_nothing_is_filled(variant: str, tmp_path: Path) -> None:
    folder = written(tmp_path / "release", variant)
    file = folder / ("decoder.safetensors" if variant == "mae" else "predictor.safetensors")
    weights = load_file(file)
    del weights["norm.weight"]
    save_file(weights, file)
    encoder, head = small_release(variant, seed=7).encoder, decoder() if variant == "mae" else predictor()
    before = copied(encoder)
    for sentence in (rf"{file.name}", rf"does not fit the {file.stem}.*norm\.weight"):
        with pytest.raises(UserError, match=sentence):
            start_from(encoder, head, f"surgrec:{folder}", PIXELS)
        (folder / SUMS_FILE).write_text(sums_text(folder))  # so that it is no longer the checksum
    assert not changed(encoder, before)


# -- what does not fit


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_heads": 2}, "num_heads is 3, not 2"),
        ({"depth": 3}, "depth is 2, not 3"),
        ({"positions": "sincos_3d"}, "positions is sincos, not sincos_3d"),
        ({"norm_eps": 1e-5}, "norm_eps is 1e-06, not 1e-05"),
        ({"has_final_norm": False}, "has_final_norm is True, not False"),
        ({"tubelet": 4}, "tubelet is 2, not 4"),
    ],
)
def test_an_encoder_that_computes_something_else_is_refused(changes: dict[str, Any], sentence: str, mae: str) -> None:
    encoder = run_encoder("mae", **changes)
    before = copied(encoder)
    with pytest.raises(UserError, match=sentence):
        start_from(encoder, decoder(), mae, PIXELS)
    assert not changed(encoder, before)


def test_the_fine_tuned_layout_wants_an_encoder_without_a_final_norm(tmp_path: Path) -> None:
    file = make("videomae, fine-tuned under module")
    init = f"videomae:{file.write(tmp_path / 'w.pth', file.parts)}{file.options}"
    with pytest.raises(UserError, match="has_final_norm is False, not True"):
        start_from(run_encoder("mae"), decoder(), init, PIXELS)
    said = start_from(run_encoder("mae", has_final_norm=False), decoder(), init, PIXELS)
    assert said[-1] == "videomae: only an encoder was read, the run's decoder starts at random"


# -- positions


@pytest.mark.parametrize(("kind", "name"), [("mae", "mae"), ("vjepa1", "vjepa1")])
@pytest.mark.parametrize("clip", [{"num_frames": 8}, {"height_pixels": 64, "width_pixels": 64}])
def test_another_grid_is_refused_unless_asked_for(
    kind: str, name: str, clip: dict[str, int], request: pytest.FixtureRequest
) -> None:
    init, heads = request.getfixturevalue(name), 3 if kind == "mae" else 2
    head = decoder() if kind == "mae" else predictor(positions="sincos_3d")
    plain = run_encoder(kind, num_heads=heads, **clip)
    own = (plain.grid.t, plain.grid.h, plain.grid.w)
    with pytest.raises(
        UserError, match=r"backbone.position_grid=\[2, 4, 4\] to resample its positions, or \["
    ) as caught:
        start_from(plain, head, init, PIXELS)
    assert str(list(own)) in str(caught.value)

    resampled = run_encoder(kind, num_heads=heads, **clip, position_grid=(2, 4, 4))
    said = " ".join(start_from(resampled, head, init, PIXELS))
    assert f"positions: resampled from a grid of 2 x 4 x 4 tokens to {own[0]} x {own[1]} x {own[2]}" in said
    anew = run_encoder(kind, num_heads=heads, **clip, position_grid=own)
    assert f"positions: computed for {own[0]} x {own[1]} x {own[2]} tokens" in " ".join(
        start_from(anew, head, init, PIXELS)
    )
    with pytest.raises(UserError, match="position_grid"):
        start_from(run_encoder(kind, num_heads=heads, **clip, position_grid=(3, 3, 3)), head, init, PIXELS)

    video = torch.randn(1, 3, plain.num_frames, plain.height_pixels, plain.width_pixels)
    with torch.no_grad():
        assert not torch.allclose(resampled(video), anew(video), atol=1e-3)
        plain.load_state_dict(anew.state_dict())
        assert torch.equal(plain(video), anew(video))


def test_rotary_positions_fit_every_grid(vjepa2: str) -> None:
    said = start_from(run_encoder("jepa", num_frames=8, height_pixels=64, width_pixels=40), predictor(), vjepa2, PIXELS)
    assert not any(line.startswith("positions") for line in said)


# -- V-JEPA 2.1


@pytest.mark.parametrize("has_levels", [True, False])
def test_a_run_without_levels_leaves_their_norms_out_and_says_so(has_levels: bool, tmp_path: Path) -> None:
    encoder_weights, predictor_weights = official.vjepa21_parts()
    path = official.jepa_file(tmp_path / "w.pt", encoder_weights, predictor_weights)
    changes: dict[str, Any] = {"width": 24, "depth": 12, "num_heads": 2, "mlp_ratio": 2.0, "rope_style": "interleaved"}
    changes |= {"rope_grid": 16, "has_modality_embedding": True, "levels": (2, 5, 8, 11) if has_levels else ()}
    encoder = run_encoder("jepa", **changes)
    said = start_from(encoder, predictor(encoder_width=24), f"vjepa2.1:{path}@heads:2@head_heads:2", PIXELS)
    assert torch.equal(encoder.norm.bias, encoder_weights["norms_block.3.bias"] + 1)
    assert ("vjepa2.1: norms of inner levels left out, the run has none" in said) != has_levels
    with pytest.raises(UserError, match=r"levels is \(2, 5, 8, 11\), not \(3, 11\)"):
        start_from(
            run_encoder("jepa", **(changes | {"levels": (3, 11)})),
            predictor(),
            f"vjepa2.1:{path}@heads:2@head_heads:2",
            PIXELS,
        )


# -- what cannot be read


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "surgrec"])
def test_code_in_a_pickle_is_never_run(family: str, tmp_path: Path) -> None:
    content = {"model": {}, "encoder": {}, "target_encoder": {}, "run": Payload(tmp_path / "trace")}
    torch.save(content, tmp_path / "w.pth")
    encoder = run_encoder("mae")
    before = copied(encoder)
    with pytest.raises(UserError, match=r"w\.pth is a pickle that asks for .*system"):
        start_from(encoder, decoder(), f"{family}:{tmp_path / 'w.pth'}", PIXELS)
    assert not (tmp_path / "trace").exists() and not changed(encoder, before)


def test_the_grid_of_the_test_files() -> None:
    assert run_encoder("mae").grid == GRID
