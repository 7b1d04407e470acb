"""What a run folder tells of its run.

In: a run folder, whether its run goes on, has ended or was killed; nothing else, no process and no device. Out: an `Overview`. It is its
own file because the answer must come at once, on a login node too: neither torch nor the footage is loaded, and of the metrics only what
is needed is read. It tells ids of videos, never a path or a name.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from surgrec.core.errors import UserError
from surgrec.core.json_lines import JsonLines
from surgrec.training.shown import HEALTH_SHOWN

_RECENT = 20  # lines whose rhythm counts
_FOR_A_MEAN = 10  # lines that the loss is told of
_EARLIER = (0.5, 0.25, 0.0)  # shares of the lines at which it is told too
_FAILURES = 1000  # the last ones, of which reasons and videos are told
_NUMBERS = (
    "unix_seconds", "clips_per_second", "seconds_waiting_for_data", "step_seconds", "tflops_per_second", "mfu",
    "gpu_allocated_bytes", "gpu_reserved_bytes", "loss", "phase", *(name for name, _, _ in HEALTH_SHOWN),
)  # fmt: skip  # of a line that are told, where they are there
_TABLES = ("sources", "source_shares", "source_passes", "source_failures")  # of numbers by name
_SILENT_INTERVALS, _SILENT_SECONDS = 3, 60.0  # without a line, after which a run is no longer said to run


class State(StrEnum):
    """What a run seems to do. Nothing in the folder says whether a process lives: `running` is one whose last line is young, `silent` one
    from which a line was due long ago, and `stopped` one that saved a checkpoint out of turn after its last line, as a signal makes it do.
    """

    new = "new"
    running = "running"
    silent = "silent"
    stopped = "stopped"
    finished = "finished"


@dataclass(frozen=True)
class Loss:
    """Mean `loss` of a few lines, the last of which is that of `step`."""

    step: int
    loss: float


@dataclass(frozen=True)
class SourceSoFar:
    """`clips` drawn, their `share` of all, the share `meant` by the mixture, `passes` over the usable footage, reads that `failed`. None:
    an older run did not write it."""

    clips: int
    share: float
    meant: float | None
    passes: float | None
    failed: int


@dataclass(frozen=True)
class Failed:
    """Reads that failed in all; of the last of them how many by `reasons`, and the `videos` that failed most often."""

    number: int
    reasons: dict[str, int]
    videos: dict[str, int]


@dataclass(frozen=True)
class SavedCheckpoint:
    """The newest whole checkpoint: its name, step, age and size; `number` of checkpoints in the folder."""

    name: str
    step: int
    seconds_old: float
    num_bytes: int
    number: int


@dataclass(frozen=True)
class Stacks:
    """What the ranks of a run that hung were doing, in so many files of `stacks/`."""

    number: int
    seconds_old: float


@dataclass(frozen=True)
class Overview:
    """Of one run. `numbers` are those of the last line of metrics, `health` those of the last reading of it. Of the last lines: the longest
    `interval_seconds` between two, `step_seconds`, the `waiting_share` of the time in which the first rank waited for clips; and at this
    rate `seconds_to_go`. `alarms` are sentences by step. `problems` are sentences about the folder itself.
    """

    folder: str
    state: State
    step: int
    num_steps: int | None
    num_phases: int | None
    numbers: dict[str, Any] = field(default_factory=dict)
    health: dict[str, float] = field(default_factory=dict)
    seconds_since_line: float | None = None
    interval_seconds: float | None = None
    step_seconds: float | None = None
    waiting_share: float | None = None
    seconds_to_go: float | None = None
    losses: list[Loss] = field(default_factory=list)
    sources: dict[str, SourceSoFar] = field(default_factory=dict)
    failed: Failed | None = None
    alarms: dict[int, str] = field(default_factory=dict)
    rollbacks: list[dict[str, int]] = field(default_factory=list)
    straggler: str | None = None
    checkpoint: SavedCheckpoint | None = None
    stacks: Stacks | None = None
    problems: list[str] = field(default_factory=list)


def look(folder: Path, now: float) -> Overview:
    """The overview of a run folder at the time `now`, in seconds since 1970. Raises `UserError` where it is none."""
    problems: list[str] = []
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is no run folder: it has no config.yaml; give a folder that `surgrec train` wrote")
    trainer = _trainer(folder / "config.yaml", problems)
    num_steps = _num_steps(trainer)
    checkpoint, rollbacks = _checkpoint(folder / "checkpoints", now, problems)
    with JsonLines(folder / "metrics.jsonl") as lines:
        last_ones = lines.last(_RECENT)
        recent = [line for line in last_ones if _is_a_runs(line)]
        losses = _losses(lines, recent)
        alarms = {line["step"]: str(line["alarm"]) for line in lines.having("alarm") if _is_a_runs(line)}
        num_torn, is_unfinished = lines.num_torn + len(last_ones) - len(recent), lines.is_unfinished
    last = recent[-1] if recent else {}
    since = _age_of_line(folder / "metrics.jsonl", last, now)
    interval, step_seconds, waiting_share = _rhythm(recent)
    step = max(last.get("step", 0), checkpoint.step if checkpoint else 0)
    state = _state(step, num_steps, trainer, last, checkpoint, since, interval)
    if num_torn or (is_unfinished and state is not State.running):  # of one that runs, it is being written
        problems.append(_torn("metrics.jsonl", num_torn + is_unfinished))
    return Overview(
        folder=str(folder),
        state=state,
        step=step,
        num_steps=num_steps,
        num_phases=None if num_steps is None else 1 + len(trainer.get("phases") or []),
        numbers={name: value for name, value in last.items() if isinstance(value, int | float)},
        health=next((_health(line) for line in reversed(recent) if "effective_rank" in line), {}),
        seconds_since_line=since,
        interval_seconds=interval,
        step_seconds=step_seconds,
        waiting_share=waiting_share,
        seconds_to_go=None if step_seconds is None or num_steps is None else step_seconds * max(0, num_steps - step),
        losses=losses,
        sources=_sources(last),
        failed=_failed(folder / "failures.jsonl", problems),
        alarms=alarms,
        rollbacks=rollbacks,
        straggler=next((line["straggler"] for line in reversed(recent) if "straggler" in line), None),
        checkpoint=checkpoint,
        stacks=_stacks(folder / "stacks", now),
        problems=problems,
    )


# -- what is configured and saved


def _trainer(file: Path, problems: list[str]) -> dict[str, Any]:
    """The options of `trainer`; none, and a sentence, where they cannot be read."""
    try:
        trainer = yaml.safe_load(file.read_text(encoding="utf-8"))["trainer"]
        _num_steps(trainer)
        _every(trainer)
        return dict(trainer)
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        problems.append(
            "config.yaml cannot be read, so the length of the run is not known; `surgrec train` would refuse it too"
        )
        return {}


def _num_steps(trainer: dict[str, Any]) -> int | None:
    """Of all phases."""
    if not trainer:
        return None
    return int(trainer["steps"]) + sum(int(phase["steps"]) for phase in trainer.get("phases") or [])


def _every(trainer: dict[str, Any]) -> int:
    """Steps between checkpoints."""
    return int(trainer.get("checkpoint_every") or 1)


def _checkpoint(folder: Path, now: float, problems: list[str]) -> tuple[SavedCheckpoint | None, list[dict[str, int]]]:
    """The newest whole checkpoint, and the rollbacks of the run up to it."""
    pointer = folder / "latest"
    try:
        name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None, []
    try:
        saved = _progress(folder / name)
        files = [path.stat() for path in (folder / name).rglob("*") if path.is_file()]
        found = SavedCheckpoint(
            name,
            int(saved["step"]),
            max(0.0, now - pointer.stat().st_mtime),
            sum(file.st_size for file in files),
            len(list(folder.glob("step_*"))),
        )
        rollbacks = [{key: int(each[key]) for key in ("from_step", "to_step")} for each in saved.get("rollbacks", [])]
        return found, rollbacks
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        there = ", ".join(sorted(path.name for path in folder.glob("step_*"))) or "none"
        problems.append(
            f"checkpoints/latest names {name or 'nothing'}, which is not there or not whole; in the folder: {there}"
        )
        return None, []


def _progress(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of the run: within its `checkpoint.json`, or in a file of its own, as older versions wrote it."""
    facts = checkpoint / "checkpoint.json"
    file = facts if facts.is_file() else checkpoint / "progress.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    return dict(values["progress"] if file == facts else values)


def _stacks(folder: Path, now: float) -> Stacks | None:
    """Those of this hang; of earlier ones, after which the run went on, there are `rank_N.before.txt`."""
    times = [file.stat().st_mtime for file in folder.glob("rank_*.txt") if not file.name.endswith(".before.txt")]
    return Stacks(len(times), max(0.0, now - max(times))) if times else None


# -- what it has said


def _is_a_runs(line: dict[str, Any]) -> bool:
    """Whether it is as a run writes it, so that what it says can be told."""
    tables = [line.get(name, {}) for name in _TABLES]
    told = [
        *(line.get(name, 0) for name in _NUMBERS),
        *(value for each in tables if isinstance(each, dict) for value in each.values()),
    ]
    return (
        type(line.get("step")) is int
        and all(isinstance(each, dict) for each in tables)
        and all(isinstance(value, int | float) and math.isfinite(value) for value in told)
    )


def _losses(lines: JsonLines, recent: list[dict[str, Any]]) -> list[Loss]:
    """Now, as a mean; and at earlier lines, newest first, each once."""
    of_lines = [line for line in recent if isinstance(line.get("loss"), float)][-_FOR_A_MEAN:]
    if not of_lines:
        return []
    losses = [Loss(of_lines[-1]["step"], statistics.fmean(line["loss"] for line in of_lines))]
    for share in _EARLIER:
        line = lines.at(share)
        if line is None or "loss" not in line or not _is_a_runs(line):
            continue
        if line["step"] < min(losses[-1].step, of_lines[0]["step"]):
            losses.append(Loss(line["step"], line["loss"]))
    return losses


def _age_of_line(file: Path, last: dict[str, Any], now: float) -> float | None:
    """Seconds since the last line was written; by the file's own time where an older version wrote none into it."""
    if not last:
        return None
    return max(0.0, now - float(last.get("unix_seconds", file.stat().st_mtime)))


def _rhythm(recent: list[dict[str, Any]]) -> tuple[float | None, float | None, float | None]:
    """The longest time between two of the last lines; from the first of them to the last, the mean time of a step, and the share of the
    time in which clips were waited for."""
    pairs = [
        (after["step"] - before["step"], after["step_seconds"], after.get("seconds_waiting_for_data", 0.0))
        for before, after in pairwise(recent)
        if "step_seconds" in after and after["step"] > before["step"]
    ]
    if not pairs:
        return None, None, None
    longest = max(number * seconds for number, seconds, _ in pairs)
    total = sum(number * seconds for number, seconds, _ in pairs)
    waiting = sum(waited for _, _, waited in pairs)
    return longest, total / sum(number for number, _, _ in pairs), min(1.0, waiting / total) if total else None


def _state(
    step: int,
    num_steps: int | None,
    trainer: dict[str, Any],
    last: dict[str, Any],
    checkpoint: SavedCheckpoint | None,
    since: float | None,
    interval: float | None,
) -> State:
    if checkpoint is not None and checkpoint.step == num_steps:
        return State.finished
    if since is None and checkpoint is None:
        return State.new
    if checkpoint is not None and checkpoint.step >= last.get("step", 0) and checkpoint.step % _every(trainer):
        return State.stopped
    if since is None:
        return State.silent
    return State.running if since <= max(_SILENT_SECONDS, _SILENT_INTERVALS * (interval or 0.0)) else State.silent


def _health(line: dict[str, Any]) -> dict[str, float]:
    return {name: line[name] for name in ("step", *(name for name, _, _ in HEALTH_SHOWN)) if name in line}


def _sources(last: dict[str, Any]) -> dict[str, SourceSoFar]:
    """Most clips first."""
    clips = last.get("sources")
    if not isinstance(clips, dict):
        return {}
    total = max(1, sum(clips.values()))
    meant, passes, failed = (last.get(f"source_{name}") or {} for name in ("shares", "passes", "failures"))
    return {
        name: SourceSoFar(count, count / total, meant.get(name), passes.get(name), failed.get(name, 0))
        for name, count in sorted(clips.items(), key=lambda item: (-item[1], item[0]))
    }


def _failed(file: Path, problems: list[str]) -> Failed | None:
    """None where nothing failed."""
    with JsonLines(file) as lines:
        number, recent = len(lines), lines.last(_FAILURES)
        if lines.num_torn:
            problems.append(_torn("failures.jsonl", lines.num_torn))
    if not number:
        return None
    reasons, videos = (Counter(str(line.get(key)) for line in recent) for key in ("reason", "video_id"))
    return Failed(number, dict(reasons.most_common()), dict(videos.most_common()))


def _torn(name: str, number: int) -> str:
    what = "a line is" if number == 1 else f"{number} lines are"
    return f"{name}: {what} torn, as a kill or a full disk leaves them; what they said is not in this report"
