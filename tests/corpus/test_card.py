"""Cards: typed, and a mistake is answered with a sentence that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.corpus.card import Card, CardError, load_card
from tests.conftest import REPOSITORY


def written(folder: Path, text: str) -> Path:
    path = folder / "card.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_full_card(tmp_path: Path) -> None:
    card = load_card(
        written(
            tmp_path,
            "name: eyes\ndomain: cataract\nprocedure: phaco\nlicence: CC-BY-4.0\ngroup_pattern: 'case_(\\d+)'\n"
            "file_pattern: '*.mp4'\nsplit: {train: 'train/*', test: ['test/*', 'extra/*']}\nnotes: null\n",
        )
    )
    assert card == Card(
        name="eyes",
        domain="cataract",
        procedure="phaco",
        licence="CC-BY-4.0",
        group_pattern=r"case_(\d+)",
        file_pattern=("*.mp4",),
        split={"train": ("train/*",), "test": ("test/*", "extra/*")},
    )
    assert [card.split_of(path) for path in ("train/a.mp4", "extra/b/c.mp4", "other/a.mp4")] == ["train", "test", None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\ndomain: cataract\nlicense: MIT\n", "did you mean 'licence'"),
        ("name: a\ndomain: cataract\nqqqqq: 1\n", "known keys: name, domain"),
        ("name: a\n", "lacks domain"),
        ("domain: other\n", "lacks name"),
        ("name: a\ndomain: eye\n", "choose one of endoscopy, laparoscopy"),
        ("name: a b/c\ndomain: other\n", "must consist of letters"),
        ("name: 7\ndomain: other\n", "put it in quotes"),
        ("name: a\ndomain: other\ngroup_pattern: '('\n", "no regular expression"),
        ("name: a\ndomain: other\nsplit: train\n", "split must map"),
        ("name: a\ndomain: other\nfile_pattern: {a: b}\n", "shell pattern"),
        ("- name\n", "key: value"),
        ("name: [a\n", "cannot be read as YAML"),
        ("", "key: value"),
    ],
)
def test_mistakes_are_explained(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(CardError) as caught:
        load_card(written(tmp_path, text))
    assert words in str(caught.value)
    assert str(tmp_path / "card.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_card(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="there is no card"):
        load_card(tmp_path / "card.yaml")


@pytest.mark.parametrize(
    ("pattern", "path", "group"),
    [
        (None, "case1/a.mp4", "case1"),
        (None, "site/case1/a.mp4", "site/case1"),
        (None, "a.mp4", "a.mp4"),
        (r"case_(\d+)", "x/case_12_part_3.mp4", "12"),
        (r"(?P<other>\w)/(?P<group>\d+)", "x/44/a.mp4", "44"),
        (r"\d+", "a/17_18.mp4", "17"),
        (r"case_(\d+)", "x/lesion_3.mp4", None),
    ],
)
def test_groups(pattern: str | None, path: str, group: str | None) -> None:
    assert Card("a", "other", group_pattern=pattern).group_of(path) == group


def test_every_card_that_we_ship_loads() -> None:
    cards = [load_card(path) for path in sorted((REPOSITORY / "corpora").glob("*.yaml"))]
    assert {card.domain for card in cards} >= {"endoscopy", "laparoscopy", "cataract", "robotic"}
    assert len({card.name for card in cards}) == len(cards)
    assert all(card.licence and card.home for card in cards)
