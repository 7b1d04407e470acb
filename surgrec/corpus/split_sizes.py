"""How much can these splits tell: majority rate, chance, and the interval that so few clips or patients allow.

In: splits, and the group of each clip. Out: a summary of every split and findings about what is too small. It is its own file
because it is the arithmetic of intervals.

Intervals are Wilson's (1927; Brown, Cai & DasGupta 2001, doi 10.1214/ss/1009213286) at 95 %. Clips of one patient are no
independent findings: between n clips (all independent) and (sum of m)^2 / (sum of m^2) (all clips of a group agree, m clips a
group; Kish 1965) lies the number that counts. Their quotient is the largest possible design effect.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from surgrec.core.wording import counted
from surgrec.corpus.class_names import ClassNames
from surgrec.corpus.split_finding import Finding, Table, percent
from surgrec.corpus.splits import Clip, Splits, label_order

GroupOf = Callable[[Clip], str | None]

_Z = 1.959963984540054  # 95 %
_MAX_HALF_WIDTH = 0.10  # of a test accuracy near 50 %: met by 93 clips
_MAX_CLASS_HALF_WIDTH = 0.25  # of a class's recall near 50 %, and of an accuracy by groups: met by 12
_MIN_TRAIN_CLIPS = 12  # of a class; a choice, the same number as for test
_HIGH_MAJORITY = 0.5


def wilson(num_right: float, num: float) -> tuple[float, float]:
    """The 95 % interval of a rate of `num_right` in `num` > 0; `num` may be an effective number, not whole."""
    rate, spread = num_right / num, _Z**2 / num
    center = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)


def half_width(num: float) -> float:
    """Half of the 95 % interval of a rate near 50 % measured on `num` clips."""
    low, high = wilson(num / 2, num)
    return (high - low) / 2


@dataclass(frozen=True)
class SplitSummary:
    """One split. `majority` is the share of its most frequent class, what a constant answer scores, with its interval;
    `chance` is 1 / classes; `half_width` is of an accuracy near 50 %. The fields of groups are None where they are unknown:
    `effective` is the number of clips if all clips of a group agree, `half_width_groups` the half width for it, and
    `design_effect` the largest, clips / effective. Clips without a group count as groups of their own."""

    name: str
    num_clips: int
    num_classes: int
    majority_label: str
    majority: float
    majority_low: float
    majority_high: float
    chance: float
    half_width: float
    num_groups: int | None = None
    effective: float | None = None
    half_width_groups: float | None = None
    design_effect: float | None = None


def summary(name: str, clips: Sequence[Clip], group_of: GroupOf | None) -> SplitSummary:
    """The summary of one split, which has clips."""
    labels = Counter(clip.label for clip in clips)
    majority_label, num_majority = min(labels.items(), key=lambda item: (-item[1], label_order(item[0])))
    low, high = wilson(num_majority, len(clips))
    plain = SplitSummary(
        name,
        len(clips),
        len(labels),
        majority_label,
        num_majority / len(clips),
        low,
        high,
        1 / len(labels),
        half_width(len(clips)),
    )
    if group_of is None:
        return plain
    sizes = Counter(group_of(clip) or f"alone {clip.path}" for clip in clips)
    effective = len(clips) ** 2 / sum(size**2 for size in sizes.values())
    by_groups = {
        "num_groups": len(sizes),
        "effective": effective,
        "half_width_groups": half_width(effective),
        "design_effect": len(clips) / effective,
    }
    return SplitSummary(**{**plain.__dict__, **by_groups})


def size_findings(splits: Splits, names: ClassNames, test: SplitSummary) -> list[Finding]:
    """Findings about what is too small or too unequal; `test` is the summary of the test set."""
    return [*_small_test(test), *_few_groups(test), *_tiny_classes(splits, names), *_majority(names, test)]


def _small_test(test: SplitSummary) -> list[Finding]:
    if test.half_width <= _MAX_HALF_WIDTH:
        return []
    return [
        Finding(
            "tiny_test",
            "warning",
            f"The test set has {counted(test.num_clips, 'clip')}: an accuracy near 50 % is known to ±{100 * test.half_width:.0f} "
            f"points at best (95 %), and one clip is worth {100 / test.num_clips:.1f} points.",
            "Test on more clips (cross-validation over groups uses all), or report intervals and draw no ranking from it.",
            {"clips": test.num_clips, "half_width": test.half_width, "points_per_clip": 1 / test.num_clips},
        )
    ]


def _few_groups(test: SplitSummary) -> list[Finding]:
    if test.effective is None or test.half_width_groups is None or test.half_width_groups <= _MAX_CLASS_HALF_WIDTH:
        return []
    return [
        Finding(
            "few_test_groups",
            "warning",
            f"The test set has {counted(test.num_groups or 0, 'group')}, which are worth between {test.effective:.1f} and "
            f"{counted(test.num_clips, 'independent clip')} (design effect up to {test.design_effect:.1f}): an accuracy near 50 % "
            f"is known to between ±{100 * test.half_width:.0f} and ±{100 * test.half_width_groups:.0f} points (95 %).",
            "Report intervals by bootstrap over groups, or cross-validate over groups.",
            {
                "groups": test.num_groups or 0,
                "clips": test.num_clips,
                "effective": test.effective,
                "design_effect": test.design_effect or 0.0,
                "half_width_groups": test.half_width_groups,
            },
        )
    ]


def _tiny_classes(splits: Splits, names: ClassNames) -> list[Finding]:
    train = Counter(clip.label for clip in splits.train)
    test = Counter(clip.label for clip in splits.test)
    tiny = [
        label
        for label in splits.labels()
        if 0 < train[label] < _MIN_TRAIN_CLIPS or (test[label] and half_width(test[label]) > _MAX_CLASS_HALF_WIDTH)
    ]
    if not tiny:
        return []
    rows = tuple(
        (
            names.shown(label),
            train[label],
            test[label],
            f"±{100 * half_width(test[label]):.0f}" if test[label] else "none",
        )
        for label in tiny
    )
    return [
        Finding(
            "tiny_classes",
            "warning",
            f"{counted(len(tiny), 'class')} of {len(splits.labels())} with fewer than {_MIN_TRAIN_CLIPS} clips in train or test; "
            f"the recall of a class is then known to ±{100 * _MAX_CLASS_HALF_WIDTH:.0f} points or worse.",
            "Merge or leave out such classes, or report them without ranking by them.",
            {"classes": len(tiny)},
            Table(("class", "train clips", "test clips", "half width of recall near 50 %"), rows),
        )
    ]


def _majority(names: ClassNames, test: SplitSummary) -> list[Finding]:
    if test.majority < _HIGH_MAJORITY or test.num_classes == 1:
        return []
    return [
        Finding(
            "high_majority",
            "note",
            f"Answering {names.shown(test.majority_label)} always scores {percent(test.majority)} on test (95 %: "
            f"{percent(test.majority_low)} to {percent(test.majority_high)}); chance is {percent(test.chance)}.",
            "Report balanced accuracy or macro F1 beside accuracy, and this number in the table.",
            {"label": test.majority_label, "majority": test.majority, "chance": test.chance},
        )
    ]
