"""Fine-tuning trains every parameter, and the encoder that came in stays; frozen protocols change none."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from surgrec.core.errors import UserError
from surgrec.data.preprocess import PreprocessSpec
from surgrec.evaluation.attentive import AttentiveSettings
from surgrec.evaluation.clips import ClipSource
from surgrec.evaluation.encode import encode_clips
from surgrec.evaluation.protocols.attentive import Attentive
from surgrec.evaluation.protocols.blocks import depth_of, layer_of, layered_groups, stochastic_depth
from surgrec.evaluation.protocols.finetune import Finetune, FinetuneSettings, finetuned
from surgrec.evaluation.protocols.held_out import held_out
from surgrec.evaluation.protocols.knn import KNN
from surgrec.evaluation.protocols.linear import Linear
from surgrec.evaluation.protocols.unfinished import Unfinished
from surgrec.evaluation.splits import Split
from surgrec.features.baseline import FrozenModel
from surgrec.hub.preprocess import ClipPreprocess
from surgrec.models.encoder import Encoder

FAMILIES: dict[str, dict[str, Any]] = {
    "mae": {"positions": "sincos", "qkv_bias": "qv", "init": "xavier"},
    "jepa": {"positions": "rope", "qkv_bias": "qkv", "init": "trunc_normal"},
}
PREPROCESS = ClipPreprocess(2, 0.2, PreprocessSpec(18, 16))
SPLIT = Split(np.arange(16), np.arange(16, 24), np.arange(24, 36))
LABELS = np.arange(36) % 2
GROUPS = np.array([f"case{row // 2}" for row in range(36)])
QUICK = FinetuneSettings(num_epochs=3, batch_size=8, learning_rates=(3e-3,))


def encoder(family: str = "mae", **changes: Any) -> Encoder:
    torch.manual_seed(0)
    sizes = {
        "width": 32,
        "depth": 2,
        "num_heads": 2,
        "num_frames": 2,
        "height_pixels": 16,
        "width_pixels": 16,
        "patch": 8,
    }
    return Encoder(**(sizes | FAMILIES[family] | changes)).eval().requires_grad_(False)


class Clips:
    """Class 1 is bright below and dark above; which rows were read is noted."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def read(self, row: int, num_frames: int) -> np.ndarray:
        self.rows.append(row)
        pixels = np.random.default_rng(row).integers(0, 120, (num_frames, 20, 24, 3))
        half = slice(10, None) if LABELS[row] else slice(None, 10)
        pixels[:, half] += 120
        return pixels.astype(np.uint8)


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("family", ["mae", "jepa"])
def test_every_parameter_had_a_gradient_and_changed_and_the_encoder_itself_did_not(family: str) -> None:
    own = encoder(family)
    before = state_of(own)
    protocol = Finetune(own, PREPROCESS, QUICK)
    start = protocol.new_model(2, seed=0)
    seen: dict[str, bool] = {}
    model, without = protocol._fit(
        Clips(), LABELS, SPLIT.train, 2, 3e-3, 0, lambda count=1, note="": None, Unfinished(None, b"", 0)
    )
    assert without == set()
    for (name, first), last in zip(start.named_parameters(), model.parameters(), strict=True):
        seen[name] = not torch.equal(first, last)
        assert last.requires_grad and last.grad is not None, name
    assert all(seen.values()), [name for name, changed in seen.items() if not changed]
    assert len(seen) == len(list(own.parameters())) + 4
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in own.parameters())


def test_what_no_gradient_reaches_is_named() -> None:
    """Norms of inner levels are not on the way to the tokens."""
    own = encoder("jepa", levels=(0, 1), has_modality_embedding=True)
    (search,) = finetuned(Clips(), LABELS, GROUPS, [SPLIT], Finetune(own, PREPROCESS, QUICK), 2).searches
    assert search.untrained == ("encoder.level_norms.0.bias", "encoder.level_norms.0.weight")


def test_a_visible_difference_is_learnt_and_repeats() -> None:
    settings = FinetuneSettings(num_epochs=8, batch_size=8, learning_rates=(3e-3, 1e-6))
    clips = Clips()
    result = finetuned(clips, LABELS, GROUPS, [SPLIT], Finetune(encoder(), PREPROCESS, settings), 2)
    assert (result.predictions == result.labels).mean() > 0.8
    (search,) = result.searches
    assert search.chosen == {"learning_rate": 3e-3} and search.num_fits == 2 and search.untrained == ()
    assert sorted(row for row in clips.rows if row >= 24) == list(SPLIT.test), "test clips are read once, in the end"
    again = finetuned(Clips(), LABELS, GROUPS, [SPLIT], Finetune(encoder(), PREPROCESS, settings), 2)
    np.testing.assert_array_equal(result.probabilities, again.probabilities)


@pytest.mark.parametrize("num_read", [20, 60])
def test_a_fit_that_was_stopped_goes_on_and_gives_the_same(num_read: int, tmp_path: Path) -> None:
    """Stopped in the second epoch of the first learning rate, or in the first of the second (3 epochs of 16 clips)."""

    class Stopped(Clips):
        def read(self, row: int, num_frames: int) -> np.ndarray:
            if len(self.rows) == num_read:
                raise KeyboardInterrupt
            return super().read(row, num_frames)

    settings = replace(QUICK, learning_rates=(3e-3, 1e-3))
    whole = finetuned(Clips(), LABELS, GROUPS, [SPLIT], Finetune(encoder(), PREPROCESS, settings), 2)
    protocol = Finetune(encoder(), PREPROCESS, settings, folder=tmp_path / "kept", keep_every_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        finetuned(Stopped(), LABELS, GROUPS, [SPLIT], protocol, 2)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    clips = Clips()
    result = finetuned(clips, LABELS, GROUPS, [SPLIT], protocol, 2)
    np.testing.assert_array_equal(result.probabilities, whole.probabilities)
    assert result.searches[0].scores == whole.searches[0].scores and result.searches[0].untrained == ()
    num_kept = 16 if num_read == 20 else 48
    assert len(clips.rows) == 2 * (48 + 8) + 12 - num_kept
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_is_kept_is_of_that_fit_alone(tmp_path: Path) -> None:
    def name(protocol: Finetune, seed: int = 0, rows: np.ndarray = SPLIT.train, rate: float = 1e-3) -> Path | None:
        return protocol._unfinished({"learning_rate": rate}, LABELS, rows, 2, seed)._file

    one = Finetune(encoder(), PREPROCESS, QUICK, folder=tmp_path)
    assert name(one) == name(Finetune(encoder(), PREPROCESS, QUICK, folder=tmp_path))
    others = [
        name(one, seed=1),
        name(one, rows=SPLIT.train[1:]),
        name(one, rate=1e-4),
        name(Finetune(encoder("jepa"), PREPROCESS, QUICK, folder=tmp_path)),
        name(Finetune(encoder(), PREPROCESS, replace(QUICK, drop_path=0.2), folder=tmp_path)),
    ]
    assert len({name(one), *others}) == 6


def test_a_damaged_state_is_none(tmp_path: Path) -> None:
    kept = Unfinished(tmp_path, b"x", 0.0)
    for damaged in (b"", b"half of", b"PK\x03\x04 and no more"):
        kept.write({"epoch": 1}, is_last=True)
        assert kept.read() == {"epoch": 1}
        next(tmp_path.iterdir()).write_bytes(damaged)
        assert kept.read() is None


def test_dropout_of_another_library_follows_the_seed() -> None:
    """Whatever torch's global generator holds, which is left as it was."""
    own = encoder()
    own.blocks[0].register_forward_hook(lambda module, _, output: functional.dropout(output, 0.3, module.training))
    found = []
    for number in (1, 2):
        torch.manual_seed(number)
        state = torch.get_rng_state()
        result = finetuned(Clips(), LABELS, GROUPS, [SPLIT], Finetune(own, PREPROCESS, QUICK), 2)
        found.append(result.probabilities)
        assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(found[0], found[1])


def test_a_case_on_two_sides_is_refused() -> None:
    with pytest.raises(UserError, match="in train and in validation"):
        finetuned(Clips(), LABELS, np.full(36, "one"), [SPLIT], Finetune(encoder(), PREPROCESS, QUICK), 2)


def test_frozen_protocols_change_no_parameter() -> None:
    own = encoder("jepa")
    before = state_of(own)
    clips: ClipSource = Clips()
    tokens = encode_clips(FrozenModel(own, PREPROCESS, "ours", "0"), clips, range(36), batch_size=5)
    assert tokens.shape == (36, 4, 32) and not tokens.requires_grad
    few = AttentiveSettings(num_heads=2, num_steps=5, batch_size=8, learning_rates=(1e-3,))
    for protocol in (KNN(ks=(1, 3)), Linear(l2_grid=(1e-2,)), Attentive(few)):
        held_out(tokens, LABELS, GROUPS, [SPLIT], protocol, 2)
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert all(parameter.grad is None for parameter in own.parameters())
    pooled = encode_clips(FrozenModel(own, PREPROCESS, "ours", "0"), clips, [3, 1], layout="pooled")
    torch.testing.assert_close(pooled, tokens[[3, 1]].mean(1))


# -- blocks


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("embed.proj.weight", 0),
        ("modality", 0),
        ("blocks.0.attention.qkv.weight", 1),
        ("blocks.11.mlp.fc2.bias", 12),
        ("norm.weight", 13),
        ("level_norms.0.weight", 13),
        ("model.patch_embed.proj.bias", 0),
        ("model.cls_token", 0),
        ("model.blocks.3.norm1.weight", 4),
        ("model.embeddings.position_embeddings", 0),
        ("model.encoder.layer.5.attention.output.dense.weight", 6),
        ("model.encoder.layers.5.norm1.weight", 6),
        ("model.layernorm.weight", 13),
    ],
)
def test_layers_of_parameters_of_all_libraries(name: str, layer: int) -> None:
    assert layer_of(name, depth=12) == layer


def test_rates_fall_by_depth_and_every_parameter_is_in_one_group() -> None:
    own, head = encoder("jepa").requires_grad_(True), nn.Linear(32, 2)
    groups = layered_groups(own, head, layer_decay=0.5, weight_decay=0.1)
    assert depth_of(own) == 2
    assert {group["layer"]: group["rate_factor"] for group in groups} == {0: 0.125, 1: 0.25, 2: 0.5, 3: 1.0}
    members = [id(each) for group in groups for each in group["params"]]
    assert sorted(members) == sorted(id(each) for module in (own, head) for each in module.parameters())
    for group in groups:
        assert {each.ndim > 1 for each in group["params"]} == {group["weight_decay"] == 0.1}
    with pytest.raises(UserError, match="layer_decay=1"):
        layered_groups(nn.Conv2d(3, 4, 3), head, 0.75, 0.1)
    assert len(layered_groups(nn.Conv2d(3, 4, 3), head, 1.0, 0.1)) == 2


def test_stochastic_depth_skips_for_single_samples_and_goes_away() -> None:
    own = encoder("mae", depth=3)
    video = torch.randn(1, 3, 2, 16, 16).expand(400, -1, -1, -1, -1)
    whole = own(video)
    with stochastic_depth(own, 0.5, torch.Generator().manual_seed(0)):
        dropped = own(video)
    kinds = 1 + int((dropped[:, 0, 0].sort().values.diff() > 1e-3).sum())
    # the first block is always kept, the second is skipped for a quarter, the third for half of the samples: four kinds
    assert kinds == 4 and torch.equal(own(video), whole)
    with stochastic_depth(own, 0.0, torch.Generator()):
        assert torch.equal(own(video), whole)


def test_a_kept_block_adds_more_so_that_the_mean_stays() -> None:
    class Adds(nn.Module):
        def forward(self, hidden_states: Tensor) -> tuple[Tensor]:
            return (hidden_states + 1.0,)

    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.ModuleList([Adds(), Adds()])

        def forward(self, values: Tensor) -> Tensor:
            for each in self.layer:
                values = each(hidden_states=values)[0]
            return values

    stack = Stack()
    with stochastic_depth(copy.deepcopy(stack), 0.4, torch.Generator().manual_seed(1)):
        assert torch.equal(stack(torch.zeros(2, 1)), torch.full((2, 1), 2.0)), "the hooks are those of the copy"
    with stochastic_depth(stack, 0.4, torch.Generator().manual_seed(1)):
        values = stack(torch.zeros(20_000, 1))
    torch.testing.assert_close(values.unique(), torch.tensor([1.0, 1.0 + 1 / 0.6]))
    assert abs(float(values.mean()) - 2.0) < 0.03  # 5 deviations of 0.0058
