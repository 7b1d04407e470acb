"""The cards of published sources: each fact has a source, each pattern fits a documented path, overlaps are told on both sides."""

from __future__ import annotations

import itertools

import pytest
import yaml

from surgrec.corpus.card import CARDS, Card, contradictions, load_card, shipped_cards
from surgrec.corpus.facts import UNKNOWN, Published
from tests.conftest import REPOSITORY

SHIPPED = shipped_cards()
NAMES = sorted(SHIPPED)

# Named in arXiv 2603.29966 or its repository; LapGyn4 stands for two sources, see the card gyn_events.
DOWNSTREAM = {
    "aixsuture", "autolaparo", "cataract_21", "cataract_101", "cataract_1k", "cholec80", "colonoscopic", "hyper_kvasir", "jigsaws",
    "kvasir_capsule", "lapgyn4", "gyn_events", "ldpolypvideo", "m2cai16_workflow", "multibypass140", "sar_rarp50", "surgicalactions160",
}  # fmt: skip
ALSO_NAMED = {
    "cholect45", "cholect50", "cholecseg8k", "heichole", "heico", "glenda", "endoscapes2023", "sun", "sun_seg", "polypgen", "cataracts",
    "cadis", "surgtoolloc_2022", "surgvu", "endovis2015_workflow", "endovis2017_instrument", "endovis2018_scene", "robust_mis_2019",
    "grasp", "psi_ava", "pitvis", "avos", "esad", "petraw", "dsad", "hsdb_chole", "hsdb_gastric", "tum_lapchole", "pmlr50",
    "surgenet_youtube", "ophnet2024", "cvc_clinicvideodb",
}  # fmt: skip


def test_there_are_enough_and_those_that_are_named() -> None:
    assert len(SHIPPED) >= 40 and set(SHIPPED) >= DOWNSTREAM | ALSO_NAMED
    assert {name for name, card in SHIPPED.items() if card.benchmarks} == DOWNSTREAM
    assert {card.domain for card in SHIPPED.values()} == {"endoscopy", "laparoscopy", "cataract", "robotic", "other"}
    assert CARDS == REPOSITORY / "corpora"


@pytest.mark.parametrize("name", NAMES)
def test_a_card(name: str) -> None:
    """What the reader of cards cannot know: that this one was filled in, and says so where nobody knows."""
    card = SHIPPED[name]
    assert card.is_documented and card.title is not UNKNOWN and card.citation is not UNKNOWN
    assert all(source.cite and not source.cite.startswith("/") for source in card.sources)
    told = yaml.safe_load((CARDS / f"{name}.yaml").read_text())
    for key in ("procedures", "licence", "access", "layout", "group", "fps", "resolution", "media", "official_splits"):
        assert key in told, f"{key} is left out; write unknown where it is not known"
    assert set(told["published"]) == {"videos", "hours", "frames", "images"}


@pytest.mark.parametrize("name", [name for name in NAMES if SHIPPED[name].group_pattern or SHIPPED[name].file_pattern])
def test_patterns_fit_the_documented_layout(name: str) -> None:
    """The card itself refuses an example that its patterns do not read so; here: that there is one, and others are refused."""
    card = SHIPPED[name]
    assert card.examples, "a pattern without a documented path proves nothing"
    for example in card.examples:
        assert card.takes(example.path) in (True, None)
        assert card.group_of(example.path) == example.group and card.split_of(example.path) == example.split
    assert card.takes("annotations/readme.txt") in (False, None)
    if card.group_pattern is not None:
        assert card.group_of("annotations/readme.txt") is None


@pytest.mark.parametrize("name", [name for name in NAMES if SHIPPED[name].split])
def test_splits_share_no_example_and_are_used(name: str) -> None:
    card = SHIPPED[name]
    assert any(example.split for example in card.examples)
    assert card.split_of("nowhere/at_all.txt") is None


# Videos that the notes of the cards name, by their numbers in Cholec80, and above 80 in CholecT50, which counts on.
NAMED = {
    "m2cai16_tool": {61, 62, *range(64, 77)},
    "m2cai16_workflow": {73, 77, 78, 79, 80},
    "endoscapes2023": {66, 67, 68, 70, 71, 72, 96, 103, 110},
    "cholect45": {1, 62, 65, 66, 68, 70, 73, 74, 75},
    "cholect50": {1, 62, 65, 66, 68, 70, 73, 74, 75, 92, 96, 103, 110, 111},
    "cholectrack20": {12, 31, 92, 96, 103, 110, 111},
    "cholecseg8k": {1},
}


@pytest.mark.parametrize(("one", "other"), itertools.combinations(NAMED, 2))
def test_what_two_cards_say_of_a_third_they_say_of_each_other(one: str, other: str) -> None:
    """Two sources with the same video of a third share it, and only a card that says so keeps one out of the other's test."""
    if NAMED[one] & NAMED[other]:
        assert [entry.how for entry in SHIPPED[one].overlaps if entry.source == other] == ["subset"]


def test_overlaps_are_told_on_both_sides() -> None:
    assert contradictions(SHIPPED) == []
    one_sided = [
        (card.name, overlap.source)
        for card in SHIPPED.values()
        for overlap in card.overlaps
        if card.name not in {back.source for back in SHIPPED[overlap.source].overlaps}
    ]
    assert one_sided == []


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ("cholec80", "cholect50", "subset"),
        ("cholec80", "cholect45", "subset"),
        ("cholec80", "cholecseg8k", "subset"),
        ("cholec80", "m2cai16_workflow", "subset"),
        ("cholec80", "endoscapes2023", "subset"),
        ("cholect50", "endoscapes2023", "subset"),
        ("m2cai16_workflow", "tum_lapchole", "subset"),
        ("cataracts", "cadis", "subset"),
        ("grasp", "psi_ava", "subset"),
        ("sun", "sun_seg", "same_videos"),
        ("heico", "robust_mis_2019", "same_videos"),
        ("surgtoolloc_2022", "surgvu", "subset"),
        ("hyper_kvasir", "polypdiag", "subset"),
    ],
)
def test_known_overlaps(one: str, other: str, how: str) -> None:
    assert {overlap.source: overlap.how for overlap in SHIPPED[one].overlaps}[other] == how
    assert {overlap.source: overlap.how for overlap in SHIPPED[other].overlaps}[one] == how


def numbered(card: Card, form: str, numbers: range) -> dict[str | None, int]:
    """How many of the paths fall in each split; every path must be taken and be a group of its own."""
    paths = [form.format(number) for number in numbers]
    assert all(card.takes(path) in (True, None) for path in paths)
    assert len({card.group_of(path) for path in paths}) == len(paths) and None not in map(card.group_of, paths)
    found = [card.split_of(path) for path in paths]
    return {split: found.count(split) for split in sorted(set(found), key=str)}


@pytest.mark.parametrize(
    ("name", "form", "numbers", "splits"),
    [
        ("cholec80", "videos/video{:02d}.mp4", range(1, 81), {"train": 40, "test": 40}),
        ("autolaparo", "videos/{:02d}.mp4", range(1, 22), {"train": 10, "val": 4, "test": 7}),
        ("m2cai16_workflow", "train_dataset/workflow_video_{:02d}.mp4", range(1, 28), {"train": 27}),
        ("m2cai16_workflow", "test_dataset/test_workflow_video_{:02d}.mp4", range(1, 15), {"test": 14}),
        ("multibypass140", "BernBypass70/videos/BBP{:02d}.mp4", range(1, 71), {None: 70}),
        ("cataract_101", "videos/case_{}.mp4", range(269, 370), {None: 101}),
        ("heichole", "Videos/Full/Hei-Chole{}.mp4", range(1, 25), {None: 24}),
        ("sar_rarp50", "train1/video_{}/video_left.avi", range(1, 41), {"train": 40}),
        ("endoscapes2023", "test/{}_29375.jpg", range(162, 202), {"test": 40}),
    ],
)
def test_official_splits_have_their_published_sizes(
    name: str, form: str, numbers: range, splits: dict[str, int]
) -> None:
    assert numbered(SHIPPED[name], form, numbers) == splits


@pytest.mark.parametrize(
    ("name", "paths", "together"),
    [
        ("colonoscopic", ("Adenoma/WL(38).mp4", "Adenoma/NBI(38).mp4"), True),
        (
            "jigsaws",
            ("Suturing/video/Suturing_B001_capture1.avi", "Knot_Tying/video/Knot_Tying_B004_capture2.avi"),
            True,
        ),
        ("jigsaws", ("Suturing/video/Suturing_B001_capture1.avi", "Suturing/video/Suturing_C001_capture1.avi"), False),
        ("surgvu", ("case_002/case_002_video_part_001.mp4", "case_002/case_002_video_part_002.mp4"), True),
        ("sun_seg", ("TrainDataset/Frame/case1_1/a.jpg", "TestHardDataset/Frame/case1_2/b.jpg"), True),
        ("cholec80", ("videos/video01.mp4", "videos/video11.mp4"), False),
        ("kvasir_capsule", ("04a78ef00c5245e0_48542-48622.mp4", "x/04a78ef00c5245e0_50000-50100.mp4"), True),
        ("gyn_events", ("a/case_651_irrelevant_40.mp4", "Bleeding/case_651_Bleeding_1.mp4"), True),
        ("aixsuture", ("all/X88U.mp4", "all/U88X.mp4"), True),
    ],
)
def test_what_belongs_together_stays_together(name: str, paths: tuple[str, str], together: bool) -> None:
    groups = [SHIPPED[name].group_of(path) for path in paths]
    assert None not in groups and (groups[0] == groups[1]) == together


def test_heichole_takes_each_operation_once() -> None:
    assert not SHIPPED["heichole"].takes("Videos/Full/HD/Hei-Chole1_HD.mp4")
    assert not SHIPPED["heichole"].takes("Videos/Skill/Hei-Chole1_calot.mp4")


def test_unknown_is_used_where_nothing_is_known() -> None:
    """Some facts are hard to find: a set of cards without a gap would be made up."""
    assert any(card.licence is UNKNOWN for card in SHIPPED.values())
    assert any(card.published == Published() for card in SHIPPED.values())


def test_the_examples_beside_them_load() -> None:
    cards = [load_card(path) for path in sorted(CARDS.glob("example_*.yaml"))]
    assert {card.domain for card in cards} >= {"endoscopy", "laparoscopy", "cataract", "robotic"}
    assert all(isinstance(card.licence, str) and isinstance(card.home, str) for card in cards)
    assert not {card.name for card in cards} & set(SHIPPED)
