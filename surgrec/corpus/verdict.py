"""What is known of test material in a corpus, kept beside its manifest from one audit to the next.

In: audits. Out: a `Known` and its file. It is its own file because it is a contract: `surgrec train` reads it months later, beside a
manifest that has grown, was copied, filtered or prepared since. So videos are named by the SHA-256 of their files, whatever they are
called, and it says which videos were compared with which, not only what was found. Labels are made for the public card of a release.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from surgrec.core.atomic import write_json
from surgrec.core.errors import UserError
from surgrec.core.lock import only_writer
from surgrec.core.wording import counted
from surgrec.corpus.card import Card
from surgrec.corpus.contamination import ContaminationAudit, Digests, TestSet, digests_of, plain_name
from surgrec.corpus.manifest import Manifest

SCHEMA_VERSION = 2
_SUFFIX = ".contamination.json"
_OTHERS = "others"  # in a label: sources without cards
_SLACK_SECONDS = 1.0  # a training copy may end a picture later than its original


@dataclass(frozen=True)
class TestVideos:
    """A test set without its manifest. `key`: of its videos, whatever they are called; `label`: what may be said of it in public."""

    __test__ = False  # pytest looks for classes of this name

    key: str
    label: str
    videos: tuple[Digests, ...]

    @classmethod
    def of(cls, test: TestSet, cards: Mapping[str, Card]) -> TestVideos:
        """Sources are named where they are those of cards; the rest of a test set may be anyone's."""
        published = {plain_name(name): name for name in cards}
        sources = {plain_name(str(test.manifest.sources[row])) for row in test.rows}
        names = sorted(published[source] for source in sources & published.keys())
        told = ", ".join([*names, *([_OTHERS] if names and len(names) < len(sources) else [])])
        label = f"test set {test.key[:8]} ({counted(len(test.rows), 'video')}{', ' if told else ''}{told})"
        return cls(test.key, label, tuple(test.digests))

    @property
    def published(self) -> tuple[str, ...]:
        """Names of the published sources in it, which the label has after its number of videos."""
        told = self.label.rpartition("(")[2].removesuffix(")").split(", ")[1:]
        return tuple(name for name in told if name != _OTHERS)


@dataclass(frozen=True)
class Comparison:
    """One audit: the footage of `videos`, by digest and as many seconds of each, was compared with that of `tests` but for the `unseen`."""

    tests: tuple[TestVideos, ...]
    unseen: frozenset[str]
    videos: Mapping[str, float]

    @cached_property
    def seen(self) -> frozenset[str]:
        """Digests of the test videos that were compared."""
        return frozenset(digest for test in self.tests for video in test.videos for digest in video) - self.unseen

    def covers(self, video: Digests, until_seconds: float) -> bool:
        """Whether a video was compared, up to there at least."""
        return any(self.videos.get(digest, -_SLACK_SECONDS) + _SLACK_SECONDS >= until_seconds for digest in video)

    def says_all_of(self, other: Comparison) -> bool:
        """Whether `other` adds nothing."""
        known = {test.key for test in self.tests}
        return (
            known.issuperset(test.key for test in other.tests)
            and other.seen <= self.seen
            and all(self.videos.get(digest, -1.0) >= seconds for digest, seconds in other.videos.items())
        )


@dataclass(frozen=True)
class Finding:
    """`seconds` of `video` show what is in `test_video`; `kind` as in `Evidence`."""

    kind: str
    video: Digests
    seconds: tuple[float, float]
    test_video: Digests


@dataclass(frozen=True)
class Known:
    """All that audits said."""

    comparisons: tuple[Comparison, ...] = ()
    findings: tuple[Finding, ...] = ()

    @classmethod
    def of(
        cls, audit: ContaminationAudit, corpus: Manifest, tests: Sequence[TestSet], cards: Mapping[str, Card]
    ) -> Known:
        """What one audit of `corpus` said."""
        names, durations = corpus.video_ids.tolist(), corpus.column("duration_seconds").tolist()
        ours = dict(zip(names, digests_of(corpus), strict=True))
        videos = {
            digest: seconds
            for name, seconds in zip(names, durations, strict=True)
            if name not in audit.unseen
            for digest in ours[name]
        }
        theirs = {
            (test.name, str(test.manifest.video_ids[row])): digests
            for test in tests
            for row, digests in zip(test.rows, test.digests, strict=True)
        }
        unseen = frozenset(digest for (_, name), video in theirs.items() if name in audit.unseen for digest in video)
        comparison = Comparison(tuple(TestVideos.of(test, cards) for test in tests), unseen, videos)
        findings = [
            Finding(one.kind, ours[one.video_id], one.seconds, theirs[one.test_set, one.test_video_id])
            for one in audit.evidence
        ]
        return cls((comparison,), tuple(findings))

    def joined(self, other: Known) -> Known:
        """Both, without what is said twice."""
        kept: list[Comparison] = []
        for one in (*other.comparisons, *self.comparisons):
            if not any(each.says_all_of(one) for each in kept):
                kept = [each for each in kept if not one.says_all_of(each)] + [one]
        return Known(tuple(kept), tuple(dict.fromkeys((*self.findings, *other.findings))))

    def followed_by(self, audit: Known) -> Known:
        """The same, but of the videos that a later audit compared, what that audit says."""
        left = tuple(one for one in self.findings if not any(_is_judged(one, by) for by in audit.comparisons))
        return Known(self.comparisons, left).joined(audit)

    def about(self, manifest: Manifest) -> Known:
        """What of it is about the videos of a manifest; nothing, where it says nothing of them."""
        listed = {digest for video in digests_of(manifest) for digest in video}
        reduced = [
            Comparison(one.tests, one.unseen, {digest: one.videos[digest] for digest in one.videos if digest in listed})
            for one in self.comparisons
        ]
        findings = tuple(one for one in self.findings if not listed.isdisjoint(one.video))
        return Known(tuple(reduced), findings) if findings or any(one.videos for one in reduced) else Known()


def _is_judged(finding: Finding, comparison: Comparison) -> bool:
    return comparison.covers(finding.video, finding.seconds[1]) and not comparison.seen.isdisjoint(finding.test_video)


# -- files


def verdict_path(manifest: Path) -> Path:
    """Where what is known of a manifest lies."""
    return manifest.with_name(f"{manifest.stem}{_SUFFIX}")


def known_beside(manifests: Iterable[Path]) -> Known:
    """All verdicts in the folders of `manifests`, of these and of others: a video may have been compared under another name."""
    folders = {folder for path in manifests for folder in (path.absolute().parent, path.resolve().parent)}
    known = Known()
    for path in sorted(path for folder in folders for path in folder.glob(f"*{_SUFFIX}")):
        known = known.joined(read_known(path))
    return known


def keep(
    audit: ContaminationAudit, corpus: Manifest, tests: Sequence[TestSet], cards: Mapping[str, Card], path: Path
) -> None:
    """Add an audit to the verdict at `path`, which need not be there yet."""
    said = Known.of(audit, corpus, tests, cards)
    with only_writer(path):
        before = read_known(path) if path.is_file() else Known()
        _write(before.followed_by(said), path)


def carry(manifests: Sequence[Path], derived: Path) -> None:
    """Put what is known of the videos of a manifest that was made from `manifests` beside it."""
    known = known_beside(manifests).about(Manifest.read([derived]))
    if known == Known():
        return
    path = verdict_path(derived)
    with only_writer(path):
        _write(read_known(path).joined(known) if path.is_file() else known, path)


def _write(known: Known, path: Path) -> None:
    comparisons = [
        {
            "tests": [asdict(test) for test in one.tests],
            "unseen": sorted(one.unseen),
            "videos": dict(sorted(one.videos.items())),
        }
        for one in known.comparisons
    ]
    findings = [asdict(one) for one in known.findings]
    write_json(path, {"schema_version": SCHEMA_VERSION, "comparisons": comparisons, "findings": findings})


def read_known(path: Path) -> Known:
    """Raises `UserError` for a file that is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError
        return Known(
            tuple(
                Comparison(
                    tuple(
                        TestVideos(test["key"], test["label"], tuple(tuple(video) for video in test["videos"]))
                        for test in one["tests"]
                    ),
                    frozenset(one["unseen"]),
                    {str(digest): float(seconds) for digest, seconds in one["videos"].items()},
                )
                for one in content["comparisons"]
            ),
            tuple(
                Finding(one["kind"], tuple(one["video"]), (one["seconds"][0], one["seconds"][1]), tuple(one["test_video"]))
                for one in content["findings"]
            ),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise UserError(
            f"{path} is no verdict of this version of `surgrec audit contamination`; delete it and run the audit again"
        ) from None
