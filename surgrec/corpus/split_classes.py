"""Are the classes classes, each one thing, and each in every split?

In: splits and the names of their classes. Out: findings about labels. It is its own file because it reads names, where the
others count clips.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from surgrec.core.wording import counted
from surgrec.corpus.class_names import ClassNames, is_german, is_heading, is_no_class, meaning, negative_word
from surgrec.corpus.split_finding import MAX_EXAMPLES, Finding, Severity, Table, Value, percent
from surgrec.corpus.splits import Clip, Splits, by_label, is_number

GroupOf = Callable[[Clip], str | None]
_MIN_MIXED_SHARE = 0.05  # of a class's clips; below it is a stray word in some names
_MANY_GROUPS = 10  # below, "exactly once in every group" happens by chance


def class_findings(splits: Splits, names: ClassNames, group_of: GroupOf) -> list[Finding]:
    """All findings about classes."""
    return [
        *bogus_classes(splits, names, group_of),
        *mixed_classes(splits, names),
        *duplicate_classes(splits, names),
        *names_in_two_languages(splits, names),
        *absent_classes(splits, names),
        *unused_labels(splits),
        *label_in_path(splits, names),
    ]


def bogus_classes(splits: Splits, names: ClassNames, group_of: GroupOf) -> list[Finding]:
    """Names that are a table's heading or an annotation state; and a class that alone is once in every group."""
    findings = []
    once = _once_in_every_group(splits, group_of)
    for label in splits.labels():
        name = names.name_of(label)
        if name is not None and (is_heading(name) or is_no_class(name)):
            findings.append(_bogus(splits, names, label, is_heading(name), once.get(label)))
    told = {finding.evidence["label"] for finding in findings}
    if len(once) == 1 and not told & set(once):
        ((label, num_groups),) = once.items()
        findings.append(
            Finding(
                "class_once_in_every_group",
                "note",
                f"{names.shown(label)} alone of all classes has exactly one clip in each of {counted(num_groups, 'group')}. Markers and "
                f"the heading of a table read as its first row look like that.",
                "Look at some of its clips.",
                {"label": label, "groups": num_groups},
            )
        )
    return findings


def mixed_classes(splits: Splits, names: ClassNames) -> list[Finding]:
    """Labels part of whose clips are, by folder or file name, clips without the event."""
    rows, num_mixed, examples = [], 0, []
    for label, clips in by_label(set(splits.all_clips())).items():
        negatives = [clip for clip in clips if negative_word(clip.path) is not None]
        if _MIN_MIXED_SHARE * len(clips) <= len(negatives) < len(clips):
            words = sorted({word for clip in negatives if (word := negative_word(clip.path)) is not None})
            rows.append((names.shown(label), len(negatives), len(clips), len(negatives) / len(clips), ", ".join(words)))
            num_mixed += len(negatives)
            examples += [clip.path for clip in negatives]
    if not rows:
        return []
    # a single one may be the negatives, under several names
    severity: Severity = "error" if len(rows) > 1 else "warning"
    return [
        Finding(
            "negatives_labelled_as_event",
            severity,
            f"{counted(num_mixed, 'clip')} named as without the event carry the label of the event, in "
            f"{counted(len(rows), 'class')}: these labels mean the folder that a clip came from.",
            "Give the negatives a label of their own, or leave them out.",
            {"classes": len(rows), "clips": num_mixed},
            Table(("class", "negatives", "clips", "share", "words in the names"), tuple(rows)),
            clips=tuple(sorted(set(examples))[:MAX_EXAMPLES]),
        )
    ]


def duplicate_classes(splits: Splits, names: ClassNames) -> list[Finding]:
    """Labels whose names say the same."""
    labels_of: dict[str, list[str]] = defaultdict(list)
    for label in splits.labels():
        if (name := names.name_of(label)) is not None:
            labels_of[meaning(name)].append(label)
    return [
        Finding(
            "duplicate_classes",
            "warning",
            f"{' and '.join(map(names.shown, labels))} have names that say the same.",
            "Merge them, or name what tells them apart.",
            {"labels": ", ".join(labels)},
        )
        for labels in labels_of.values()
        if len(labels) > 1
    ]


def names_in_two_languages(splits: Splits, names: ClassNames) -> list[Finding]:
    """German class names, which models of language and readers may not know."""
    known = [(label, name) for label in splits.labels() if (name := names.name_of(label)) is not None]
    german = [label for label, name in known if is_german(name)]
    if not german:
        return []
    return [
        Finding(
            "class_names_not_english",
            "warning",
            f"{len(german)} of {counted(len(known), 'class name')} are German: {', '.join(map(names.shown, german))}.",
            "Give English names in the label file, above all where names are put into a prompt.",
            {"german": len(german), "named": len(known)},
        )
    ]


def absent_classes(splits: Splits, names: ClassNames) -> list[Finding]:
    """Classes that are tested and never trained, or trained and never tested."""
    train, test, val = ({clip.label for clip in clips} for clips in (splits.train, splits.test, splits.val))
    never_trained = [label for label in splits.labels() if label in test | val and label not in train]
    never_tested = [label for label in splits.labels() if label in train and label not in test]
    findings = []
    if never_trained:
        num_clips = sum(clip.label in never_trained for clip in splits.test)
        findings.append(
            Finding(
                "class_absent_from_train",
                "error",
                f"{_names(names, never_trained)}: no train clip; the {counted(num_clips, 'test clip')} of it cannot be right.",
                "Move some of its groups to train, or leave the class out.",
                {"labels": ", ".join(never_trained), "test_clips": num_clips},
            )
        )
    if never_tested:
        findings.append(
            Finding(
                "class_absent_from_test",
                "warning",
                f"{_names(names, never_tested)}: no test clip; the scores say nothing of it.",
                "Move some of its groups to test, or leave the class out.",
                {"labels": ", ".join(never_tested)},
            )
        )
    return findings


def unused_labels(splits: Splits) -> list[Finding]:
    """Whole numbers below the largest label that no clip has, and negative ones."""
    labels = splits.labels()
    if not all(map(is_number, labels)):
        return []
    numbers = {int(label) for label in labels}
    gaps = [number for number in range(max(numbers) + 1) if number not in numbers] if max(numbers) < 100_000 else []
    below = sorted(number for number in numbers if number < 0)
    if not gaps and not below:
        return []
    unused = f"no clip has {', '.join(map(str, gaps[:20]))}{' ...' if len(gaps) > 20 else ''}" if gaps else ""
    negative = f"{', '.join(map(str, below))} cannot be the number of an output" if below else ""
    return [
        Finding(
            "label_gap",
            "warning",
            f"The labels run to {max(numbers)}, but {'; '.join(filter(None, (unused, negative)))}. A classifier has outputs that "
            f"nothing trains, or a class was lost.",
            "Number the classes from 0 without gaps.",
            {"classes": len(numbers), "largest": max(numbers), "gaps": len(gaps), "negative": len(below)},
        )
    ]


def label_in_path(splits: Splits, names: ClassNames) -> list[Finding]:
    """That names of folders or files tell every label."""
    labels = splits.labels()
    if names.origin not in ("folder", "file name") or any(names.name_of(label) is None for label in labels):
        return []
    return [
        Finding(
            "label_in_path",
            "note",
            f"The {names.origin} of a clip tells its label, for all {counted(len(labels), 'class')}.",
            "Show no path to what is evaluated: a language model reads it.",
            {"classes": len(labels), "where": names.origin},
        )
    ]


# -- common counts


def _bogus(splits: Splits, names: ClassNames, label: str, is_a_heading: bool, num_groups: int | None) -> Finding:
    num = {name: sum(clip.label == label for clip in clips) for name, clips in splits.by_name().items()}
    rank = 1 + sum(count > num["train"] for count in Counter(clip.label for clip in splits.train).values())
    why = "the heading of a table, not a class" if is_a_heading else "a state of the annotation or a score, not a class"
    once = "" if num_groups is None else f" It has exactly one clip in each of {counted(num_groups, 'group')}."
    # some word of a file name may be a heading by chance
    is_sure = names.origin != "file name" or num_groups is not None
    severity: Severity = "error" if is_a_heading and is_sure else "warning"
    share = num["train"] / len(splits.train)
    evidence: dict[str, Value] = {"label": label, "train_share": share, "train_rank": rank}
    evidence |= {f"{name}_clips": count for name, count in num.items()}
    if num_groups is not None:
        evidence["once_in_groups"] = num_groups
    return Finding(
        "bogus_class",
        severity,
        f"{names.shown(label)} is {why}: {counted(num['train'], 'train clip')} ({percent(share)}, number {rank} by size) and "
        f"{counted(num['test'], 'test clip')}.{once}",
        "Remove its clips, or find out what they show and name them.",
        evidence,
        clips=tuple(sorted({clip.path for clip in splits.all_clips() if clip.label == label})[:MAX_EXAMPLES]),
    )


def _once_in_every_group(splits: Splits, group_of: GroupOf) -> Mapping[str, int]:
    """Labels with exactly one clip in every group that there is, and the number of groups."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in set(splits.all_clips()):
        if (group := group_of(clip)) is not None:
            counts[group][clip.label] += 1
    if len(counts) < _MANY_GROUPS:
        return {}
    return {label: len(counts) for label in splits.labels() if all(count[label] == 1 for count in counts.values())}


def _names(names: ClassNames, labels: Sequence[str]) -> str:
    return ", ".join(map(names.shown, labels))
