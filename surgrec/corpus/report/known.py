"""Everything that is known of a corpus, as its report reads it.

In: a manifest, and the files that the other commands wrote about it. Out: a `Known`. It is its own file because those files lie in several
places and may not be there: here alone it is decided what was run and what was not. Names of files and what people wrote in notes are
left behind here, so that nothing later can show them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from surgrec.core.errors import UserError
from surgrec.corpus.card import Card
from surgrec.corpus.contamination import digests_of, plain_name
from surgrec.corpus.filters.find import OF_TIME
from surgrec.corpus.filters.table import FINDINGS
from surgrec.corpus.gate import Outcome, standing_of
from surgrec.corpus.ledger import Ledger
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.refusal import refusals_file
from surgrec.corpus.report.accounts import Account, Interval, account
from surgrec.corpus.scan import VIDEO_SUFFIXES
from surgrec.corpus.verdict import Finding, known_beside
from surgrec.video.decode import PACK_SUFFIX

_SUFFIXES = VIDEO_SUFFIXES | {PACK_SUFFIX}
_WHOLE_SECONDS = 1e-3  # how exactly the usable interval of a video that nobody has touched is its duration


@dataclass(frozen=True)
class Found:
    """A finding of a filter; `region`: left, top, right, bottom as shares of the picture, or None for all of it."""

    reason: str
    start_seconds: float
    end_seconds: float
    score: float
    region: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Video:
    """A row of the manifest without its names of files. `row`: its number; `container`: what its suffix says, `other` for one that is not
    known; `is_filtered`: whether `surgrec filter` is known to have looked at it."""

    row: int
    video_id: str
    source: str
    domain: str
    procedure: str | None
    group_id: str
    split: str | None
    licence: str | None
    sha256: str
    is_copy: bool
    num_frames: int
    seconds: float
    fps: float
    width: int
    height: int
    codec: str
    container: str
    content_box: tuple[int, int, int, int] | None
    usable: tuple[Interval, ...]
    findings: tuple[Found, ...]
    account: Account
    is_filtered: bool


@dataclass(frozen=True)
class Refused:
    """What did not come in. `stage`: index or prepare; `same_bytes`: the video that has its bytes."""

    stage: str
    source: str
    reason: str
    video_id: str | None
    same_bytes: str | None


@dataclass(frozen=True)
class Audits:
    """What audits of contamination said that still holds for the manifest: the `outcomes`, a test set each, of its `num_videos` with usable
    footage, and what was found in that footage: (video_id, finding, label of the test set)."""

    outcomes: tuple[Outcome, ...]
    num_videos: int
    findings: tuple[tuple[str, Finding, str], ...]


@dataclass(frozen=True)
class Known:
    """`has_findings`: whether there is a file of them; `num_stray`: of these, about videos that the manifest does not list. `cards` by the
    sources of the manifest that have one."""

    videos: tuple[Video, ...]
    fingerprint: str
    has_findings: bool
    num_stray: int
    refused: tuple[Refused, ...]
    audits: Audits | None
    ledger: Ledger
    cards: Mapping[str, Card]

    @property
    def sources(self) -> list[str]:
        """Of the manifest, by name."""
        return sorted({video.source for video in self.videos})


def findings_file(manifest: Path) -> Path:
    """Where `surgrec filter` writes what it found."""
    return manifest.with_name(f"{manifest.stem}.filters.parquet")


def read_known(
    path: Path,
    cards: Mapping[str, Card],
    findings: Path | None = None,
    refusals: Sequence[Path] = (),
) -> tuple[Known, Manifest]:
    """What is known of the manifest at `path`, and the manifest, which alone can say where videos lie.

    Read besides, where they are there: findings, refusals, a quarantine, verdicts and a ledger beside the manifest. Named files must be
    there. Raises `UserError` for one that is damaged or of another kind.
    """
    manifest = Manifest.read([path])
    found = _read_findings(findings or findings_file(path), is_named=findings is not None)
    lists = _existing([refusals_file(path), path.with_name("quarantine.jsonl")], refusals)
    refused = [one for file in lists for one in _read_refused(file)]
    videos = tuple(_video(row, number, found or {}) for number, row in enumerate(manifest.table.to_pylist()))
    by_name = {plain_name(name): card for name, card in cards.items()}
    sources = sorted({video.source for video in videos})
    known = Known(
        videos=videos,
        fingerprint=manifest.fingerprint,
        has_findings=found is not None,
        num_stray=sum(map(len, (found or {}).values())) - sum(len(video.findings) for video in videos),
        refused=tuple(refused),
        audits=_read_audits(path, manifest),
        ledger=Ledger.of_manifest(path),
        cards={source: by_name[plain_name(source)] for source in sources if plain_name(source) in by_name},
    )
    return known, manifest


def _existing(usual: Sequence[Path], named: Sequence[Path]) -> list[Path]:
    """Files at their usual places that are there, and those that were named, each once."""
    if absent := [str(file) for file in named if not file.is_file()]:
        raise UserError(f"there is no file {absent[0]}; give the path of one that a command wrote")
    return list({file.resolve(): file for file in (*(file for file in usual if file.is_file()), *named)}.values())


# -- videos


def _video(row: Mapping[str, Any], number: int, found: Mapping[str, Sequence[Found]]) -> Video:
    findings, seconds = tuple(found.get(row["video_id"], ())), row["duration_seconds"]
    usable = tuple((piece["start_seconds"], piece["end_seconds"]) for piece in row["usable"])
    refused: dict[str, list[Interval]] = defaultdict(list)
    for one in findings:
        if one.reason in OF_TIME:
            refused[one.reason].append((one.start_seconds, one.end_seconds))
    is_whole = len(usable) == 1 and usable[0][0] <= 0.0 and usable[0][1] >= seconds - _WHOLE_SECONDS
    box, suffix = row["content_box"], Path(row["path"]).suffix.lower()
    same = ("video_id", "source", "domain", "procedure", "group_id", "split", "licence", "sha256", "num_frames", "fps")
    return Video(
        row=number,
        **{name: row[name] for name in (*same, "width", "height", "codec")},
        is_copy=row["original_sha256"] is not None,
        seconds=seconds,
        container=suffix[1:] if suffix in _SUFFIXES else "other",
        content_box=None if box is None else (box["left"], box["top"], box["right"], box["bottom"]),
        usable=((0.0, seconds),) if is_whole else usable,
        findings=findings,
        account=account(seconds, ((0.0, seconds),) if is_whole else usable, refused),
        is_filtered=box is not None or bool(findings) or not is_whole,
    )


def _read_findings(file: Path, is_named: bool) -> dict[str, list[Found]] | None:
    """By video; None where there is no such file, which is an error only for one that was named."""
    if not file.is_file() and not is_named:
        return None
    try:
        table = pq.read_table(file, partitioning=None).select(FINDINGS.names).cast(FINDINGS)
    except (OSError, KeyError, pa.ArrowException, ValueError):
        raise UserError(f"{file} holds no findings of `surgrec filter`; name another file or run it again") from None
    found: dict[str, list[Found]] = defaultdict(list)
    for row in table.to_pylist():
        region = row["region"]
        place = None if region is None else (region["left"], region["top"], region["right"], region["bottom"])
        one = Found(row["reason"], row["start_seconds"], row["end_seconds"], row["score"], place)
        found[row["video_id"]].append(one)
    return found


# -- what the other commands wrote


def _read_refused(file: Path) -> list[Refused]:
    """The list of `surgrec index`, without its paths and details, which name paths; or the quarantine of `surgrec prepare`."""
    try:
        entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [_refused(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{file} is no list of refusals of `surgrec index` and no quarantine of `surgrec prepare`"
        ) from None


def _refused(entry: Mapping[str, Any]) -> Refused:
    if "source" in entry:
        return Refused("index", entry["source"], entry["reason"], entry.get("video_id"), entry.get("same_bytes"))
    return Refused("prepare", entry["video_id"].rpartition("_")[0], entry["reason"], entry["video_id"], None)


def _read_audits(path: Path, manifest: Manifest) -> Audits | None:
    """None where no audit has compared any video of the manifest."""
    standing = standing_of([path], [])
    if not standing.tests:
        return None
    said = known_beside([path])
    label_of = {
        digest: test.label
        for comparison in said.comparisons
        for test in comparison.tests
        for video in test.videos
        for digest in video
    }
    by_digest: dict[str, list[Finding]] = defaultdict(list)
    for finding in said.findings:
        for digest in finding.video:
            by_digest[digest].append(finding)
    found = [
        (video_id, finding, label_of.get(finding.test_video[0], "a test set"))
        for video_id, digests, usable in zip(
            manifest.video_ids.tolist(), digests_of(manifest), manifest.table["usable"].to_pylist(), strict=True
        )
        for finding in dict.fromkeys(finding for digest in digests for finding in by_digest.get(digest, ()))
        if any(
            piece["start_seconds"] < finding.seconds[1] and piece["end_seconds"] > finding.seconds[0]
            for piece in usable
        )
    ]
    return Audits(standing.tests, standing.num_videos, tuple(found))
