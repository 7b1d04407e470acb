"""Cost formulas against torch's own counter, against what autograd keeps, and against published-recipe figures."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from surgrec.core.grid import TokenGrid
from surgrec.models.decoder import Decoder
from surgrec.models.flops import (
    TRAINING_OVER_FORWARD,
    activation_bytes,
    block_flops,
    decoder_flops,
    encoder_flops,
    predictor_flops,
)
from surgrec.models.predictor import Predictor
from tests.models.build import CLIP, random_ids, small_encoder

P = 3 * 2 * 16 * 16
BASE = {"width": 768, "depth": 12}
LARGE = {"width": 1024, "depth": 24}


def counted(module: torch.nn.Module, *arguments: object) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*arguments)
    return counter.get_total_flops()


def test_formulas_count_what_torch_counts() -> None:
    encoder = small_encoder("jepa", attention_backend="math")
    ids = random_ids(1, 48, 30)
    size = {"width": 48, "depth": 2, "patch_values": 3 * 2 * 8 * 8}
    assert counted(encoder, torch.randn(1, *CLIP), ids) == encoder_flops(30, **size)
    narrow = {"encoder_width": 48, "width": 24, "depth": 2}
    split = (torch.randn(1, 10, 48), ids[:, :10], ids[:, 10:], TokenGrid(2, 4, 6))
    decoder = Decoder(**narrow, num_heads=2, patch=8, attention_backend="math")
    assert counted(decoder, *split) == decoder_flops(10, 20, **narrow, patch_values=3 * 2 * 8 * 8)
    predictor = Predictor(**narrow, num_heads=2, attention_backend="math")
    assert counted(predictor, *split) == predictor_flops(10, 20, **narrow)


def test_videomae_base() -> None:
    """Analytic figures of the recipe survey, section 5: 207 G a training clip, forward encoder 28.1, decoder 37.3, patches 3.7."""
    blocks = BASE["depth"] * block_flops(160, 768)
    assert blocks / 1e9 == pytest.approx(28.1, rel=0.01)
    assert 4 * block_flops(1568, 384) / 1e9 == pytest.approx(37.3, rel=0.01)
    all_patches = 2 * 1568 * P * 768
    assert all_patches / 1e9 == pytest.approx(3.7, rel=0.01)
    decoder = decoder_flops(160, 1408, encoder_width=768, width=384, depth=4, patch_values=P)
    official = TRAINING_OVER_FORWARD * (blocks + decoder + all_patches)
    assert official / 1e9 == pytest.approx(207, rel=0.03)  # the survey leaves out the decoder's two ends
    ours = TRAINING_OVER_FORWARD * (encoder_flops(160, **BASE, patch_values=P) + decoder)
    assert 0.94 < ours / official < 0.96  # the patches that are not embedded


def test_vjepa2_large() -> None:
    """Same survey, same section: 3,596 G a training clip at 256 px and 16 frames; target 1656, context 417, predictor 217 forward."""
    target = encoder_flops(2048, **LARGE, patch_values=P)
    assert target / 1e9 == pytest.approx(1656, rel=0.005)
    masks = [(508, 954), (135, 1444)]  # mean context and target tokens of the official masks, same survey, section 3.1
    contexts = sum(LARGE["depth"] * block_flops(context, 1024) for context, _ in masks)
    assert contexts / 1e9 == pytest.approx(417, rel=0.02)
    predictors = sum(predictor_flops(*mask, encoder_width=1024, width=384, depth=12) for mask in masks)
    assert predictors / 1e9 == pytest.approx(217, rel=0.02)
    every_patch_twice = 2 * 2 * 2048 * P * 1024
    official = target + TRAINING_OVER_FORWARD * (contexts + every_patch_twice + predictors)
    assert official / 1e9 == pytest.approx(3596, rel=0.02)


@pytest.mark.parametrize("family", ["mae", "jepa"])
@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize("checkpointing", ["none", "selective"])
def test_activation_bytes_are_what_autograd_keeps(family: str, is_autocast: bool, checkpointing: str) -> None:
    def kept(depth: int) -> int:
        encoder = small_encoder(family, depth=depth, activation_checkpointing=checkpointing)
        sizes = {parameter.numel() for parameter in encoder.parameters()}
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.numel() not in sizes:  # neither parameters nor their casts
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16) if is_autocast else nullcontext():
                out = encoder(torch.randn(5, *CLIP))
            total = sum(storages.values())
        del out
        return total

    expected = activation_bytes(
        5 * 48,
        width=48,
        depth=2,
        has_rotary=family == "jepa",
        compute_bytes=2 if is_autocast else 4,
        activation_checkpointing=checkpointing,
    )
    assert kept(3) - kept(1) == pytest.approx(expected, rel=0.03)
    size = {"width": 48, "has_rotary": True, "compute_bytes": 2}
    one = activation_bytes(48, depth=1, activation_checkpointing="selective", **size)  # type: ignore[arg-type]
    assert activation_bytes(48, depth=9, activation_checkpointing="full", **size) == 9 * 4 * 48 * 48 + one  # type: ignore[arg-type]
