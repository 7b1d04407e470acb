"""Tell how a run is doing: step, time to go, losses, mixture so far, alarms, last checkpoint.

    python -m surgrec.status runs/jepa
    python -m surgrec.status runs/*
    python -m surgrec.status runs/jepa --json

In: run folders. Out: a page on the console, of several runs a table, or JSON for programs. Nothing but the folders is read, so the runs may
be going on, on whatever machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from surgrec.core.console import STATUS_USER_ERROR, run_command, tell
from surgrec.core.errors import UserError
from surgrec.core.wording import counted, lasting, sized
from surgrec.training.overview import Overview, State, look
from surgrec.training.shown import HEALTH_SHOWN

_SHOWN_SOURCES, _SHOWN_VIDEOS, _SHOWN_ALARMS = 12, 3, 3
_MEANING = {
    State.new: "no step has been logged yet",
    State.running: "running",
    State.silent: "silent: it hangs, was killed, or waits in a queue",
    State.stopped: "stopped, and saved; the same command continues",
    State.finished: "finished",
}


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec status`; returns the exit status, 2 where a folder is no run."""
    options = _parser().parse_args(arguments)
    overviews, status, now = [], 0, time.time()
    for folder in options.runs:
        try:
            overviews.append(look(folder, now))
        except UserError as error:
            tell(error)
            status = STATUS_USER_ERROR
    if options.json:
        print(json.dumps([asdict(overview) for overview in overviews], indent=1))
    elif len(options.runs) > 1:
        print("\n".join(table(overviews)))
    elif overviews:
        print("\n".join(page(overviews[0])))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec status",
        description="Tell how runs are doing, from their folders alone: step, time to go, losses, mixture, failures, alarms, checkpoint.",
        epilog="example: surgrec status runs/jepa",
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN_FOLDER", help="folder of a run; several give a table"
    )
    parser.add_argument("--json", action="store_true", help="a list with an object for each run, for programs")
    return parser


# -- one run


def page(of: Overview) -> list[str]:
    """What there is to tell of one run, a line each."""
    length = "" if of.num_steps is None else f" of {of.num_steps:,} ({of.step / max(1, of.num_steps):.1%})"
    phase = (
        f", phase {of.numbers['phase'] + 1:.0f} of {of.num_phases}"
        if (of.num_phases or 1) > 1 and "phase" in of.numbers
        else ""
    )
    lines = [f"{of.folder}: {_MEANING[of.state]}", f"  step        {of.step:,}{length}{phase}"]
    for name, texts in (
        ("rate", _rate(of)),
        ("to go", _time(of)),
        ("loss", _losses(of)),
        ("features", _features(of)),
        ("checkpoint", _checkpoint(of)),
        ("mixture", _mixture(of)),
        ("failures", _failures(of)),
        ("alarm", _alarms(of)),
        ("straggler", [of.straggler] if of.straggler else []),
        ("hang", _stacks(of)),
        ("problem", of.problems),
    ):
        lines += [f"  {name if number == 0 else '':<12}{text}" for number, text in enumerate(texts)]
    return lines


def _rate(of: Overview) -> Iterator[str]:
    if of.step_seconds is None or "clips_per_second" not in of.numbers:
        return
    told = [f"{of.step_seconds:.3g} s a step", f"{of.numbers['clips_per_second']:,.1f} clips/s"]
    if of.waiting_share is not None:
        told.append(f"{of.waiting_share:.0%} of the time waiting for clips")
    if "mfu" in of.numbers:
        told.append(f"{of.numbers['mfu']:.0%} MFU")
    elif "tflops_per_second" in of.numbers:
        told.append(f"{of.numbers['tflops_per_second']:.3g} TFLOP/s a device")
    if {"gpu_allocated_bytes", "gpu_reserved_bytes"} <= of.numbers.keys():
        told.append(
            f"{sized(of.numbers['gpu_allocated_bytes'])} of {sized(of.numbers['gpu_reserved_bytes'])} of a device in use"
        )
    yield "; ".join(told)


def _time(of: Overview) -> Iterator[str]:
    if of.state is State.finished:
        return
    to_go = "not known" if of.seconds_to_go is None else f"{lasting(of.seconds_to_go)} at this rate"
    since = "" if of.seconds_since_line is None else f"; last line {lasting(of.seconds_since_line)} ago"
    rhythm = "" if of.interval_seconds is None else f", where one came every {lasting(of.interval_seconds)} or sooner"
    yield f"{to_go}{since}{rhythm}"


def _losses(of: Overview) -> Iterator[str]:
    if of.losses:
        now, *before = of.losses
        yield "; ".join(
            [f"{now.loss:.4f} (mean of the last lines)", *(f"{loss.loss:.4f} at step {loss.step:,}" for loss in before)]
        )


def _features(of: Overview) -> Iterator[str]:
    shown = [f"{title} {of.health[name]:{form}}" for name, title, form in HEALTH_SHOWN if name in of.health]
    if shown:
        yield f"{', '.join(shown)} (step {of.health['step']:,}; docs/healthy_runs.md)"


def _checkpoint(of: Overview) -> Iterator[str]:
    saved = of.checkpoint
    if saved is None:
        yield "none yet"
        return
    yield f"{saved.name}, saved {lasting(saved.seconds_old)} ago, {sized(saved.num_bytes)}; {saved.number} kept"


def _mixture(of: Overview) -> Iterator[str]:
    if not of.sources:
        return
    yield f"{'source':<28}{'clips':>13}{'share':>8}{'meant':>8}{'passes':>9}{'failed':>8}"
    for name, source in list(of.sources.items())[:_SHOWN_SOURCES]:
        meant = "-" if source.meant is None else f"{source.meant:.1%}"
        passes = "-" if source.passes is None else f"{source.passes:,.2f}"
        yield f"{name:<28}{source.clips:>13,}{source.share:>8.1%}{meant:>8}{passes:>9}{source.failed:>8,}"
    if len(of.sources) > _SHOWN_SOURCES:
        yield f"and {len(of.sources) - _SHOWN_SOURCES} more, which --json lists"


def _failures(of: Overview) -> Iterator[str]:
    if of.failed is not None:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in of.failed.reasons.items())
        videos = ", ".join(f"{name} ({count:,})" for name, count in list(of.failed.videos.items())[:_SHOWN_VIDEOS])
        yield f"{counted(of.failed.number, 'read')} failed; of the last, {reasons}; most often {videos}"


def _alarms(of: Overview) -> Iterator[str]:
    yield from list(of.alarms.values())[-_SHOWN_ALARMS:]
    if of.rollbacks:
        last = of.rollbacks[-1]
        yield f"rolled back {counted(len(of.rollbacks), 'time')}, last from step {last['from_step']:,} to {last['to_step']:,}"


def _stacks(of: Overview) -> Iterator[str]:
    if of.stacks is not None:
        yield (
            f"the stacks of {counted(of.stacks.number, 'rank')}, written {lasting(of.stacks.seconds_old)} ago, are in "
            f"{Path(of.folder) / 'stacks'}"
        )


# -- several


def table(overviews: list[Overview]) -> list[str]:
    """A line for each run."""
    titles = ("run", "state", "step", "of", "loss", "s a step", "to go", "last line", "checkpoint", "alarms")
    rows: list[tuple[str, ...]] = [titles]
    rows += [_row(overview) for overview in overviews]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*lines, *(f"{of.folder}: {problem}" for of in overviews for problem in of.problems)]


def _row(of: Overview) -> tuple[str, ...]:
    is_over = of.state is State.finished
    return (
        of.folder,
        of.state.value,
        f"{of.step:,}",
        "?" if of.num_steps is None else f"{of.num_steps:,}",
        f"{of.losses[0].loss:.4f}" if of.losses else "-",
        "-" if of.step_seconds is None else f"{of.step_seconds:.3g}",
        "-" if is_over or of.seconds_to_go is None else lasting(of.seconds_to_go),
        "-" if of.seconds_since_line is None else f"{lasting(of.seconds_since_line)} ago",
        "-" if of.checkpoint is None else f"{of.checkpoint.step:,}, {lasting(of.checkpoint.seconds_old)} ago",
        str(len(of.alarms)),
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
