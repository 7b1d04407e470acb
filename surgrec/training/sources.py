"""What each source has given to a run so far: clips, hours, passes over its footage, failures.

In: how often each source was drawn, and the lines of `failures.jsonl`. Out: numbers for `metrics.jsonl` and a line for the console. It is
its own file because it counts what the mixture promised: a share that is met by clips of a few videos that can still be read shows here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

_SHOWN = 6


class FailureCount:
    """Videos that failed, by source, as `failures.jsonl` lists them; every line is read once."""

    def __init__(self, file: Path) -> None:
        self._file, self._offset = file, 0
        self._steps: dict[int, Counter[str]] = {}
        self._before: Counter[str] = Counter()

    def before(self, step: int) -> dict[str, int]:
        """Those of the steps before `step`, which all ranks have written by now; a `step` below that of the call before is not asked."""
        if self._file.is_file():
            with self._file.open("rb") as file:
                file.seek(self._offset)
                whole = file.read().rpartition(b"\n")[0]  # a line that is being written is read the next time
            self._offset += len(whole) + 1 if whole else 0
            for line in map(json.loads, whole.splitlines()):
                self._steps.setdefault(line["step"], Counter())[line["source"]] += 1
        for done in [number for number in self._steps if number < step]:
            self._before += self._steps.pop(done)
        return dict(self._before)


def source_numbers(
    seconds: Mapping[str, float], hours: Mapping[str, float], failures: Mapping[str, int], shares: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Hours drawn, passes over the usable `hours`, failures of each source, and the share of the clips so far that it was meant to have."""
    return {
        "source_shares": {name: round(share, 6) for name, share in shares.items()},
        "source_hours": {name: round(value / 3600, 6) for name, value in seconds.items()},
        "source_passes": {
            name: round(value / 3600 / hours[name], 6) for name, value in seconds.items() if hours.get(name)
        },
        "source_failures": dict(failures),
    }


def describe_sources(clips: Mapping[str, int], numbers: Mapping[str, Mapping[str, float]]) -> str:
    """One line: the sources with the most passes, and those that failed most."""
    passes, failures = numbers["source_passes"], numbers["source_failures"]
    order = sorted(passes, key=lambda name: (-failures.get(name, 0), -passes[name]))
    shown = [
        f"{name} {clips.get(name, 0)} clips {numbers['source_hours'][name]:.2f} h {passes[name]:.2f} passes"
        + (f" {failures[name]} failed" if failures.get(name) else "")
        for name in order[:_SHOWN]
    ]
    more = f"; and {len(order) - _SHOWN} more in metrics.jsonl" if len(order) > _SHOWN else ""
    return f"sources  {'; '.join(shown)}{more}"
