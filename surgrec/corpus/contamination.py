"""Contamination: what of test material a pretraining corpus holds.

In: the manifest of a corpus, those of test sets, their surveys. Out: a `ContaminationAudit`: every piece of evidence with the interval of
the video that it is about. It is its own file because this is the question that scores depend on. Four kinds of evidence: the same bytes,
the same patient or case, the same footage (surgrec/corpus/shared_footage.py), and what cards say of sources that share recordings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.fingerprints import Gathered, Progress, gather
from surgrec.corpus.isolated import Failed, map_isolated
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.proposals import Candidate, Moments, by_first_video, propose
from surgrec.corpus.shared_footage import Copy, Verdict, decide
from surgrec.corpus.survey import read_survey
from surgrec.corpus.surveys import default_surveys, survey_path
from surgrec.video.errors import VideoError

_WORTH_PROCESSES = 64  # candidates: starting a process costs as much as deciding on ten
Digests = tuple[str, ...]  # SHA-256 of a video's file and, of a training copy, of the file that it was made from


@dataclass(frozen=True)
class Evidence:
    """`kind`: bytes, group or footage. `seconds` of the pretraining video `video_id` show what `test_seconds` of `test_video_id` do;
    with the same bytes or group that is the whole of both. `change`, `structure`: correlations of footage."""

    kind: str
    video_id: str
    seconds: tuple[float, float]
    test_set: str
    test_video_id: str
    test_seconds: tuple[float, float]
    is_mirrored: bool = False
    change: float | None = None
    structure: float | None = None


@dataclass(frozen=True)
class Declared:
    """Cards say that a pretraining source and a test source overlap: `how` and `note` are the card's words."""

    source: str
    test_set: str
    test_source: str
    how: str
    note: str


@dataclass(frozen=True)
class TestSet:
    """`rows` of a manifest that are test material, under a name."""

    __test__ = False  # pytest looks for classes of this name

    name: str
    manifest: Manifest
    surveys: Path
    rows: tuple[int, ...]

    @property
    def digests(self) -> list[Digests]:
        """Of each of `rows`."""
        every = digests_of(self.manifest)
        return [every[row] for row in self.rows]

    @cached_property
    def key(self) -> str:
        """Which videos these are, whatever they are called and whether or not they are training copies."""
        originals = sorted(video[-1] for video in self.digests)
        return hashlib.sha256("\n".join(originals).encode()).hexdigest()

    @property
    def num_unsplit(self) -> int:
        """Videos that are no test material since they have no split, though others of their source have one."""
        splits, own = self.manifest.column("split"), set(self.rows)
        return sum(split is None and row not in own for row, split in enumerate(splits))


@dataclass(frozen=True)
class ContaminationAudit:
    """`num_videos` of the corpus were compared with `num_test_videos`, but for the `unseen` (video ids that could not be decoded, or not
    wholly). `num_unsplit`: as in `TestSet`, by its name."""

    evidence: tuple[Evidence, ...]
    declared: tuple[Declared, ...]
    num_videos: int
    num_test_videos: Mapping[str, int]
    unseen: Mapping[str, VideoError]
    num_unsplit: Mapping[str, int] = field(default_factory=dict)

    @property
    def video_ids(self) -> set[str]:
        """Of the pretraining videos that show test material."""
        return {one.video_id for one in self.evidence}


def test_rows(manifest: Manifest, splits: Sequence[str]) -> tuple[int, ...]:
    """Which rows are test material: those of `splits` and, of sources that have no official split, all."""
    own = manifest.column("split")
    sources = manifest.sources
    with_split = {source for source, split in zip(sources, own, strict=True) if split is not None}
    return tuple(row for row in range(len(manifest)) if own[row] in splits or sources[row] not in with_split)


def read_test_set(path: Path, splits: Sequence[str], surveys: Path | None = None, name: str | None = None) -> TestSet:
    """The test material of a manifest. Raises `UserError` where it has none."""
    manifest = Manifest.read([path])
    rows = test_rows(manifest, splits)
    if not rows:
        raise UserError(
            f"{path} has no videos of the splits {', '.join(splits)}; name its splits with --splits (of a run: mix.held_out_splits)"
        )
    return TestSet(name or path.stem, manifest, surveys or default_surveys(path), rows)


def digests_of(manifest: Manifest) -> list[Digests]:
    """Of each row; the last is that of the original."""
    pairs = zip(manifest.column("sha256"), manifest.column("original_sha256"), strict=True)
    return [(own, original) if original and original != own else (own,) for own, original in pairs]


def audit_contamination(
    corpus: Manifest,
    surveys: Path,
    tests: Sequence[TestSet],
    cards: Mapping[str, Card],
    num_workers: int,
    progress: Progress,
    verdict: Verdict | None = None,
) -> ContaminationAudit:
    """Compare a corpus with test sets. Surveys that are missing are made."""
    known = [*same_bytes(corpus, tests), *same_groups(corpus, tests)]
    unseen: dict[str, VideoError] = {}
    of_tests: list[Gathered] = []
    for test in tests:  # before the corpus, which takes longer, in case they are not there
        theirs = gather(test.manifest, test.rows, test.surveys, num_workers, progress)
        _refuse_unseen(test.name, theirs)
        unseen |= {str(test.manifest.video_ids[test.rows[number]]): error for number, error in theirs.failures.items()}
        of_tests.append(theirs)
    footage = gather(corpus, range(len(corpus)), surveys, num_workers, progress)
    _refuse_unseen("the corpus", footage)
    unseen |= {str(corpus.video_ids[number]): error for number, error in footage.failures.items()}
    known += _same_footage(corpus, surveys, footage, tests, of_tests, num_workers, verdict or Verdict(), progress)
    counts = {test.name: len(test.rows) for test in tests}
    unsplit = {test.name: test.num_unsplit for test in tests if test.num_unsplit}
    declared = tuple(declared_overlaps(corpus, tests, cards))
    return ContaminationAudit(tuple(known), declared, len(corpus), counts, unseen, unsplit)


def _refuse_unseen(name: str, gathered: Gathered) -> None:
    if gathered.failures and len(gathered.moments.times_seconds) == 0:
        error = next(iter(gathered.failures.values()))
        raise UserError(
            f"nothing can be compared: no video of {name} could be decoded (the first: {error}); are the files there and whole?"
        )


def declared_overlaps(corpus: Manifest, tests: Sequence[TestSet], cards: Mapping[str, Card]) -> Iterator[Declared]:
    """What the cards know, of sources whose names, but for case and punctuation, are those of cards."""
    by_name = {plain_name(name): card for name, card in cards.items()}
    for source in sorted(set(corpus.sources.tolist())):
        card = by_name.get(plain_name(source))
        for test in tests if card is not None else ():
            for other in sorted({str(test.manifest.sources[row]) for row in test.rows}):
                told = (
                    [overlap for overlap in card.overlaps if plain_name(overlap.source) == plain_name(other)]
                    if card
                    else []
                )
                yield from (Declared(source, test.name, other, overlap.how, overlap.note) for overlap in told)


def plain_name(name: str) -> str:
    """A source's name but for case and punctuation, by which it is looked for among the cards."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def without(corpus: Manifest, video_ids: Collection[str], unseen: Collection[str] = ()) -> Manifest:
    """The corpus without these videos and without others of their groups: a patient is in it or not; and without the `unseen`."""
    groups = corpus.sources.astype(object) + "\0" + corpus.column("group_id")
    named = np.isin(corpus.video_ids, sorted(video_ids))
    is_out = np.isin(groups.astype(str), groups[named].astype(str)) | np.isin(corpus.video_ids, sorted(unseen))
    return Manifest(corpus.table.filter(pa.array(~is_out)))


# -- evidence


def same_bytes(corpus: Manifest, tests: Sequence[TestSet]) -> Iterator[Evidence]:
    """Files that are in both, or training copies of them."""
    return _equal_keys("bytes", corpus, tests, digests_of)


def same_groups(corpus: Manifest, tests: Sequence[TestSet]) -> Iterator[Evidence]:
    """Groups are named within a source, so the same name in two sources says nothing."""
    return _equal_keys("group", corpus, tests, _groups_of)


def _groups_of(manifest: Manifest) -> list[tuple[str, ...]]:
    pairs = zip(manifest.sources.tolist(), manifest.column("group_id"), strict=True)
    return [(f"{source}\0{group}",) for source, group in pairs]


def _equal_keys(
    kind: str,
    corpus: Manifest,
    tests: Sequence[TestSet],
    keys_of: Callable[[Manifest], list[tuple[str, ...]]],
) -> Iterator[Evidence]:
    """Of videos that have a key in common."""
    rows_of: dict[str, list[int]] = {}
    for row, keys in enumerate(keys_of(corpus)):
        for key in keys:
            rows_of.setdefault(key, []).append(row)
    for test in tests:
        theirs = keys_of(test.manifest)
        for test_row in test.rows:
            for row in dict.fromkeys(row for key in theirs[test_row] for row in rows_of.get(key, ())):
                yield Evidence(
                    kind, str(corpus.video_ids[row]), _whole(corpus, row),
                    test.name, str(test.manifest.video_ids[test_row]), _whole(test.manifest, test_row),
                )  # fmt: skip


def _whole(manifest: Manifest, row: int) -> tuple[float, float]:
    return 0.0, float(manifest.table["duration_seconds"][row].as_py())


@dataclass(frozen=True)
class _Job:
    """What may be copies of one test video, and where the surveys are."""

    candidates: tuple[Candidate, ...]
    test_survey: Path
    our_surveys: dict[int, Path]
    verdict: Verdict


def _decide(job: _Job) -> list[Copy]:
    """Runs in a worker process."""
    return decide(
        job.candidates, read_survey(job.test_survey), lambda number: read_survey(job.our_surveys[number]), job.verdict
    )


def _same_footage(
    corpus: Manifest,
    surveys: Path,
    footage: Gathered,
    tests: Sequence[TestSet],
    of_tests: Sequence[Gathered],
    num_workers: int,
    verdict: Verdict,
    progress: Progress,
) -> list[Evidence]:
    """All test sets at once: the corpus, which may be larger than memory, is gone through but once."""
    ours = corpus.video_ids
    theirs = [(test, str(test.manifest.video_ids[row])) for test in tests for row in test.rows]
    moments = Moments.joined([gathered.moments for gathered in of_tests], [len(test.rows) for test in tests])
    jobs = [
        _Job(
            tuple(group),
            survey_path(theirs[group[0].first][0].surveys, theirs[group[0].first][1]),
            {one.second: survey_path(surveys, str(ours[one.second])) for one in group},
            verdict,
        )
        for group in by_first_video(propose(moments, footage.moments, max(1, num_workers), progress))
    ]
    num_candidates = sum(len(job.candidates) for job in jobs)
    copies: dict[int, list[Copy]] = {}
    with progress("comparing with the tests", num_candidates) as advance:
        for index, result in map_isolated(_decide, jobs, num_workers if num_candidates >= _WORTH_PROCESSES else 0):
            if isinstance(result, Failed):
                test, name = theirs[jobs[index].candidates[0].first]
                raise UserError(f"comparing {name} of {test.name} failed: {result.as_error()}")
            copies[index] = result
            advance(len(jobs[index].candidates))
    return [
        Evidence(
            "footage", str(ours[copy.second]), copy.second_seconds,
            theirs[copy.first][0].name, theirs[copy.first][1], copy.first_seconds,
            copy.is_mirrored, round(copy.alignment.change, 3), round(copy.alignment.structure, 3),
        )
        for index in sorted(copies) for copy in copies[index]
    ]  # fmt: skip
