"""Lists made on different machines name the same clips; lists of different centres, or of train and test, do not."""

from __future__ import annotations

import pytest

from surgrec.corpus.class_names import ClassNames
from surgrec.corpus.split_leakage import repeated_clips
from surgrec.corpus.split_roots import respelled
from surgrec.corpus.splits import Clip, Splits

TAILS = [f"v{number}/clip_{number}.mp4" for number in range(10)]


def below(root: str, tails: list[str] = TAILS) -> list[str]:
    return [f"{root}{tail}" for tail in tails]


@pytest.mark.parametrize(
    ("one", "other", "is_certain"),
    [
        ("", "/mnt/d/", True),
        ("", "D:/", True),
        ("C:/data/", "/srv/", True),
        ("/media/alice/", "/data/root/", True),
        ("/media/alice/", "/media/bob/", False),
    ],
)
def test_the_same_clips_below_other_roots(one: str, other: str, is_certain: bool) -> None:
    for first, second in ((below(one), below(other)), (below(other), below(one))):
        found = respelled(first, second)
        assert found is not None and found.tails == tuple(sorted(TAILS)) and found.is_certain is is_certain
    few = respelled(below(one), below(other, [*TAILS[:2], "v0/x.mp4"]))
    assert few is not None and few.tails == tuple(TAILS[:2])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train/", "test/"),
        ("", "/mnt/d/test/"),
        ("/mnt/d/train/", "/srv/Test/"),
        ("centre_a/", "centre_b/"),
        ("centre_a/", "/mnt/d/centre_b/"),
        ("", "other/"),
    ],
)
def test_names_that_are_counted_anew_in_every_folder_are_not_the_same_clips(one: str, other: str) -> None:
    assert respelled(below(one), below(other)) is None
    assert respelled([], below(other)) is None


def test_an_audit_says_so_with_the_real_clips_as_examples() -> None:
    def clips(root: str) -> tuple[Clip, ...]:
        return tuple(Clip(path, "0") for path in below(root))

    (found,) = repeated_clips(Splits(clips(""), (), clips("/mnt/d/")), ClassNames({}, "none"))
    assert (found.kind, found.severity, found.evidence["shared_clips"]) == ("same_clip_under_another_root", "error", 10)
    assert found.clips == tuple(sorted(TAILS)) and "v0" not in found.what
