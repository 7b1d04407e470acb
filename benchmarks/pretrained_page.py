"""The page on what pretraining was worth.

In: results of a benchmark, facts of trainings. Out: Markdown. It is its own file because it measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from surgrec.evaluation.results import Comparison, Results

SIGNIFICANT = 0.05  # of p after correction


@dataclass(frozen=True)
class Trained:
    """One pretraining: what it was and how long it took. `parameters`: of the encoder; `loss`: the last that was logged."""

    variant: str
    parameters: int
    steps: int
    clips: int
    minutes: float
    loss: float


@dataclass(frozen=True)
class Gain:
    """Pretrained less random on the same test rows, with its 95 % interval; `p` is corrected for all comparisons of the benchmark."""

    variant: str
    task: str
    protocol: str
    metric: str
    difference: float
    low: float
    high: float
    p: float


def gains_of(results: Results, variants: Sequence[str]) -> list[Gain]:
    """Of each variant against its own architecture with random weights, on each task by each protocol."""
    return [
        _gain(variant, each)
        for variant in variants
        for each in results.comparisons
        if {each.a, each.b} == {variant, f"{variant}_random"}
    ]


def _gain(variant: str, compared: Comparison) -> Gain:
    values = compared.difference, compared.low, compared.high
    if compared.a != variant:
        values = -compared.difference, -compared.high, -compared.low
    return Gain(variant, compared.task, compared.protocol, compared.metric, *values, compared.p_corrected)


def page(
    title: str,
    about: str,
    command: str,
    trained: Sequence[Trained],
    gains: Sequence[Gain],
    results: Results,
    report: str,
) -> str:
    """All of it; `report`: the benchmark's own, of which the pages of single tasks are left out."""
    titles = {task.name: task.title for task in results.tasks}
    tables = report.partition("\n## Tasks\n")[0].partition("\n")[2].strip()
    parts = [
        f"# {title}",
        about,
        f"    {command}",
        "## What was trained",
        summary(trained, gains),
        "## Pretrained less random",
        _table_of_gains(gains, titles),
        "# The benchmark's report",
        tables,
    ]
    return "\n\n".join(parts) + "\n"


def summary(trained: Sequence[Trained], gains: Sequence[Gain]) -> str:
    """The trainings, and how often a difference is beyond chance."""
    lines = [
        "| variant | parameters of the encoder | steps | clips | minutes of training | last loss |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {run.variant} | {run.parameters:,} | {run.steps:,} | {run.clips:,} | {run.minutes:.1f} | {run.loss:.4f} |"
        for run in trained
    ]
    return "\n".join([*lines, "", *(_verdict(run.variant, gains) for run in trained)])


def _verdict(variant: str, gains: Sequence[Gain]) -> str:
    own = [gain for gain in gains if gain.variant == variant]
    sure = [gain.difference for gain in own if gain.p < SIGNIFICANT]
    better, worse = sum(value > 0 for value in sure), sum(value < 0 for value in sure)
    return (
        f"- {variant}: of {len(own)} pairs of task and protocol better than random weights on {better}, worse on {worse}, not told apart "
        f"on {len(own) - len(sure)} (p below {SIGNIFICANT} after correction)."
    )


def _table_of_gains(gains: Sequence[Gain], titles: dict[str, str]) -> str:
    lines = ["| variant | task | protocol | metric | difference (95 %) | p, corrected |", "|---|---|---|---|---:|---:|"]
    row = "| {variant} | {title} | {protocol} | {metric} | {difference:+.3f} ({low:+.3f} to {high:+.3f}) | {p:.4f} |"
    return "\n".join([*lines, *(row.format(title=titles[gain.task], **asdict(gain)) for gain in gains)])
