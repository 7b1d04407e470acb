"""Nothing of foreign weights is lost or left empty in silence, and what is read can be written back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from surgrec.hub.keys import (
    ForeignWeightsError,
    Layout,
    Lifted,
    Listed,
    Rule,
    Split,
    Unfolded,
    read_weights,
    write_weights,
)

LAYOUT = Layout(
    rules=(
        Rule(r"embed\.weight", ("stem.weight",), Unfolded((3, 2, 4, 4))),
        Rule(r"blocks\.(\d+)\.qkv", (r"layer.\1.q", r"layer.\1.k", r"layer.\1.v"), Split()),
        Rule(r"modality", ("video_mod_embed",), Lifted(2)),
        Rule(r"tokens", ("tokens.0", "tokens.1"), Listed()),
        Rule(r"(norm\.\w+)", (r"\1",)),
    ),
    drops=((r"head\..*", "of the classifier"), ("pos", "position table")),
)
OURS = {
    "embed.weight": torch.randn(5, 96),
    "blocks.0.qkv": torch.randn(15, 5),
    "blocks.1.qkv": torch.randn(15, 5),
    "tokens": torch.randn(2, 1, 1, 5),
    "modality": torch.randn(5),
    "norm.bias": torch.randn(5),
}


def theirs() -> dict[str, Tensor]:
    return write_weights(OURS, LAYOUT)


def read(found: dict[str, Tensor]) -> str:
    """The report's text; checks that the state is ours again."""
    state, report = read_weights(OURS, found, LAYOUT, family="toy", part="encoder", where="f.pt")
    assert state.keys() == OURS.keys() and all(torch.equal(state[key], OURS[key]) for key in OURS)
    return report.text()


def test_what_is_written_is_read_again() -> None:
    found = theirs()
    assert found["stem.weight"].shape == (5, 3, 2, 4, 4) and found["layer.1.k"].shape == (5, 5)
    assert torch.equal(found["layer.0.k"], OURS["blocks.0.qkv"][5:10]) and found["tokens.1"].shape == (1, 1, 5)
    assert found["video_mod_embed"].shape == (1, 1, 5)
    assert read(found) == "toy: 6 of 6 weights of the encoder filled; no key dropped"


def test_drops_are_listed_and_counted_by_reason() -> None:
    found = theirs() | {"head.weight": torch.ones(1), "head.bias": torch.ones(1), "pos": torch.ones(1)}
    assert read(found).endswith("filled; 3 keys dropped: 2 of the classifier, 1 position table")


def test_a_prefix_belongs_to_keys_and_drops() -> None:
    layout = LAYOUT.under("module.")
    found = {f"module.{key}": value for key, value in theirs().items()} | {"module.pos": torch.ones(1)}
    _, report = read_weights(OURS, found, layout, family="toy", part="encoder", where="f.pt")
    assert list(report.dropped) == ["module.pos"]
    with pytest.raises(ForeignWeightsError, match=r"unknown pos;"):
        read_weights(OURS, found | {"pos": torch.ones(1)}, layout, family="toy", part="encoder", where="f.pt")


def missing(found: dict[str, Tensor]) -> None:
    del found["layer.1.k"]


def extra(found: dict[str, Tensor]) -> None:
    found["gain"] = torch.zeros(3)


def renamed(found: dict[str, Tensor]) -> None:
    found["layer.1.key"] = found.pop("layer.1.k")


def misshapen(found: dict[str, Tensor]) -> None:
    found["stem.weight"] = found["stem.weight"].flatten(1)


def counted(found: dict[str, Tensor]) -> None:
    found["norm.bias"] = torch.arange(5)


def many(found: dict[str, Tensor]) -> None:
    found.update({f"extra.{number}": torch.ones(1) for number in range(8)})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (missing, r"it lacks layer\.1\.k;"),
        (extra, r"it has the unknown gain;"),
        (renamed, r"it lacks layer\.1\.k and has the unknown layer\.1\.key;"),
        (misshapen, r"it has the misfit stem\.weight of shape \(5, 96\) instead of \(5, 3, 2, 4, 4\);"),
        (counted, r"norm\.bias of type torch\.int64"),
        (many, r"extra\.0, .*, extra\.4 and 3 more"),
    ],
)
def test_what_does_not_fit_is_named(change: Callable[[dict[str, Tensor]], None], sentence: str) -> None:
    found = theirs()
    change(found)
    with pytest.raises(ForeignWeightsError, match=sentence) as caught:
        read(found)
    assert str(caught.value).startswith("f.pt does not hold the whole encoder of the family toy")


def test_a_weight_of_ours_without_a_rule_is_not_left_at_random() -> None:
    with pytest.raises(ForeignWeightsError, match="lacks anything for our levels"):
        read_weights(OURS | {"levels": torch.ones(1)}, theirs(), LAYOUT, family="toy", part="encoder", where="f.pt")
    with pytest.raises(ForeignWeightsError, match="levels has no place"):
        write_weights({"levels": torch.ones(1)}, LAYOUT)
