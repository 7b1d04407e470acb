"""The run folder, `${paths.runs}/${name}`.

In: a folder and the resolved configuration. Out: its files: `config.yaml`, `metrics.jsonl`, `failures.jsonl`, `footage.jsonl` with
`footage/`, `contamination.jsonl`, `releases.jsonl`, `checkpoints/`, `previews/`, `stacks/`. It is its own file because continuing a
run means agreeing with what is already there: a line of a step is written once, whatever was interrupted.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from surgrec.core.atomic import write_text
from surgrec.data.clips import Failure


class RunFolder:
    """Paths of a run and its line-wise files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.failures_file = path / "failures.jsonl"
        self.footage_file = path / "footage.jsonl"
        self.footage = path / "footage"
        self.releases_file = path / "releases.jsonl"
        self.contamination_file = path / "contamination.jsonl"
        self.checkpoints = path / "checkpoints"
        self.previews = path / "previews"
        self.stacks = path / "stacks"

    def rewind(self, step: int) -> None:
        """Drop lines of steps after `step`, which the continued run writes again, and the temporary files of a process that was killed."""
        for folder in (self.path, self.checkpoints, self.previews, self.footage):
            for leftover in folder.glob(".*.partial*"):
                if leftover.is_file():
                    leftover.unlink()
        for file in (self.metrics_file, self.failures_file):
            if file.exists():
                kept = [line for line in file.read_text().splitlines() if _step_of(line) <= step]
                write_text(file, "".join(line + "\n" for line in kept))

    def add_metrics(self, values: dict[str, Any]) -> None:
        """One line of `metrics.jsonl`."""
        _append(self.metrics_file, [values])

    def add_failures(self, step: int, failures: list[Failure]) -> None:
        """Videos that failed while reading the clips of `step`, and what replaced them; any rank may call it."""
        if failures:
            _append(self.failures_file, [{"step": step, **asdict(failure)} for failure in failures])

    def add_standing(self, sentence: str) -> None:
        """What is known of test material in the footage, where it is not what was known before."""
        if sentence not in self.standings():
            _append(self.contamination_file, [{"standing": sentence}])

    def standings(self) -> tuple[str, ...]:
        """What was known of test material in the footage, at the beginning and whenever the run was continued."""
        if not self.contamination_file.is_file():
            return ()
        return tuple(json.loads(line)["standing"] for line in self.contamination_file.read_text().splitlines())

    def add_release(self, values: dict[str, Any]) -> None:
        """One line of `releases.jsonl`: a release that was made of this run."""
        _append(self.releases_file, [values])


def _step_of(line: str) -> float:
    """A torn last line, of a process killed while writing, counts as infinitely late."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")


def _append(file: Path, records: list[dict[str, Any]]) -> None:
    """Append whole lines in one write: O_APPEND keeps the ranks' lines apart. A disk that takes a part of them refuses the rest."""
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
