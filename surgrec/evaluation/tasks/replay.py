"""The lists of another benchmark, replayed as they are, with what the auditor has to say of them.

In: train, validation and test lists as SurgRec publishes them, and the folder of the clips. Out: a `ClipTask` whose `findings` a report
prints beside every number. It is its own file because here alone a split is taken that leaks: to reproduce a published number one must
make its mistakes, and say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.source_ids import SourcePattern, fitting_guesses
from surgrec.corpus.split_audit import audit_splits
from surgrec.corpus.split_finding import SEVERITIES, Finding
from surgrec.corpus.split_leakage import GroupOf, guessed_group_of
from surgrec.corpus.splits import Clip as ListedClip
from surgrec.corpus.splits import Splits, read_splits
from surgrec.evaluation.tasks.card import task_card
from surgrec.evaluation.tasks.task import Clip, ClipTask, NamedSplit, video_id

# Folders of SurgRec's splits, as spelt there, and the card of what they are lists of.
CARD_OF_FOLDER = {
    "AlxSuture": "aixsuture",
    "AutoLaparo": "autolaparo",
    "cat-21": "cataract_21",
    "cataract-101": "cataract_101",
    "cataract-1k-phase": "cataract_1k",
    "cholec80": "cholec80",
    "Colonoscopic-web": "colonoscopic",
    "hyper-kvasir": "hyper_kvasir",
    "JIGSAWS": "jigsaws",
    "kvasir-capsule": "kvasir_capsule",
    "LapGyn_dataset": "gyn_events",
    "LDPolyVideo": "ldpolypvideo",
    "M2CAI16-Workflow": "m2cai16_workflow",
    "MultiBypass140": "multibypass140",
    "SAR-RARP50": "sar_rarp50",
    "SurgicalActions160": "surgicalactions160",
}


@dataclass(frozen=True)
class Lists:
    """The three files of a benchmark's dataset. `domain` as in manifests; `root`: what the paths in the lists are relative to."""

    name: str
    domain: str
    train: Path
    validation: Path
    test: Path
    root: Path

    @classmethod
    def of_folder(cls, folder: Path, root: Path, domain: str | None = None) -> Lists:
        """The lists of a folder with train.csv, val.csv and test.csv, as SurgRec's `splits/NAME` has them. `domain`: by default that of the
        dataset of SurgRec's that the folder is named for, else `other`."""
        folder = Path(folder)
        files = [folder / f"{name}.csv" for name in ("train", "val", "test")]
        if missing := [file.name for file in files if not file.is_file()]:
            raise UserError(f"expected train.csv, val.csv and test.csv in {folder}; {', '.join(missing)} is not there")
        name = folder.resolve().name  # "." has none
        known = CARD_OF_FOLDER.get(name)
        found = "other" if known is None else task_card(known).source_card.domain
        return cls(name, domain or found, files[0], files[1], files[2], Path(root))


def replay(
    lists: Lists,
    group_pattern: str | None = None,
    label_names: Mapping[str, str] | None = None,
    allow_missing: bool = False,
) -> ClipTask:
    """The task of published lists; a row for each line, so that a clip in two lists is two rows.

    `group_pattern`, `label_names`: as of `surgrec audit splits`. Groups are what the pattern finds, or the auditor guesses, or else each
    clip is its own; intervals resample them. Raises `UserError` for unreadable lists, and where files of clips are missing, unless
    `allow_missing` leaves those lines out and says so.
    """
    splits = read_splits(lists.train, lists.validation, lists.test)
    audit = audit_splits(splits, group_pattern, label_names)
    listed = {"train": splits.train, "validation": splits.val, "test": splits.test}
    kept, notes = _present(lists, listed, allow_missing)
    group_of = _group_of(splits, group_pattern)
    labels = [entry.label for entry in audit.classes]
    index = {label: at for at, label in enumerate(labels)}
    clips = [
        Clip(
            lists.root / each.path, video_id(lists.name, each.path), 0.0, None, index[each.label], group_of(each) or f"alone {each.path}"
        )
        for rows in kept.values()
        for each in rows
    ]  # fmt: skip
    ends = np.cumsum([len(rows) for rows in kept.values()])
    train, validation, test = np.split(np.arange(ends[-1]), ends[:-1])
    split = NamedSplit("replayed", "replayed", train, validation, test)
    classes = _unlike([entry.shown for entry in audit.classes])
    said = f"groups: {audit.grouping}"
    title = f"{lists.name}: clips of published lists, replayed"
    return ClipTask(
        f"{lists.name}_replayed", title, lists.domain, classes, tuple(clips), (split,), (said, *notes), audit.findings
    )


def findings_in_a_line(findings: Sequence[Finding]) -> str:
    """What to print beside a number: the kinds of errors and warnings, with how often each was found; empty where there is nothing."""
    parts = []
    for severity in SEVERITIES[:2]:
        kinds = Counter(finding.kind for finding in findings if finding.severity == severity)
        if kinds:
            named = ", ".join(kind if count == 1 else f"{kind} x {count}" for kind, count in sorted(kinds.items()))
            parts.append(f"{counted(kinds.total(), severity)}: {named}")
    return "; ".join(parts)


def _present(
    lists: Lists, listed: Mapping[str, Sequence[ListedClip]], allow_missing: bool
) -> tuple[dict[str, list[ListedClip]], tuple[str, ...]]:
    kept = {part: [clip for clip in clips if (lists.root / clip.path).is_file()] for part, clips in listed.items()}
    num_all, num_kept = (sum(map(len, each.values())) for each in (listed, kept))
    if num_kept == num_all:
        return kept, ()
    if not allow_missing or not all(kept.values()):
        raise UserError(
            f"{lists.name}: {num_all - num_kept:,} of {counted(num_all, 'listed clip')} are not below {lists.root}; paths in the lists are "
            f"relative to it, with __DATA_ROOT__/ taken off"
        )
    return kept, (
        f"{num_all - num_kept:,} of {counted(num_all, 'listed clip')} are missing: scores are not on the published lists",
    )


def _group_of(splits: Splits, group_pattern: str | None) -> GroupOf:
    """Where groups come from, in the auditor's order: the files' column, the pattern, its best guess; None of a clip where none fits."""
    clips = splits.all_clips()
    if clips[0].group is not None:
        return lambda clip: clip.group
    if group_pattern is not None:
        pattern = SourcePattern(group_pattern)
        return lambda clip: pattern.key_of(clip.path)
    fits = fitting_guesses(sorted({clip.path for clip in clips}))
    return guessed_group_of(fits[0]) if fits else lambda clip: None


def _unlike(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes, numbered where the lists give one name to two labels, which the findings then tell of."""
    twice = {name for name, count in Counter(names).items() if count > 1}
    return tuple(f"{name} [{at}]" if name in twice else name for at, name in enumerate(names))
