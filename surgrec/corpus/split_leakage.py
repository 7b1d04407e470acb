"""Does a test clip, or another clip of its patient, occur where it must not?

In: splits, and the group of each clip. Out: findings about clips in two splits, groups in two splits, and clips that evaluation
code takes for one another. It is its own file because these are the findings that make a score wrong.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from surgrec.core.wording import counted
from surgrec.corpus.class_names import ClassNames
from surgrec.corpus.source_ids import Fit, SourcePattern
from surgrec.corpus.split_finding import MAX_EXAMPLES, Finding, Severity, Table, percent
from surgrec.corpus.split_roots import respelled
from surgrec.corpus.splits import Clip, Splits, by_label, label_order

GroupOf = Callable[[Clip], str | None]


# -- the same clip twice


def repeated_clips(splits: Splits, names: ClassNames) -> list[Finding]:
    """Validation that is the test set, clips in two splits, clips listed twice in one, clips with two labels."""
    named = splits.by_name()
    findings = _validation_of_test(splits)
    for first, second in _pairs_to_look_at(splits):
        findings += _same_clips(named, first, second)
    findings += [finding for name, clips in named.items() for finding in _listed_twice(name, clips)]
    return findings + _two_labels(splits, names)


def _validation_of_test(splits: Splits) -> list[Finding]:
    val, test = _paths(splits.val), _paths(splits.test)
    if not val or not (val <= test or test <= val):
        return []
    relation = (
        "is the test set" if val == test else "is a part of the test set" if val < test else "holds all of the test set"
    )
    return [
        Finding(
            "validation_is_test",
            "error",
            f"The validation set {relation}: {counted(len(val & test), 'clip')} in both. A checkpoint or learning rate "
            f"chosen on it is chosen on the test set.",
            "Take the validation set from training groups, or choose nothing and say so.",
            {"val_clips": len(val), "test_clips": len(test), "shared_clips": len(val & test)},
        )
    ]


def _same_clips(named: Mapping[str, Sequence[Clip]], first: str, second: str) -> list[Finding]:
    shared = sorted(_paths(named.get(first, ())) & _paths(named.get(second, ())))
    if not shared:
        return _same_clips_elsewhere(named, first, second)
    num_second = len(_paths(named[second]))
    return [
        Finding(
            "same_clip_in_two_splits",
            "error",
            f"{counted(len(shared), 'clip')} of {second} ({percent(len(shared) / num_second)}) also in {first}.",
            f"Remove them from {first} or from {second}.",
            {"first": first, "second": second, "shared_clips": len(shared), "share": len(shared) / num_second},
            clips=tuple(shared[:MAX_EXAMPLES]),
        )
    ]


def _same_clips_elsewhere(named: Mapping[str, Sequence[Clip]], first: str, second: str) -> list[Finding]:
    """Lists of two machines: no path is the same, and what follows their roots is."""
    found = respelled(_paths(named.get(first, ())), _paths(named.get(second, ())))
    if found is None:
        return []
    num_second = len(_paths(named[second]))
    share = len(found.tails) / num_second
    return [
        Finding(
            "same_clip_under_another_root",
            "error" if found.is_certain else "warning",
            f"{counted(len(found.tails), 'clip')} of {second} ({percent(share)}) also in {first}, if what differs at the beginning of the "
            f"paths is only where the lists were made.",
            f"Write both lists with the same root; if they are the same clips, remove them from {first} or from {second}.",
            {"first": first, "second": second, "shared_clips": len(found.tails), "share": share},
            clips=found.tails[:MAX_EXAMPLES],
        )
    ]


def _listed_twice(name: str, clips: Sequence[Clip]) -> list[Finding]:
    times: dict[str, int] = defaultdict(int)
    for clip in clips:
        times[clip.path] += 1
    repeated = sorted(path for path, count in times.items() if count > 1)
    if not repeated:
        return []
    num_extra = len(clips) - len(times)
    return [
        Finding(
            "clip_listed_twice",
            "warning",
            f"{counted(len(repeated), 'clip')} of {name} listed more than once ({counted(num_extra, 'line')} too many); "
            f"they count as often in every score.",
            "Keep one line of each.",
            {"split": name, "repeated_clips": len(repeated), "lines_too_many": num_extra},
            clips=tuple(repeated[:MAX_EXAMPLES]),
        )
    ]


def _two_labels(splits: Splits, names: ClassNames) -> list[Finding]:
    labels = _labels_by(splits.all_clips(), lambda clip: clip.path)
    disagreeing = sorted(path for path, found in labels.items() if len(found) > 1)
    if not disagreeing:
        return []
    return [
        Finding(
            "clip_with_two_labels",
            "error",
            f"{counted(len(disagreeing), 'clip')} listed with more than one label.",
            "Look at them and keep the right label.",
            {"clips": len(disagreeing)},
            _confusions((labels[path] for path in disagreeing), names),
            clips=tuple(disagreeing[:MAX_EXAMPLES]),
        )
    ]


# -- clips that code takes for one another


def id_collisions(splits: Splits, names: ClassNames) -> list[Finding]:
    """Different clips with the same id, where the id is the file name up to its first dot, as evaluation code often has it:
    it then merges the votes of several clips. Harmless in train, where nobody merges."""
    paths_of: dict[str, set[str]] = defaultdict(set)
    for clip in splits.all_clips():
        paths_of[clip_id(clip.path)].add(clip.path)
    told: set[str] = set()
    findings = []
    is_same = _paths(splits.val) == _paths(splits.test)
    for name, clips in (("test", splits.test), ("val", () if is_same else splits.val)):
        found, ids = _collisions_within(name, clips, names)
        findings += found
        told |= ids
    elsewhere = sorted(key for key, paths in paths_of.items() if len(paths) > 1 and key not in told)
    if elsewhere:
        labels = _labels_by(splits.all_clips(), lambda clip: clip_id(clip.path))
        num_disagreeing = sum(len(labels[key]) > 1 for key in elsewhere)
        findings.append(
            Finding(
                "id_collision_elsewhere",
                "note",
                f"{counted(len(elsewhere), 'id')} (file name up to the first dot) with several clips within train or across "
                f"splits, {num_disagreeing} of them with different labels.",
                "Identify a clip by its whole path.",
                {"ids": len(elsewhere), "ids_with_different_labels": num_disagreeing},
                clips=tuple(sorted(path for key in elsewhere for path in paths_of[key])[:MAX_EXAMPLES]),
            )
        )
    return findings


def clip_id(path: str) -> str:
    """The file name up to its first dot."""
    return posixpath.basename(path).split(".")[0]


def _collisions_within(name: str, clips: Sequence[Clip], names: ClassNames) -> tuple[list[Finding], set[str]]:
    paths_of: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        paths_of[clip_id(clip.path)].add(clip.path)
    colliding = sorted(key for key, paths in paths_of.items() if len(paths) > 1)
    if not colliding:
        return [], set()
    labels = _labels_by(clips, lambda clip: clip_id(clip.path))
    disagreeing = [key for key in colliding if len(labels[key]) > 1]
    num_clips = sum(len(paths_of[key]) for key in colliding)
    severity: Severity = "error" if disagreeing else "warning"
    consequence = (
        f"; the labels of {counted(len(disagreeing), 'id')} disagree, so that one of them is scored with the label of another"
        if disagreeing
        else "; their labels agree"
    )
    finding = Finding(
        "id_collision",
        severity,
        f"{counted(num_clips, 'clip')} of {name} share {counted(len(colliding), 'id')} (file name up to the first dot)"
        f"{consequence}. Code that merges votes by such an id mixes different clips.",
        "Identify a clip by its whole path, or rename the files so that no dot comes before the suffix.",
        {"split": name, "clips": num_clips, "ids": len(colliding), "ids_with_different_labels": len(disagreeing)},
        _confusions((labels[key] for key in disagreeing), names) if disagreeing else None,
        clips=tuple(sorted(path for key in disagreeing or colliding for path in paths_of[key])[:MAX_EXAMPLES]),
    )
    return [finding], set(colliding)


# -- other clips of the same patient


def group_leakage(splits: Splits, group_of: GroupOf, names: ClassNames, guess: Fit | None = None) -> list[Finding]:
    """Groups in two splits, for each pair of splits. Under a `guess` of the groups the findings are warnings and say so."""
    named = splits.by_name()
    return [
        finding
        for first, second in _pairs_to_look_at(splits)
        for finding in _leak(first, named[first], second, named[second], group_of, names, guess)
    ]


def ungrouped_clips(splits: Splits, group_of: GroupOf) -> list[Finding]:
    """Clips whose path the group pattern does not match."""
    lost = {
        name: sorted({clip.path for clip in clips if group_of(clip) is None})
        for name, clips in splits.by_name().items()
    }
    num_lost = sum(map(len, lost.values()))
    if num_lost == 0:
        return []
    where = ", ".join(f"{len(paths):,} of {name}" for name, paths in lost.items() if paths)
    return [
        Finding(
            "clips_without_group",
            "warning",
            f"The group pattern does not match {counted(num_lost, 'clip')} ({where}); leakage through them is not seen.",
            "Widen --group-pattern so that it matches every path.",
            {f"{name}_clips": len(paths) for name, paths in lost.items()},
            clips=tuple(sorted(path for paths in lost.values() for path in paths)[:MAX_EXAMPLES]),
        )
    ]


def unknown_groups(splits: Splits, fits: Sequence[Fit]) -> list[Finding]:
    """That no group was given, with the guesses that fit the names and what each would mean."""
    if not fits:
        return [
            Finding(
                "groups_unknown",
                "warning",
                "Nothing tells which clips are of the same patient, case or recording: no group column, no --group-pattern, and "
                "the names follow no known pattern. Leakage between the splits can be neither found nor excluded.",
                "Ask the source for patient or case ids and give them as a column group, or say how the path tells them with "
                "--group-pattern.",
            )
        ]
    num_paths = len({clip.path for clip in splits.all_clips()})
    rows = tuple((f.guess.unit, f.guess.expression, f.num_matched, f.num_groups, f.guess.seen_in) for f in fits)
    return [
        Finding(
            "groups_guessed",
            "note",
            f"No group column and no --group-pattern were given. Known patterns of source names that fit the "
            f"{counted(num_paths, 'path')}: {len(fits)}. What is said of groups here rests on "
            f"{'that guess' if len(fits) == 1 else 'these guesses'}.",
            "Check that the pattern means what it says and give it as --group-pattern.",
            {"patterns": len(fits), "paths": num_paths},
            Table(("one key is a", "pattern", "paths matched", "groups", "known from"), rows),
        )
    ]


def guessed_group_of(fit: Fit) -> GroupOf:
    """The group of each clip under a guess."""
    pattern = SourcePattern(fit.guess.expression)
    return lambda clip: pattern.key_of(clip.path)


def _leak(
    first: str,
    first_clips: Sequence[Clip],
    second: str,
    second_clips: Sequence[Clip],
    group_of: GroupOf,
    names: ClassNames,
    guess: Fit | None,
) -> list[Finding]:
    seen = _labels_by(first_clips, group_of)
    groups = {group for clip in second_clips if (group := group_of(clip)) is not None}
    shared = sorted(groups & set(seen))
    if not shared:
        return []
    affected = [clip for clip in second_clips if group_of(clip) in seen]
    num_same_class = sum(clip.label in seen[str(group_of(clip))] for clip in affected)
    share = len(affected) / len(second_clips)
    table = _by_class(second_clips, set(shared), group_of, names)
    whole = [str(row[0]) for row in table.rows if row[1] == row[2]]
    reach = f" Every {second} clip of {_listed(whole)}." if whole and len(affected) < len(second_clips) else ""
    unit = "group" if guess is None else guess.guess.unit
    supposed = "" if guess is None else f"If one {guess.guess.unit} is what /{guess.guess.expression}/ says (a guess): "
    severity: Severity = "error" if guess is None and (first, second) == ("train", "test") else "warning"
    return [
        Finding(
            "group_leakage" if guess is None else "possible_group_leakage",
            severity,
            f"{supposed}{counted(len(affected), f'{second} clip')} of {len(second_clips):,} ({percent(share)}) "
            f"from {counted(len(shared), unit)} that {first} also has, of {len(groups):,} in {second}; "
            f"{num_same_class:,} of them with a {first} clip of the same {unit} and class.{reach}",
            f"Split anew so that no {unit} is in both {first} and {second}."
            if guess is None
            else "If the guess is right, split anew by it; give it as --group-pattern to have this counted as an error.",
            {
                "first": first,
                "second": second,
                "pattern": "" if guess is None else guess.guess.expression,
                "shared_groups": len(shared),
                f"{second}_groups": len(groups),
                "affected_clips": len(affected),
                "clips": len(second_clips),
                "share": share,
                "affected_clips_of_same_class": num_same_class,
            },
            table,
            groups=tuple(shared[:MAX_EXAMPLES]),
        )
    ]


def _by_class(clips: Sequence[Clip], shared: set[str], group_of: GroupOf, names: ClassNames) -> Table:
    """For each class: clips affected, clips, share, shared groups."""
    rows = []
    for label, of_class in by_label(clips).items():
        groups = [group for clip in of_class if (group := group_of(clip)) in shared]
        rows.append((names.shown(label), len(groups), len(of_class), len(groups) / len(of_class), len(set(groups))))
    return Table(("class", "clips affected", "clips", "share", "shared groups"), tuple(rows))


# -- common counts


def _pairs_to_look_at(splits: Splits) -> list[tuple[str, str]]:
    """Pairs of splits that can say something new: a validation set within the test set repeats what train and test say, and
    that one holds the other is a finding of its own."""
    val, test = _paths(splits.val), _paths(splits.test)
    pairs = [("train", "test")]
    if val and not val <= test:
        pairs.append(("train", "val"))
    if val and not val <= test and not test <= val:
        pairs.append(("val", "test"))
    return pairs


def _paths(clips: Iterable[Clip]) -> set[str]:
    return {clip.path for clip in clips}


def _labels_by(clips: Iterable[Clip], key_of: GroupOf) -> dict[str, set[str]]:
    """The labels that occur under each key; clips without a key are left out."""
    labels: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if (key := key_of(clip)) is not None:
            labels[key].add(clip.label)
    return labels


def _confusions(label_sets: Iterable[set[str]], names: ClassNames) -> Table:
    """How often each set of labels meets."""
    times: dict[tuple[str, ...], int] = defaultdict(int)
    for labels in label_sets:
        times[tuple(sorted(labels, key=label_order))] += 1
    rows = sorted(times.items(), key=lambda item: (-item[1], [label_order(label) for label in item[0]]))
    return Table(
        ("labels", "times"), tuple((_listed([names.shown(label) for label in key]), count) for key, count in rows)
    )


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
