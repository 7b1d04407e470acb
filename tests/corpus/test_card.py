"""Cards: typed, and a mistake is answered with a sentence that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.corpus.card import (
    UNKNOWN,
    Card,
    CardError,
    contradictions,
    find_card,
    load_card,
    load_cards,
    shipped_cards,
)
from surgrec.corpus.facts import Overlap


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


# -- documented cards

DOCUMENTED = """\
name: cases
domain: laparoscopy
procedures: [cholecystectomy]
licence: unknown
access: open
published: {videos: 2, hours: unknown}
layout: videos/case_N.mp4
group: case
group_pattern: case_(\\d+)
file_pattern: videos/*.mp4
split: {train: "videos/case_1.mp4"}
examples:
  - {path: videos/case_1.mp4, group: "1", split: train}
sources:
  - facts: [procedures, access, published, layout, group, split]
    cite: a page
"""


def changed(old: str, new: str) -> str:
    assert old in DOCUMENTED
    return DOCUMENTED.replace(old, new)


def test_a_documented_card(tmp_path: Path) -> None:
    card = load_card(written(tmp_path, DOCUMENTED))
    assert card.is_documented and card.procedure == "cholecystectomy" and card.procedures == ("cholecystectomy",)
    assert card.published.videos == 2 and card.published.hours is UNKNOWN and card.published.frames is UNKNOWN
    assert card.licence is UNKNOWN and f"{card.licence}" == "unknown" and not isinstance(card.licence, str)
    assert card.overlaps == () and card.personal_data.faces is UNKNOWN
    assert [card.takes(path) for path in ("videos/a.mp4", "labels/a.txt")] == [True, False]


def test_what_a_simple_card_does_not_say_is_unknown(tmp_path: Path) -> None:
    card = load_card(written(tmp_path, "name: a\ndomain: other\ngroup_pattern: 'case_(\\d+)'\n"))
    assert not card.is_documented and card.takes("a.mp4") is None
    facts = (card.licence, card.procedure, card.procedures, card.access, card.group, card.fps, card.layout)
    assert all(fact is UNKNOWN for fact in facts)
    assert card == Card("a", "other", group_pattern=r"case_(\d+)")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("videos: 2", "videos: -2", "0 or more, or unknown"),
        ("videos: 2", "videos: 2.5", "published.videos must be a whole number or unknown"),
        ("videos: 2", "videos: 2, frames: 1", "less than published.videos"),
        ("videos: 2, hours: unknown", "videos: 0, hours: 3", "published.videos is 0"),
        ("videos: 2", "videso: 2", "unknown key 'videso' in published; did you mean 'videos'"),
        ("access: open", "access: opne", "did you mean 'open'"),
        ("access: open", "access: sesame", "choose one of open, form"),
        ("procedures:", "procedure: x\nprocedures:", "not both"),
        ("[cholecystectomy]", "[a, a]", "names one twice"),
        ("group: case\n", "group: unknown\n", "say what it is in group"),
        ("case_(\\d+)", "(\\d*)", "also matches nothing"),
        ("file_pattern: videos", "file_pattern: /videos", "fits no path"),
        ("file_pattern: videos/*.mp4", "file_pattern: ./videos/*.mp4", "fits no path"),
        ('"videos/case_1.mp4"', '"videos\\\\\\\\*.mp4"', "fits no path"),
        ('"videos/case_1.mp4"}', '"videos/*", test: ["videos/*"]}', "in the splits train and test"),
        ("file_pattern: videos/*.mp4", "file_pattern: clips/*.mp4", "does not take the example"),
        ('group: "1"', 'group: "2"', "is read as '1', not '2'"),
        (", split: train}", "}", "is read as 'train', not None"),
        ("layout: videos/case_N.mp4", "layout: unknown", "describe it in layout"),
        ("published, layout", "layout", "no source is given for published.videos"),
        ("[procedures,", "[procedures, licence,", "which the card does not know"),
        ("[procedures,", "[prosedures,", "did you mean 'procedures'"),
        ("cite: a page", "cites: a page", "unknown key 'cites' in sources[0]; did you mean 'cite'"),
        ("cite: a page", "cite: ''", "is empty"),
        ("licence: unknown", "fps: 0", "fps must be above 0"),
        ("licence: unknown", "fps: yes", "fps must be a number or unknown"),
        ("licence: unknown", "resolution: 1080p", "must read WIDTHxHEIGHT"),
        ("licence: unknown", "arxiv: 1602.03012", "put it in quotes"),
        ("licence: unknown", "arxiv: '160203012'", "must be a number such as"),
        ("licence: unknown", "doi: https://doi.org/10.1/x", "without an address"),
        ("licence: unknown", "labels: []", "is an empty list"),
        ("licence: unknown", "overlaps: [{source: cases, how: subset, note: n, cite: c}]", "overlaps with itself"),
        ("licence: unknown", "overlaps: [{source: b, how: subste, note: n, cite: c}]", "did you mean 'subset'"),
        ("licence: unknown", "overlaps: [{source: b, how: subset, note: n}]", "overlaps[0] lacks cite"),
        ("licence: unknown", "personal_data: {faces: maybe}", "choose one of present, removed, absent"),
        ("licence: unknown", "published_by: x", "did you mean 'published'"),
    ],
)
def test_a_card_that_cannot_be_true_is_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(CardError) as caught:
        load_card(written(tmp_path, changed(old, new)))
    assert words in str(caught.value) and str(tmp_path / "card.yaml") in str(caught.value)


# -- cards together


def overlapping(name: str, other: str, how: str = "subset") -> Card:
    return Card(name, "other", overlaps=(Overlap(other, how, "note", "page"),))


def test_overlaps_agree_and_name_cards() -> None:
    a, b = overlapping("a", "b"), overlapping("b", "a")
    assert contradictions({"a": a, "b": b}) == [] and contradictions({"a": a, "b": Card("b", "other")}) == []
    assert contradictions({"a": a}) == ["a overlaps with b, which has no card"]
    told = contradictions({"a": a, "b": overlapping("b", "a", "same_videos")})
    assert "a says subset of b, which says same_videos" in told


def test_names_are_used_once(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("name: eyes\ndomain: cataract\n")
    assert list(load_cards(tmp_path)) == ["eyes"]
    (tmp_path / "two.yaml").write_text("name: Eyes\ndomain: cataract\n")
    with pytest.raises(CardError, match="have the same name, Eyes"):
        load_cards(tmp_path)
    with pytest.raises(CardError, match="there are no cards"):
        load_cards(tmp_path / "nowhere")


def test_a_card_is_found_by_name_or_path(tmp_path: Path) -> None:
    path = written(tmp_path, "name: eyes\ndomain: cataract\n")
    assert find_card(str(path)).name == "eyes" and find_card("cholec80") == shipped_cards()["cholec80"]
    with pytest.raises(CardError, match="did you mean cholec80"):
        find_card("Cholec-80")
    with pytest.raises(CardError, match="there is no card at"):
        find_card(str(tmp_path / "none.yaml"))


def test_a_group_that_is_no_text_is_none() -> None:
    """Or strangers would belong together, and a split would keep them so."""
    card = Card("a", "other", group_pattern="^(q?)[a-z]")
    assert [card.group_of(path) for path in ("q_1.mp4", "anna.mp4", "bert.mp4")] == [None, None, None]
    assert Card("a", "other", group_pattern="^(q?)[a-z]").group_of("qa.mp4") == "q"
    assert Card("a", "other", group_pattern="^(?P<group>q?)([a-z])").group_of("anna.mp4") is None
