"""Task cards: each belongs to a source card, says where its facts come from, and a slip of the pen is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.corpus.facts import UNKNOWN, CardError
from surgrec.evaluation.tasks.card import TASK_CARDS, key_of, load_task_card, task_card, task_cards
from surgrec.evaluation.tasks.catalog import ADAPTERS, EXTRAS

SIXTEEN = {
    "aixsuture", "autolaparo", "cataract_21", "cataract_101", "cataract_1k", "cholec80", "colonoscopic", "hyper_kvasir", "jigsaws",
    "kvasir_capsule", "gyn_events", "ldpolypvideo", "m2cai16_workflow", "multibypass140", "sar_rarp50", "surgicalactions160",
}  # fmt: skip
OFFICIAL = {
    "cholec80",
    "autolaparo",
    "m2cai16_workflow",
    "sar_rarp50",
    "multibypass140",
    "jigsaws",
    "cataract_21",
    *EXTRAS,
}


def test_the_sixteen_and_the_extras_have_a_card_and_an_adapter() -> None:
    assert set(task_cards()) == set(ADAPTERS) == SIXTEEN | set(EXTRAS)
    assert {name for name, card in task_cards().items() if card.split.origin == "official"} == OFFICIAL


@pytest.mark.parametrize("name", task_cards())
def test_a_card(name: str) -> None:
    card = task_card(name)
    assert TASK_CARDS / f"{name}.yaml" in TASK_CARDS.glob("*.yaml") and card.name == name
    assert card.source_card.name == card.source and card.source_card.domain
    assert {fact for source in card.sources for fact in source.facts} >= {"layout", "labels"}
    assert (card.split.origin == "official") == (card.split.published is not UNKNOWN)
    assert card.split.origin != "official" or any("split" in source.facts for source in card.sources)
    for labels in card.labels:
        assert all(text.isascii() for text in labels.names) and len(set(labels.names)) == len(labels.names)
        bogus = {"phase", "background", "notinitialized", "severeindex", "outofbody", "rest", "unlabeled"}
        assert not bogus & {key_of(text) for text in labels.names}


def test_spellings_differ_by_more_than_punctuation() -> None:
    assert (
        key_of("CalotTriangleDissection") == key_of("Calot triangle dissection") == key_of("calot_triangle-dissection")
    )
    assert key_of("-1") != key_of("1") and key_of("01") != key_of("1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("forms: [phase, clips]", "forms: [phase, clip]"), "did you mean 'clips'"),
        (("layout:", "layuot:"), "did you mean 'layout'"),
        (("  origin: official\n", "  origin: offical\n"), "did you mean 'official'"),
        (("  published: ", "  # published: "), "published is unknown"),
        (("{name: preparation}", "{name: preparation, also: [ClippingCutting]}"), "to two classes"),
        (("  - form: phase", "  - form: step"), "form step, which forms does not"),
    ],
)
def test_a_slip_is_answered(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    text = (TASK_CARDS / "cholec80.yaml").read_text()
    assert change[0] in text
    (tmp_path / "card.yaml").write_text(text.replace(*change, 1))
    with pytest.raises(CardError, match=said):
        load_task_card(tmp_path / "card.yaml")


def test_an_unknown_dataset_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'cholec80'"):
        task_card("cholec_80")
