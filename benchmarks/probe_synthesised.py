"""What is a pretrained encoder worth? Frozen features of the synthesised corpus, probed on cases that no probe has seen.

    python -m surgrec.synthesize --out held_out --scale small --seed 1
    python benchmarks/probe_synthesised.py --corpora held_out --runs runs/mae runs/jepa --out benchmarks/results

In: labelled corpora of other seeds than the one trained on (so all their cases are new), and run folders. Out: a table, printed and written
with date and hardware: for every run its encoder, and the same encoder before training, under a linear probe. The interval is
over cases; `difference` is paired over the same windows. With `--starts`, encoders with other random weights stand beside it
(without `motion`, which costs most of the time): some ways to draw weights keep more of the input than others.

Two poolings of a window's tokens (t h w D): `mean`, of all; `change`, that and two measures of what happens over time, the spread of
the mean token of each time step and the mean absolute difference of a token and the next at its place. Three scores: `phase`,
balanced accuracy over all phases; `look`, the same with phases merged that no single frame can tell apart; `motion`, telling those
pairs apart, chance is 0.5.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from report import write_result
from torch import Tensor

from surgrec.config.build import LoadedRun, build_objective, load_run
from surgrec.core.console import progress, run_command
from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.data.preprocess import Preprocess
from surgrec.evaluation.frozen import HeldOut, held_out_predictions
from surgrec.evaluation.metrics import balanced_accuracy
from surgrec.evaluation.splits import folds_by_group
from surgrec.models.encoder import Encoder
from surgrec.synthetic.plan import PHASES
from surgrec.video.decode import open_video

WINDOW_SECONDS = 4.0  # long enough for either variant's clip
NUM_FOLDS = 5
POOLINGS = ("mean", "change")
UNUSABLE = {"black", "out_of_body"}


@dataclass(frozen=True)
class Window:
    """A stretch of one phase."""

    row: int
    start_seconds: float
    phase: str
    group: str
    source: str


def read_windows(corpora: list[Path], manifest: Manifest) -> list[Window]:
    """Windows of `WINDOW_SECONDS` that do not overlap, lie within one phase and show the operation."""
    windows = []
    for row, (video_id, source) in enumerate(zip(manifest.video_ids, manifest.sources, strict=True)):
        corpus = next(folder for folder in corpora if labels_of(folder, video_id).exists())
        with labels_of(corpus, video_id).open() as file:
            frames = list(csv.DictReader(file))
        times = np.array([float(frame["time_seconds"]) for frame in frames])
        phases = np.array([frame["phase"] for frame in frames])
        events = np.array([frame["event"] for frame in frames])
        start = 0.0
        while start + WINDOW_SECONDS <= times[-1]:
            inside = (times >= start) & (times < start + WINDOW_SECONDS)
            if len(set(phases[inside])) == 1 and not UNUSABLE & set(events[inside]):
                windows.append(
                    Window(row, start, str(phases[inside][0]), f"{corpus}/{source}/{frames[0]['case_id']}", str(source))
                )
                start += WINDOW_SECONDS
            else:
                start += 0.5
    return windows


def labels_of(corpus: Path, video_id: object) -> Path:
    return corpus / "labels" / f"{video_id}.csv"


@torch.no_grad()
def pooled_features(
    encoders: dict[str, Encoder], run: LoadedRun, manifest: Manifest, windows: list[Window]
) -> dict[tuple[str, str], Tensor]:
    """Features of every window by encoder and pooling, (n, D) or (n, 3 D); all encoders read the same pixels."""
    preprocess, offsets = Preprocess(run.preprocess), run.clip.offsets_seconds
    features: dict[tuple[str, str], list[Tensor]] = {(name, pooling): [] for name in encoders for pooling in POOLINGS}
    with progress("encoding windows", len(windows)) as advance:
        for window in windows:
            with open_video(manifest.path_of(window.row), short_side_pixels=run.clip.short_side_pixels) as video:
                frames = video.read(window.start_seconds + offsets).pixels
            for name, encoder in encoders.items():
                grid = encoder.grid
                tokens = encoder(preprocess(frames)).unflatten(1, (grid.t, grid.h * grid.w))
                steps = tokens.mean(2)
                features[name, "mean"].append(steps.mean(1))
                change = [steps.mean(1), steps.std(1), tokens.diff(dim=1).abs().mean((1, 2))]
                features[name, "change"].append(torch.cat(change, 1))
            advance()
    return {name: torch.cat(values) for name, values in features.items()}


def score(features: Tensor, windows: list[Window], *, with_motion: bool) -> dict[str, HeldOut]:
    """Held-out predictions for `phase` and `look` and, where asked, `motion`."""
    names = sorted({window.phase for window in windows})
    labels = np.array([names.index(window.phase) for window in windows])
    groups, sources = [window.group for window in windows], [window.source for window in windows]
    folds = folds_by_group(groups, 0, NUM_FOLDS, strata=sources)
    phase = held_out_predictions(features, labels, groups, folds, "linear")
    motion = {"motion": told_apart(features, windows)} if with_motion else {}
    return {"phase": phase, "look": merged(phase, names)} | motion


def pairs() -> list[tuple[str, str]]:
    """Phases of one look within a domain: they differ in motion only."""
    by_look: dict[tuple[str, str], list[str]] = {}
    for domain, phases in PHASES.items():
        for phase in phases:
            by_look.setdefault((domain, phase.look), []).append(phase.name)
    return [(names[0], names[1]) for names in by_look.values() if len(names) == 2]


def merged(result: HeldOut, names: list[str]) -> HeldOut:
    """The same predictions with the phases of a pair taken as one class."""
    second = {b: a for a, b in pairs()}
    first = np.array([names.index(second.get(name, name)) for name in names])
    _, compact = np.unique(first, return_inverse=True)
    return HeldOut(compact[result.labels], compact[result.predictions], result.groups, int(compact.max()) + 1)


def told_apart(features: Tensor, windows: list[Window]) -> HeldOut:
    """Every pair has a probe of its own; their predictions are pooled as first or second of the pair."""
    results = []
    for pair in pairs():
        rows = [index for index, window in enumerate(windows) if window.phase in pair]
        labels = np.array([pair.index(windows[row].phase) for row in rows])
        groups = [windows[row].group for row in rows]
        results.append(
            held_out_predictions(features[rows], labels, groups, folds_by_group(groups, 0, NUM_FOLDS), "linear")
        )
    return HeldOut(
        np.concatenate([result.labels for result in results]),
        np.concatenate([result.predictions for result in results]),
        np.concatenate([result.groups for result in results]),
        2,
    )


def measure(folder: Path, manifest: Manifest, windows: list[Window], starts: list[str]) -> list[dict[str, object]]:
    """One row per pooling and score: the run's encoder, its random start, and random encoders drawn in the ways of `starts`."""
    run = load_run(folder)
    encoders = {"trained": run.objective.released_encoder, "random": build_objective(run.config).released_encoder}
    for init in starts:
        backbone = dataclasses.replace(run.config.backbone, init=init)
        encoders[init] = build_objective(dataclasses.replace(run.config, backbone=backbone)).released_encoder
    encoders = {name: encoder.eval() for name, encoder in encoders.items()}
    features = pooled_features(encoders, run, manifest, windows)
    with progress("fitting probes", len(features)) as advance:
        results = {}
        for (name, pooling), values in features.items():
            results[name, pooling] = score(values, windows, with_motion=name not in starts)
            advance()
    rows: list[dict[str, object]] = []
    for pooling in POOLINGS:
        for metric in ("phase", "look", "motion"):
            before, after = results["random", pooling][metric], results["trained", pooling][metric]
            parts = {
                "random": before.score(balanced_accuracy),
                "trained": after.score(balanced_accuracy),
                "difference": after.minus(before, balanced_accuracy),
            }
            for init in starts:
                if metric in results[init, pooling]:
                    parts[init] = results[init, pooling][metric].score(balanced_accuracy)
            values = {name: [part.estimate, part.low, part.high] for name, part in parts.items()}
            rows.append({"run": folder.name, "steps": run.progress.step, "pooling": pooling, "score": metric, **values})
    return rows


def table(rows: list[dict[str, object]], starts: list[str]) -> str:
    """Markdown."""
    titles = ["run", "steps", "pooling", "score", "random start", "pretrained", "difference"]
    titles += [f"random, {init}" for init in starts]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [str(row[name]) for name in ("run", "steps", "pooling", "score")]
        cells += [show(row[name]) if name in row else "" for name in ("random", "trained", "difference", *starts)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show(values: object) -> str:
    assert isinstance(values, list)
    return f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--corpora", type=Path, nargs="+", required=True, help="synthesised, of other seeds than the training one"
    )
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--starts", nargs="*", default=[], help="also probe random encoders, e.g. xavier trunc_normal")
    parser.add_argument("--out", type=Path, help="folder for probe_synthesised_DATE.md and .json")
    options = parser.parse_args()
    manifest = Manifest.read([corpus / "manifest.parquet" for corpus in options.corpora])
    windows = read_windows(options.corpora, manifest)
    for folder in options.runs:
        seen = Manifest.read([Path(path) for path in load_run(folder).config.mix.manifests])
        if set(seen.video_ids) & set(manifest.video_ids):
            raise UserError(
                f"{folder} was trained on videos of {', '.join(map(str, options.corpora))}; synthesise the test corpus with another --seed"
            )
    rows = [row for folder in options.runs for row in measure(folder, manifest, windows, options.starts)]
    majority = 1 / len({window.phase for window in windows})
    hardware = f"{os.cpu_count()} cores of {platform.processor() or platform.machine()}, torch {torch.__version__}"
    date = datetime.date.today().isoformat()
    num_cases = len({window.group for window in windows})
    head = f"{len(windows)} windows of {num_cases} cases; a constant answer scores {majority:.3f} on phase. {date}, {hardware}."
    print(f"{head}\n\n{table(rows, options.starts)}")
    if options.out:
        text = f"# Probe on the synthesised corpus\n\n{head}\n\n{table(rows, options.starts)}\n"
        write_result(options.out / f"probe_synthesised_{date}", text, {"about": head, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
