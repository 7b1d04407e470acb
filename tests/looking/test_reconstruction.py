"""Reconstructions: of hidden cells only, by the release's own decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from surgrec.core.errors import UserError
from surgrec.hub.folder import SUMS_FILE, sums_text
from surgrec.hub.load import LoadedModel, load_decoder
from surgrec.looking.reconstruction import mask_ratio, normalises_targets, reconstruct
from surgrec.masks.tube import TubeMasker
from tests.hub.build import PREPROCESS, small_release, written


def clips(count: int = 2) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    return [torch.randn(3, 4, 32, 32, generator=draw) * 0.3 for _ in range(count)]


def views_of(model: LoadedModel, release: Path, is_normalised: bool) -> list[np.ndarray]:
    decoder = load_decoder(release)
    assert decoder is not None
    return reconstruct(model.encoder, decoder, PREPROCESS, clips(), [0, 1], 0.75, is_normalised)


def test_the_decoder_of_a_release_is_the_one_that_was_released(release: Path) -> None:
    decoder, head = load_decoder(release), small_release("mae").head
    assert decoder is not None and head is not None and not decoder.training
    wanted = head.module.state_dict()
    assert decoder.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in decoder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in decoder.parameters())


def test_a_release_without_a_decoder_has_none(tmp_path: Path) -> None:
    assert load_decoder(written(tmp_path / "jepa", "jepa")) is None


def test_a_decoder_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "mae", "mae")
    weights = load_file(folder / "decoder.safetensors")
    del weights["norm.weight"]
    save_file(weights, folder / "decoder.safetensors")
    with pytest.raises(UserError, match=r"decoder\.safetensors"):
        load_decoder(folder)  # the checksum
    (folder / SUMS_FILE).write_text(sums_text(folder))
    with pytest.raises(UserError, match=r"does not fit the decoder.*norm\.weight"):
        load_decoder(folder)


@pytest.mark.parametrize("is_normalised", [False, True])
def test_only_hidden_cells_change(model: LoadedModel, release: Path, is_normalised: bool) -> None:
    mask = TubeMasker(model.encoder.grid, 0.75, seed=0).draw(np.arange(2))[0]
    for number, view in enumerate(views_of(model, release, is_normalised)):
        hidden, rebuilt, original = view
        assert view.shape == (3, 32, 32, 3) and view.min() >= 0 and view.max() <= 1
        cells = np.zeros(16, bool)
        cells[mask.target[number].numpy() % 16] = True
        is_hidden = np.kron(cells.reshape(4, 4), np.ones((8, 8), bool))
        assert is_hidden.sum() == 12 * 64
        np.testing.assert_array_equal(rebuilt[~is_hidden], original[~is_hidden])
        np.testing.assert_array_equal(hidden[~is_hidden], original[~is_hidden])
        assert (hidden[is_hidden] == 0.5).all() and np.abs(rebuilt - original)[is_hidden].mean() > 0.01


def test_the_original_is_the_frame_of_its_time_step(model: LoadedModel, release: Path) -> None:
    mean, std = (np.array(value, np.float32) for value in (PREPROCESS.pixels.mean, PREPROCESS.pixels.std))
    for view, clip, place in zip(views_of(model, release, False), clips(), (0, 1), strict=True):
        frame = clip[:, 2 * place].permute(1, 2, 0).numpy() * std + mean
        np.testing.assert_allclose(view[2], frame.clip(0, 1), atol=1e-6)


def test_what_is_hidden_does_not_reach_the_rebuilt_pixels(model: LoadedModel, release: Path) -> None:
    decoder = load_decoder(release)
    assert decoder is not None
    mask = TubeMasker(model.encoder.grid, 0.75, seed=0).draw([0])[0]
    cells = np.zeros(16, bool)
    cells[mask.target[0].numpy() % 16] = True
    is_hidden = torch.from_numpy(np.kron(cells.reshape(4, 4), np.ones((8, 8), bool)))
    (clip,) = clips(1)
    other = torch.where(is_hidden, clip + 0.2, clip)
    made = [reconstruct(model.encoder, decoder, PREPROCESS, [each], [0], 0.75, False)[0] for each in (clip, other)]
    np.testing.assert_array_equal(made[0][1], made[1][1])
    assert (made[0][2] != made[1][2]).any()


def test_a_release_tells_how_it_departs_from_the_variant() -> None:
    assert mask_ratio({}) == 0.9 and normalises_targets({})
    config = {"distance_from_variant": ["mask.ratio 0.9 -> 0.75", "objective.normalise_targets True -> False"]}
    assert mask_ratio(config) == 0.75 and not normalises_targets(config)
