"""Every known downstream set has its line, the worst that is known of it, and silence is never innocence."""

from __future__ import annotations

import pytest

from surgrec.corpus.card import shipped_cards
from surgrec.corpus.downstream import Downstream, downstream_sets
from surgrec.corpus.gate import Outcome, Standing
from surgrec.corpus.original_names import OriginalNames
from surgrec.corpus.verdict import TestVideos
from tests.corpus.test_manifest import manifest, row

CARDS = shipped_cards()
BENCHMARKED = sorted(name for name, card in CARDS.items() if card.benchmarks)


def lines(sources: list[str], *tests: Outcome) -> dict[str, Downstream]:
    return {one.name: one for one in downstream_sets(sources, Standing((), 9, tests, ()), CARDS)}


def outcome(num_found: int, num_open: int, is_begun: bool, *published: str) -> Outcome:
    return Outcome("test set 3f2a9c1e (4 videos)", num_found, num_open, is_begun, published)


def test_every_set_of_a_benchmark_is_listed_and_not_compared_until_somebody_did() -> None:
    found = lines(["my-hospital"])
    assert sorted(found) == BENCHMARKED and len(BENCHMARKED) >= 16
    assert {one.status for one in found.values()} == {"not compared"}
    unknown = downstream_sets(["my-hospital"], None, CARDS)
    assert {one.status for one in unknown} == {"unknown"} and [one.name for one in unknown] == BENCHMARKED


@pytest.mark.parametrize(
    ("test", "status", "said"),
    [
        (outcome(2, 0, True, "cholec80"), "found", "2 videos of the training footage"),
        (outcome(2, 5, True, "cholec80"), "found", "2 videos"),
        (outcome(0, 5, True, "cholec80"), "not wholly compared", "5 of 9 videos"),
        (outcome(0, 9, False, "cholec80"), "not compared", "its footage was not compared"),
        (outcome(0, 0, True, "cholec80"), "nothing found", "all of the training footage was compared"),
    ],
)
def test_what_was_compared_decides(test: Outcome, status: str, said: str) -> None:
    line = lines(["my-hospital"], test)["cholec80"]
    assert line.status == status and said in line.detail


def test_the_worst_of_several_comparisons_counts() -> None:
    clean, found, begun = (
        outcome(0, 0, True, "cholec80"),
        outcome(1, 0, True, "cholec80"),
        outcome(0, 3, True, "cholec80"),
    )
    assert lines(["x"], clean, begun)["cholec80"].status == "not wholly compared"
    assert lines(["x"], clean, begun, found)["cholec80"].status == "found"
    assert lines(["Cholec-80"], clean)["cholec80"].status == "source of the training", "whatever was compared"


def test_cards_tell_of_shared_recordings_in_either_direction() -> None:
    overlapping = next(one.source for one in CARDS["cholec80"].overlaps)
    assert f"the source {overlapping} and this set share recordings" in lines([overlapping])["cholec80"].detail
    other = lines(["cholec80"])
    shared = {overlap.source for overlap in CARDS["cholec80"].overlaps} & set(BENCHMARKED)
    assert shared and all("share recordings" in other[name].detail for name in shared)
    assert "share recordings" not in lines(["my-hospital"])["cholec80"].detail


def test_test_sets_of_anybody_stand_beside_the_published_ones() -> None:
    found = lines(["x"], outcome(1, 0, True), outcome(0, 0, True, "glenda"))
    assert found["test set 3f2a9c1e (4 videos)"].status == "found"
    assert found["glenda"].status == "nothing found", "a published set that no benchmark has, since it was compared"


def test_a_label_tells_its_published_sources() -> None:
    labels = {
        "test set 3f2a9c1e (40 videos, cholec80)": ("cholec80",),
        "test set 3f2a9c1e (1,240 videos, cholec80, glenda, others)": ("cholec80", "glenda"),
        "test set 3f2a9c1e (1 video)": (),
    }
    for label, names in labels.items():
        assert TestVideos("key", label, ()).published == names


def test_names_of_files_are_recognised_as_whole_words() -> None:
    paths = ("a/Muster_Erika.mp4", "b/video01.mp4", "19610423.avi", "c/01.mp4", "d/op.mp4")
    names = OriginalNames(manifest(*(row(number, path=path) for number, path in enumerate(paths))))
    for text in (
        "muster erika",
        "agreed on Muster-Erika.mp4",
        "source Video01",
        "video01.mp4",
        "x 19610423 y",
        "01.mp4",
    ):
        assert names.are_in(text), text
    for text in ("muster", "erika", "CC BY 4.0", "video012", "01", "op", "Musters Erika", ""):
        assert not names.are_in(text), text
