"""Whether a mixture may be trained on: what is known of test material in it.

In: the manifests of a run, those that are held out, and the verdicts beside the former. Out: a `Standing`. It is its own file because it
is asked at the start of every run and must be quick: bytes and groups are compared anew, footage by what audits said of the very videos
that are listed (surgrec/corpus/verdict.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from surgrec.core.errors import UserError
from surgrec.core.wording import counted
from surgrec.corpus.card import shipped_cards
from surgrec.corpus.contamination import TestSet, digests_of, read_test_set, same_bytes, same_groups
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.verdict import Finding, Known, TestVideos, known_beside

_SHOWN = 5


class ContaminatedError(UserError):
    """A mixture that shows test material, or may show it."""


@dataclass(frozen=True)
class Outcome:
    """Of the videos of a mixture and one test set: `num_found` show it, `num_open` were not compared with all of it; `is_begun`: with
    some of it, some video was. `published`: names of the sources in it that have cards."""

    label: str
    num_found: int
    num_open: int
    is_begun: bool
    published: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """`seen`: ids of videos that show test material; `num_videos` with usable footage; `tests`: all that were compared or are held out;
    `missing`: what must be run before the mixture may be trained on. `is_allowed`: it is trained on whatever this says."""

    seen: tuple[str, ...]
    num_videos: int
    tests: tuple[Outcome, ...]
    missing: tuple[str, ...]
    is_allowed: bool = False

    @property
    def sentence(self) -> str:
        """For the card of a release and the console: what was found, what was not, and what nobody knows."""
        found = [test.label for test in self.tests if test.num_found]
        clean = [test.label for test in self.tests if not test.num_found and not test.num_open]
        return "; ".join(
            [
                *(
                    [f"the mixture shows material of {', '.join(found)} in {counted(len(self.seen), 'video')}"]
                    if found
                    else []
                ),
                *([f"nothing of {', '.join(clean)} was found in the mixture"] if clean else []),
                *(self._of_open(test) for test in self.tests if test.num_open),
                *([] if self.tests else ["the mixture was not compared with any test set"]),
                *(["allow_contamination was set"] if self.is_allowed else []),
            ]
        )

    def _of_open(self, test: Outcome) -> str:
        if not test.is_begun:
            return f"the footage of the mixture was not compared with {test.label}"
        return f"{test.num_open} of {counted(self.num_videos, 'video')} of the mixture were not wholly compared with {test.label}"


def standing_of(manifests: Sequence[Path], held_out: Sequence[Path], splits: Sequence[str] = ("test",)) -> Standing:
    """Compare the bytes and groups of the mixture with those of the held-out test material, and read the verdicts on its footage.

    `splits`: which official splits of the held-out manifests are test material.
    """
    tests = [read_test_set(path, splits) for path in held_out]
    known = known_beside(manifests)
    if not tests and known == Known():  # nothing to read large manifests for
        return Standing((), 0, (), ())
    corpora = ((path, Manifest.read([path])) for path in manifests)
    standing, missing = _judge(corpora, tests, known)
    return replace(standing, missing=tuple(_command(path, held_out, splits) for path in missing))


def standing_of_footage(footage: Sequence[Manifest], tests: Sequence[TestSet], known: Known) -> Standing:
    """The same of footage that no manifest lists any more, as runs note it: what is `known` of its bytes."""
    return _judge(((Path(), each) for each in footage), tests, known)[0]


def _judge(
    corpora: Iterable[tuple[Path, Manifest]], tests: Sequence[TestSet], known: Known
) -> tuple[Standing, list[Path]]:
    """The standing, and which of the corpora were not compared with all of `tests`."""
    cards = shipped_cards() if tests else {}
    wanted = {test.key: TestVideos.of(test, cards) for test in tests}
    told = {test.key: test for one in known.comparisons for test in one.tests} | wanted
    rows = [row for path, corpus in corpora for row in _rows(path, corpus, tests, known, told)]
    lacking = {key: _lacking(told[key], rows, known) for key in told}
    used = {number for row in rows for number in row.compared}
    concerned = {test.key for number in used for test in known.comparisons[number].tests}.union(
        wanted, *(row.found for row in rows)
    )
    seen = frozenset[str]().union(*(known.comparisons[number].seen for number in used))
    outcomes = [
        Outcome(
            told[key].label,
            sum(key in row.found for row in rows),
            sum(row.compared in lacking[key] for row in rows),
            not all(seen.isdisjoint(video) for video in told[key].videos),
            told[key].published,
        )
        for key in told
        if key in concerned
    ]
    missing = dict.fromkeys(row.manifest for row in rows if any(row.compared in lacking[key] for key in wanted))
    seen_ids = tuple(dict.fromkeys(row.video_id for row in rows if row.found))
    return Standing(seen_ids, len(rows), tuple(outcomes), ()), list(missing)


def _lacking(test: TestVideos, rows: Sequence[_Row], known: Known) -> set[frozenset[int]]:
    """Which of the sets of comparisons that videos were in leave out some of `test`."""
    found = set()
    for compared in {row.compared for row in rows}:
        seen = frozenset[str]().union(*(known.comparisons[number].seen for number in compared))
        if any(seen.isdisjoint(video) for video in test.videos):
            found.add(compared)
    return found


def refuse_contaminated(standing: Standing) -> None:
    """Raise `ContaminatedError` for a mixture that shows test material, or that was not compared with what is held out."""
    advice = "allow_contamination=true trains all the same, and the release says so"
    if standing.seen:
        shown = ", ".join(standing.seen[:_SHOWN]) + (" ..." if len(standing.seen) > _SHOWN else "")
        raise ContaminatedError(
            f"{standing.sentence}. They are {shown}; `surgrec audit contamination ... --clean FILE` writes a manifest without them; "
            f"{advice}"
        )
    if standing.missing:
        raise ContaminatedError(
            f"not all of the mixture was compared with all that is held out; run `{standing.missing[0]}` first "
            f"(with --clean FILE it writes a manifest without what cannot be decoded); {advice}"
        )


@dataclass(frozen=True)
class _Row:
    """A video of the mixture, listed in `manifest`. `found`: keys of the test sets that it shows; `compared`: numbers of the comparisons
    that it was in."""

    manifest: Path
    video_id: str
    found: frozenset[str]
    compared: frozenset[int]


def _rows(
    path: Path, corpus: Manifest, tests: Sequence[TestSet], known: Known, told: Mapping[str, TestVideos]
) -> Iterator[_Row]:
    """The videos of a manifest of which something is used."""
    alike: dict[str, set[str]] = {}
    for test in tests:
        for one in (*same_bytes(corpus, [test]), *same_groups(corpus, [test])):
            alike.setdefault(one.video_id, set()).add(test.key)
    findings: dict[str, list[Finding]] = {}
    for finding in known.findings:
        for digest in finding.video:
            findings.setdefault(digest, []).append(finding)
    keys_of: dict[str, set[str]] = {}
    for test_videos in told.values():
        for digest in (digest for video in test_videos.videos for digest in video):
            keys_of.setdefault(digest, set()).add(test_videos.key)
    usable_of = corpus.table["usable"].to_pylist()
    for video_id, digests, usable in zip(corpus.video_ids.tolist(), digests_of(corpus), usable_of, strict=True):
        pieces = [(piece["start_seconds"], piece["end_seconds"]) for piece in usable]
        if not pieces:
            continue
        shown = [
            one
            for one in dict.fromkeys(one for digest in digests for one in findings.get(digest, ()))
            if any(start < one.seconds[1] and end > one.seconds[0] for start, end in pieces)
        ]
        keys = {key for one in shown for digest in one.test_video for key in keys_of.get(digest, ())}
        end = max(end for _, end in pieces)
        compared = (number for number, one in enumerate(known.comparisons) if one.covers(digests, end))
        yield _Row(path, video_id, frozenset(keys | alike.get(video_id, set())), frozenset(compared))


def _command(manifest: Path, held_out: Sequence[Path], splits: Sequence[str]) -> str:
    named = "" if tuple(splits) == ("test",) else f" --splits {' '.join(splits)}"
    return f"surgrec audit contamination --pretrain {manifest} --downstream {' '.join(map(str, held_out))}{named} --out report.html"
