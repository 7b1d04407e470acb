"""How much of a source may be broken before a run should stop.

In: the clips of a run, in their order, with the videos that failed before each. Out: nothing, or a `DataError`. It is its own file because
a failed video is replaced within its source whatever its failures' number, so that shares stay as configured: somebody must say when a
source is so broken that the run would train on a few of its videos again and again.

The rate of a source is failed reads over all reads, of its last `WINDOW` in this process; it is judged from `AT_LEAST` on. A read is one
attempt at one video, drawn from all that a position has not yet tried, so the rate of a source of many videos estimates the share of its
hours that is broken; that of a few videos is lower, since none is tried twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from surgrec.core.errors import UserError
from surgrec.data.clips import Clip, Failure
from surgrec.data.errors import DataError

WINDOW = 400
AT_LEAST = 100
_NAMED = 5


@dataclass
class _Source:
    """Its last reads, oldest first: what failed, or None; how many of them failed."""

    reads: deque[Failure | None] = field(default_factory=deque)
    num_failed: int = 0

    def add(self, failure: Failure | None) -> None:
        self.reads.append(failure)
        self.num_failed += failure is not None
        if len(self.reads) > WINDOW:
            self.num_failed -= self.reads.popleft() is not None

    @property
    def rate(self) -> float:
        return self.num_failed / len(self.reads)


class FailureRates:
    """Of each source, by its index; `limit` from 0 to 1 (nothing is above 1)."""

    def __init__(self, limit: float) -> None:
        if not 0 <= limit <= 1:
            raise UserError(f"data.max_failure_rate={limit:g} is a share, from 0 to 1")
        self.limit = limit
        self.sources: dict[int, _Source] = {}

    def add(self, clips: Sequence[Clip]) -> None:
        """Count what was read for `clips`. Raises `DataError` for a source whose rate is above the limit."""
        for clip in clips:
            source = self.sources.setdefault(clip.source_index, _Source())
            for failure in clip.failures:
                source.add(failure)
            source.add(None)
            if clip.failures and len(source.reads) >= AT_LEAST and source.rate > self.limit:
                raise DataError(self._sentence(source))

    def _sentence(self, source: _Source) -> str:
        failed = [failure for failure in source.reads if failure is not None]
        reasons = {failure.video_id: failure.reason for failure in failed}
        named = ", ".join(f"{name} ({reason})" for name, reason in sorted(reasons.items())[:_NAMED])
        return (
            f"source {failed[-1].source!r}: {source.num_failed} of its last {len(source.reads)} reads failed ({source.rate:.0%}; "
            f"data.max_failure_rate={self.limit:g}), of {len(reasons)} videos, {named}{' and others' if len(reasons) > _NAMED else ''} "
            f"among them (the last: {failed[-1].detail}); failures.jsonl lists them. Mend them or index the source again, or raise "
            "data.max_failure_rate"
        )
