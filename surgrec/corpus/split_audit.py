"""The audit of a benchmark's splits: everything that makes a score on them wrong or meaningless, found from the lists alone.

In: `Splits`, perhaps a pattern that tells the group (patient, case, lesion) of a path, and names of classes. Out: an `Audit`. It
is its own file because it says in which order the parts are asked and where the groups come from.

No video is opened: two files with the same picture under different names are the contamination audit's matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from surgrec.core.errors import UserError
from surgrec.corpus.class_names import ClassNames, name_classes
from surgrec.corpus.source_ids import Fit, SourcePattern, fitting_guesses
from surgrec.corpus.split_classes import class_findings
from surgrec.corpus.split_finding import SEVERITIES, Finding
from surgrec.corpus.split_leakage import (
    GroupOf,
    group_leakage,
    guessed_group_of,
    id_collisions,
    repeated_clips,
    ungrouped_clips,
    unknown_groups,
)
from surgrec.corpus.split_sizes import SplitSummary, size_findings, summary
from surgrec.corpus.splits import Clip, Splits


@dataclass(frozen=True)
class ClassCount:
    """A class: its label, what to call it, and its clips by split."""

    label: str
    shown: str
    num_clips: Mapping[str, int]


@dataclass(frozen=True)
class Audit:
    """`grouping`: where the groups come from, in words. `findings`: errors first, then warnings, then notes."""

    grouping: str
    splits: tuple[SplitSummary, ...]
    classes: tuple[ClassCount, ...]
    findings: tuple[Finding, ...]

    def num_of(self, severity: str) -> int:
        return sum(finding.severity == severity for finding in self.findings)


def audit_splits(
    splits: Splits,
    group_pattern: str | None = None,
    label_names: Mapping[str, str] | None = None,
    show_names: bool = False,
) -> Audit:
    """Audit `splits`. The order of their lines does not matter.

    Groups are those of the files' column, or what `group_pattern` finds in the paths (see `surgrec.corpus.source_ids`), or
    guessed, which every finding that rests on it says. `label_names`: name by label. `show_names`: also show names of classes
    that were read from paths and might be a person's. Raises `UserError` for a pattern that is none, that matches no path, or
    that is given beside a column of groups.
    """
    grouping = _grouping(splits, group_pattern)
    names = name_classes(splits.all_clips(), label_names, grouping.best or _nothing, show_names)
    named = splits.by_name()
    summaries = tuple(summary(name, clips, grouping.best) for name, clips in named.items())
    findings = [
        *repeated_clips(splits, names),
        *_group_findings(splits, names, grouping),
        *id_collisions(splits, names),
        *class_findings(splits, names, grouping.best or _nothing),
        *size_findings(splits, names, summaries[-1]),
    ]
    counts = {name: Counter(clip.label for clip in clips) for name, clips in named.items()}
    classes = tuple(
        ClassCount(label, names.shown(label), {name: count[label] for name, count in counts.items()})
        for label in splits.labels()
    )
    # stable: else as they were found
    ordered = sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(grouping.said, summaries, classes, tuple(ordered))


@dataclass(frozen=True)
class _Grouping:
    """Where groups come from: `known` is certain; else `fits` are guesses, the first the best."""

    said: str
    known: GroupOf | None = None
    fits: tuple[Fit, ...] = ()

    @property
    def best(self) -> GroupOf | None:
        return self.known or (guessed_group_of(self.fits[0]) if self.fits else None)


def _grouping(splits: Splits, group_pattern: str | None) -> _Grouping:
    clips = splits.all_clips()
    has_column = clips[0].group is not None
    if has_column and group_pattern is not None:
        raise UserError("the files have a column group; leave out --group-pattern, or remove the column")
    if has_column:
        return _Grouping("the files' column group", lambda clip: clip.group)
    if group_pattern is None:
        fits = fitting_guesses(sorted({clip.path for clip in clips}))
        said = f"guessed: one {fits[0].guess.unit} is what {fits[0].guess.expression} finds" if fits else "unknown"
        return _Grouping(said, None, tuple(fits))
    pattern = SourcePattern(group_pattern)
    if all(pattern.key_of(clip.path) is None for clip in clips):
        raise UserError(
            f"the group pattern {group_pattern!r} matches none of the {len(clips)} paths; it is searched in the path behind "
            f"__DATA_ROOT__/"
        )
    return _Grouping(f"what {group_pattern} finds in a path", lambda clip: pattern.key_of(clip.path))


def _group_findings(splits: Splits, names: ClassNames, grouping: _Grouping) -> list[Finding]:
    if grouping.known is not None:
        return [*group_leakage(splits, grouping.known, names), *ungrouped_clips(splits, grouping.known)]
    guessed = [f for fit in grouping.fits for f in group_leakage(splits, guessed_group_of(fit), names, fit)]
    return [*guessed, *unknown_groups(splits, grouping.fits)]


def _nothing(clip: Clip) -> None:
    """The group of a clip where no groups are known."""
