"""Laws of a broken source: it keeps its share, is counted and named, and ends the run only above the configured rate."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.data.clips import Clip, ClipReader, ClipSpec, Failure
from surgrec.data.errors import DataError
from surgrec.data.failures import AT_LEAST, WINDOW, FailureRates
from surgrec.data.loader import ClipLoader, PositionPlan, ReadAhead
from surgrec.data.mixture import Mixture
from surgrec.data.sampler import Sampler
from tests.data.conftest import manifest_of

SPEC = ClipSpec(num_frames=1, frame_interval_seconds=0.3)


def reader_of(corpus: Manifest, num_broken: int) -> ClipReader:
    """A source `whole` of 20 videos and a source `broken` of 20 of which `num_broken` are not there; all others are one file."""
    file = corpus.path_of(0)
    videos = [
        {
            "video_id": f"{source}_{number:02d}", "source": source, "root": str(file.parent), "usable": [(0.0, 4.0)],
            "path": "nowhere.mp4" if source == "broken" and number < num_broken else file.name,
        }
        for source in ("whole", "broken") for number in range(20)
    ]  # fmt: skip
    manifest = manifest_of(videos)
    return ClipReader(manifest, Sampler(Mixture(manifest, "uniform"), 0, SPEC.span_seconds), SPEC)


def read(reader: ClipReader, limit: float, num_clips: int = 96) -> list[Clip]:
    loader = ClipLoader(reader, PositionPlan(8), 0, num_clips // 8, ReadAhead(max_failure_rate=limit))
    return [clip for batch in loader for clip in batch.clips]


def test_a_source_with_90_percent_broken_files_keeps_its_share_and_is_reported(corpus: Manifest) -> None:
    failing = reader_of(corpus, 18)
    whole, broken = read(reader_of(corpus, 0), 0.95), read(failing, 0.95)
    assert [clip.source_index for clip in broken] == [clip.source_index for clip in whole]
    failures = [failure for clip in broken for failure in clip.failures]
    assert {(failure.source, failure.reason) for failure in failures} == {("broken", "missing")}
    num_clips = Counter(clip.source_index for clip in broken)[failing.sampler.mixture.table.sources.index("broken")]
    assert 4 * num_clips < len(failures) < 8 * num_clips, "18 / (2 + 1) fail before the first of 2 in 20 that does not"


def test_above_the_configured_rate_the_run_ends_with_a_sentence(corpus: Manifest) -> None:
    says = (
        r"^source 'broken': \d+ of its last \d+ reads failed \((8|9)\d%; data.max_failure_rate=0.5\), of 18 videos, "
        r"broken_00 \(missing\), .* and others among them \(the last: the file is not where the manifest says\); .* "
        "raise data.max_failure_rate$"
    )
    with pytest.raises(DataError, match=says):
        read(reader_of(corpus, 18), 0.5)
    read(reader_of(corpus, 6), 0.5)


def clip_of(source: int, num_failed: int) -> Clip:
    failures = tuple(Failure(0, f"source {source}", f"video {number}", "corrupt") for number in range(num_failed))
    return Clip(torch.empty(0, dtype=torch.uint8), 0, 0, source, 0.0, failures)


def test_a_rate_is_of_one_source_and_of_its_last_reads() -> None:
    rates = FailureRates(0.5)
    rates.add([clip_of(0, AT_LEAST - 2)])  # too few reads to tell
    rates.add([clip_of(1, 0)] * 1_000)
    with pytest.raises(DataError, match=f"source 0.*{AT_LEAST - 1} of its last {AT_LEAST + 1} reads"):
        rates.add([clip_of(0, 1)])
    rates.add([clip_of(1, 1)] * 3 * WINDOW)  # half of them, and no more than that
    assert rates.sources[1].rate == 0.5 and len(rates.sources[1].reads) == WINDOW
    with pytest.raises(DataError, match=f"{WINDOW // 2 + 1} of its last {WINDOW} reads"):
        rates.add([clip_of(1, 4)])


def test_a_limit_of_one_stops_nothing() -> None:
    FailureRates(1.0).add([clip_of(0, 9)] * 1_000)


def test_a_limit_that_is_no_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.max_failure_rate=1\.5"):
        FailureRates(1.5)
