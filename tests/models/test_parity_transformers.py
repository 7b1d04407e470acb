"""Equality with the Apache-2.0 ports in transformers, the project's oracle, on random weights and random shapes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surgrec import hub
from surgrec.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from surgrec.hub import huggingface_videomae, huggingface_vjepa2
from surgrec.hub.keys import Layout, write_weights
from surgrec.masks.masks import MaskSet
from surgrec.models.embed import gather_tokens
from surgrec.objectives.jepa import JEPALearner
from surgrec.objectives.mae import MAE, MAELearner
from tests.models.oracle import (
    VIDEOMAE_CASES,
    VJEPA2_CASES,
    Case,
    assert_same_gradients,
    clip_and_masks,
    oracle,
    videomae_config,
    vjepa2_config,
)


def gradients(model: torch.nn.Module, layout: Layout) -> dict[str, torch.Tensor]:
    """The gradients of our model, under transformers' names."""
    return write_weights({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, layout)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("case", VIDEOMAE_CASES)
def test_videomae_for_pretraining(case: Case, normalise: bool) -> None:
    torch.manual_seed(case.seed())
    theirs = oracle("VideoMAEForPreTraining", videomae_config(case, norm_pix_loss=normalise))
    ours = hub.from_transformers(theirs)
    assert isinstance(ours, MAELearner)
    video, context, target, masked = clip_and_masks(case, ours.encoder.grid.num_tokens)
    objective = MAE(ours.encoder, ours.decoder, IMAGENET_MEAN, IMAGENET_STD, normalise)
    masks = (MaskSet(context, target),)
    found = ours(video, masks, objective.targets(video, masks))
    expected = theirs(video.transpose(1, 2), masked)
    torch.testing.assert_close(found.predictions[0], expected.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=0)

    found.loss.backward()
    expected.loss.backward()
    assert_same_gradients(gradients(ours, huggingface_videomae.learner_layout(ours.encoder)), theirs)


@pytest.mark.parametrize("has_norm", [True, False])
@pytest.mark.parametrize("case", VIDEOMAE_CASES)
def test_videomae(case: Case, has_norm: bool) -> None:
    torch.manual_seed(case.seed())
    theirs = oracle("VideoMAEModel", videomae_config(case, use_mean_pooling=not has_norm, layer_norm_eps=1e-12))
    ours = hub.from_transformers(theirs)
    video, context, _, masked = clip_and_masks(case, ours.grid.num_tokens, 0.4)
    relative = 0.0 if has_norm else 1e-5  # without a norm the values are of any size
    with torch.no_grad():
        expected = theirs(video.transpose(1, 2), masked).last_hidden_state
        torch.testing.assert_close(ours(video, context), expected, rtol=relative, atol=1e-5)
        everything = theirs(video.transpose(1, 2)).last_hidden_state
        torch.testing.assert_close(ours(video), everything, rtol=relative, atol=1e-5)


@pytest.mark.parametrize("case", VJEPA2_CASES)
def test_vjepa2(case: Case) -> None:
    torch.manual_seed(case.seed())
    theirs = oracle("VJEPA2Model", vjepa2_config(case))
    ours = hub.from_transformers(theirs)
    assert isinstance(ours, JEPALearner)
    grid = ours.encoder.grid
    video, context, target, _ = clip_and_masks(case, grid.num_tokens, 0.3)
    with torch.no_grad():
        expected = theirs(video.transpose(1, 2), context_mask=[context], target_mask=[target])
        tokens = ours.encoder(video)
        torch.testing.assert_close(tokens, expected.last_hidden_state, rtol=0, atol=1e-5)
        # the port encodes the whole clip and gathers afterwards, and always takes mask token 1
        seen = gather_tokens(tokens, context)
        predicted = ours.predictor(seen, context, target, grid, mask_index=1)
        torch.testing.assert_close(predicted, expected.predictor_output.last_hidden_state, rtol=0, atol=1e-5)
        other = ours.predictor(seen, context, target, grid, mask_index=0)
        assert (other - predicted).abs().max() > 1e-2, "the official code's number 0 is another token"


@pytest.mark.parametrize("case", VJEPA2_CASES)
def test_gradients_of_vjepa2(case: Case) -> None:
    torch.manual_seed(case.seed())
    theirs = oracle("VJEPA2Model", vjepa2_config(case))
    ours = hub.from_transformers(theirs)
    grid = ours.encoder.grid
    video, context, target, _ = clip_and_masks(case, grid.num_tokens, 0.3)
    aim, goal = torch.randn(2, grid.num_tokens, case.encoder[0]), torch.randn(*target.shape, case.encoder[0])

    expected = theirs(video.transpose(1, 2), context_mask=[context], target_mask=[target])
    (F.mse_loss(expected.last_hidden_state, aim) + F.mse_loss(expected.predictor_output[0], goal)).backward()
    tokens = ours.encoder(video)
    predicted = ours.predictor(gather_tokens(tokens, context), context, target, grid, mask_index=1)
    (F.mse_loss(tokens, aim) + F.mse_loss(predicted, goal)).backward()
    assert_same_gradients(gradients(ours, huggingface_vjepa2.learner_layout(ours.encoder)), theirs)
