"""To transformers and back nothing changes, not a bit; what cannot be said there or here is refused. Equal outputs: tests/models."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from surgrec import hub
from surgrec.hub.huggingface_vjepa2 import _ratio, _their_ratio
from surgrec.hub.keys import ForeignWeightsError
from surgrec.models.decoder import Decoder
from surgrec.models.encoder import Encoder
from surgrec.models.predictor import Predictor
from surgrec.objectives.jepa import JEPALearner
from surgrec.objectives.mae import MAE, MAELearner
from tests.models.build import FAMILIES, scramble
from tests.models.oracle import (
    VIDEOMAE_CASES,
    VJEPA2_CASES,
    Case,
    oracle,
    transformers,
    videomae_config,
    vjepa2_config,
)

SMALL = {"width": 48, "depth": 2, "num_heads": 2, "num_frames": 4, "height_pixels": 32, "width_pixels": 32, "patch": 8}


def encoder(family: str, **changes: Any) -> Encoder:
    return Encoder(**(SMALL | FAMILIES[family] | changes))


def mae(**changes: Any) -> MAELearner:
    decoder = Decoder(encoder_width=48, width=24, depth=1, num_heads=2, patch=8)
    return MAELearner(encoder("mae", **changes), decoder)


def jepa(predictor: dict[str, Any] | None = None, **changes: Any) -> JEPALearner:
    return JEPALearner(
        encoder("jepa", **changes), Predictor(encoder_width=48, width=24, depth=1, num_heads=2, **predictor or {})
    )


OURS = {
    "mae": mae,
    "mae, not square, no final norm": lambda: mae(width_pixels=48, has_final_norm=False),
    "mae, tubelets of one": lambda: MAELearner(
        encoder("mae", tubelet=1, num_frames=3, mlp_ratio=2.7),
        Decoder(encoder_width=48, width=24, depth=1, num_heads=2, patch=8, tubelet=1, final_norm_eps=1e-5),
    ),
    "encoder": lambda: encoder("mae", norm_eps=1e-12),
    "encoder without final norm": lambda: encoder("mae", has_final_norm=False, width_pixels=16),
    "jepa": jepa,
    "jepa, one mask token": lambda: jepa({"num_mask_tokens": 1, "norm_eps": 1e-5}, mlp_ratio=48 / 11, norm_eps=1e-5),
}


def same_bytes(one: nn.Module, other: nn.Module) -> None:
    expected, found = one.state_dict(), other.state_dict()
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes(), name


def architectures(model: Any) -> list[Any]:
    """All that decides what the model computes."""
    if isinstance(model, Encoder):
        return [model.architecture]
    if isinstance(model, MAELearner):
        head, kind = model.decoder, "decoder"
        own: dict[str, Any] = {"eps": head.norm_eps, "final": head.final_norm_eps, "grid": head.position_grid}
    else:
        head, kind = model.predictor, "predictor"
        own = {"eps": head.norm_eps, "tokens": len(head.mask_tokens), "style": head.rope_style}
    shapes = {name: tuple(value.shape) for name, value in head.state_dict().items()}
    return [
        model.encoder.architecture,
        kind,
        head.width,
        head.blocks[0].attention.num_heads,
        head.positions,
        own,
        shapes,
    ]


@pytest.mark.parametrize("name", OURS)
def test_ours_to_theirs_to_ours_is_the_same_bytes(name: str) -> None:
    torch.manual_seed(3)
    ours = OURS[name]()
    scramble(ours)
    theirs = hub.to_transformers(ours)
    back = hub.from_transformers(theirs)
    same_bytes(ours, back)
    assert architectures(back) == architectures(ours)
    assert not any(p.is_meta for p in theirs.parameters()), "all of theirs was filled"
    pointers = {p.data_ptr() for p in theirs.parameters()}
    assert pointers.isdisjoint({p.data_ptr() for p in (*ours.parameters(), *back.parameters())}), "copies, not views"


@pytest.mark.parametrize("kind", ["VideoMAEForPreTraining", "VideoMAEModel", "VJEPA2Model"])
@pytest.mark.parametrize("number", range(6))
def test_theirs_to_ours_to_theirs_is_the_same_bytes_and_options(kind: str, number: int) -> None:
    torch.manual_seed(number)
    if kind == "VJEPA2Model":
        config = vjepa2_config(VJEPA2_CASES[number])
    else:
        config = videomae_config(VIDEOMAE_CASES[number])
    theirs = oracle(kind, config)
    back = hub.to_transformers(hub.from_transformers(theirs))
    same_bytes(theirs, back)
    expected, found = theirs.config.to_dict(), back.config.to_dict()
    differing = {key for key in expected if expected[key] != found[key]}
    if kind == "VideoMAEModel":  # it has no decoder, so what its options say of one is lost
        differing -= {key for key in expected if key.startswith("decoder_")} | {"norm_pix_loss"}
    if config.model_type == "videomae" and len(set(config.image_size)) == 1:
        differing -= {"image_size"}  # [32, 32] is written as 32
    if config.model_type == "vjepa2":
        assert found.pop("mlp_ratio") == pytest.approx(expected["mlp_ratio"], abs=1 / config.hidden_size)
        differing -= {"mlp_ratio"}  # as it is after truncation
    assert differing <= {"architectures", "dtype"}


def test_type_mode_and_device_are_kept() -> None:
    theirs = hub.to_transformers(mae().bfloat16().eval())
    assert not theirs.training and {p.dtype for p in theirs.parameters()} == {torch.bfloat16}
    back = hub.from_transformers(theirs)
    assert not back.training and {p.dtype for p in back.parameters()} == {torch.bfloat16}
    assert all(p.requires_grad for p in back.parameters())


def test_random_numbers_are_left_alone() -> None:
    learner = mae()
    before = torch.get_rng_state()
    hub.from_transformers(hub.to_transformers(learner))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("normalise_targets", [True, False])
def test_norm_pix_loss_follows(normalise_targets: bool) -> None:
    """It decides the loss that theirs computes, and no weight tells it."""
    theirs = oracle("VideoMAEForPreTraining", videomae_config(VIDEOMAE_CASES[0], norm_pix_loss=normalise_targets))
    ours = hub.from_transformers(theirs)
    assert isinstance(ours, MAELearner) and ours.normalise_targets is normalise_targets
    assert hub.to_transformers(ours).config.norm_pix_loss is normalise_targets
    learner = mae()
    objective = MAE(learner.encoder, learner.decoder, (0.5,) * 3, (0.5,) * 3, normalise_targets)
    assert hub.to_transformers(objective.learner).config.norm_pix_loss is normalise_targets


def test_the_ratio_of_the_giant_survives_truncation() -> None:
    for width in (384, 1408, 1664, 48, 70, 42):
        for hidden in (width * 48 // 11, width * 64 // 13, 4 * width, width + 1):
            ratio = _their_ratio(width, hidden)
            assert int(width * ratio) == hidden and _ratio(width, ratio) == hidden / width


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hidden_act", "gelu_new"),
        ("hidden_dropout_prob", 0.1),
        ("attention_probs_dropout_prob", 0.1),
        ("qv_bias", False),
        ("patch_size", [8, 16]),
    ],
)
def test_a_videomae_with_options_that_ours_lacks_is_refused(option: str, value: Any) -> None:
    kind = "VideoMAEModel"
    theirs = oracle(kind, videomae_config(Case((32, 1, 2, 2.0), (16, 1, 2, 2.0), (4, 32, 32, 2, 8)), **{option: value}))
    with pytest.raises(ForeignWeightsError, match=option if option != "patch_size" else "patches of 8 x 16"):
        hub.from_transformers(theirs)


@pytest.mark.parametrize(("option", "value"), [("hidden_act", "relu"), ("drop_path_rate", 0.1), ("qkv_bias", False)])
def test_a_vjepa2_with_options_that_ours_lacks_is_refused(option: str, value: Any) -> None:
    theirs = oracle("VJEPA2Model", vjepa2_config(VJEPA2_CASES[0], **{option: value}))
    with pytest.raises(ForeignWeightsError, match=option):
        hub.from_transformers(theirs)


def test_a_model_without_values_or_with_values_that_are_not_finite_is_refused() -> None:
    theirs = oracle("VideoMAEModel", videomae_config(VIDEOMAE_CASES[0]))
    with torch.no_grad():
        theirs.encoder.layer[0].output.dense.bias[0] = float("nan")
    with pytest.raises(
        ForeignWeightsError, match=r"has encoder\.layer\.0\.output\.dense\.bias with values that are not finite"
    ):
        hub.from_transformers(theirs)
    with pytest.raises(ForeignWeightsError, match="without values"):
        hub.from_transformers(theirs.to("meta"))


def test_other_models_are_refused() -> None:
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    with pytest.raises(ForeignWeightsError, match="no counterpart here of a ViTModel"):
        hub.from_transformers(transformers.ViTModel(config))
    with pytest.raises(
        ForeignWeightsError, match="of a Linear; give a VideoMAEForPreTraining, a VideoMAEModel or a VJEPA2Model"
    ):
        hub.from_transformers(nn.Linear(2, 2))
    with pytest.raises(ForeignWeightsError, match="a Linear cannot be written"):
        hub.to_transformers(nn.Linear(2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: encoder("jepa"), "this encoder has rope and qkv"),
        (lambda: encoder("vjepa1"), "this encoder has sincos_3d and qkv"),
        (lambda: encoder("mae", position_grid=(4, 4, 4)), "of the clip's own grid"),
        (lambda: mae(norm_eps=1e-5), "one epsilon for all blocks"),
        (lambda: jepa(width_pixels=48), "square clips"),
        (lambda: jepa(norm_eps=1e-5), "one epsilon for all norms"),
        (lambda: jepa(rope_style="interleaved"), "tiled rotary"),
        (lambda: jepa(has_final_norm=False), "a final norm"),
    ],
)
def test_what_transformers_cannot_express_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ForeignWeightsError, match=sentence):
        hub.to_transformers(make())


def test_importing_the_hub_costs_nothing() -> None:
    code = (
        "import sys; from surgrec import hub; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_transformers_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ForeignWeightsError, match=r"pip install 'surgrec\[parity\]'"):
        hub.to_transformers(mae())
