"""What balanced draws are worth on a corpus with a long tail: natural, temperature 0.5, uniform and clusters, for the same steps.

    surgrec synthesize --out corpus --scale small
    surgrec synthesize --out held_out --scale small --seed 1
    python benchmarks/long_tail.py --corpus corpus --held-out held_out --work work --out benchmarks/results

In: a synthesised corpus to train on, in which a dozen sources share the hours as 38 % to 1.4 %, and others of other seeds, all of whose
cases are new. Every variant is trained with every policy and seed; a run that is there is not trained again. Then frozen features of
held-out windows go to one linear probe over all sources, on cases that it has not seen, and what it says is scored apart: on the head, the
largest sources that have half of the training hours, and on the tail, the smallest that have a tenth.

Out: balanced accuracy over phases, and its difference from natural, paired over the same windows. Intervals are of the mean
over seeds, for other cases and other seeds; `seeds` is what each gives by itself. The clusters
are of features of the natural run of the same variant and seed, which is what a user has.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from probe_synthesised import POOLINGS, Window, pooled_features, read_windows
from report import write_result

from surgrec.config.build import load_run
from surgrec.core.console import progress, run_command
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.frozen import HeldOut, held_out_predictions
from surgrec.evaluation.metrics import balanced_accuracy
from surgrec.evaluation.scores import difference, score
from surgrec.evaluation.splits import folds_by_group

VARIANTS = ("mae", "jepa")
POLICIES = ("natural", "temperature", "uniform", "clusters")  # natural first: it gives the clusters
CLUSTERS = ("64", "8")
HEAD_SHARE, TAIL_SHARE = 0.5, 0.1
NUM_FOLDS = 5


# -- training


@dataclass(frozen=True)
class Training:
    """What all runs share: the corpus, the folder of the runs, further options, sizes of the levels of clusters, and cores of a run."""

    corpus: Path
    work: Path
    more: tuple[str, ...]
    clusters: tuple[str, ...]
    num_threads: int

    def command(self, *arguments: object) -> None:
        """Run a command of surgrec; its output goes to this one's."""
        environment = os.environ | {"OMP_NUM_THREADS": str(self.num_threads)}
        subprocess.run([sys.executable, "-m", *map(str, arguments)], check=True, env=environment)

    def run(self, variant: str, policy: str, seed: int) -> Path:
        """The folder of the run, trained where it is not whole."""
        name = f"{variant}_{policy}_{seed}"
        run, done = self.work / name, self.work / f"{name}.done"
        if not done.exists():
            mix = [f"mix.policy={policy}", "mix.alpha=0.5"]
            if policy == "clusters":
                mix.append(f"mix.clusters={self.clusters_of(variant, seed)}")
            self.command(
                "surgrec.train", f"+variant={variant}", "+experiment=quickstart", f"mix.manifests=[{self.manifest}]",
                f"seed={seed}", f"name={name}", f"paths.runs={self.work}", *mix, *self.more,
            )  # fmt: skip
            done.touch()
        return run

    def clusters_of(self, variant: str, seed: int) -> Path:
        """Clusters of the moments of the training corpus, as the natural run sees them."""
        natural = f"{variant}_natural_{seed}"
        release, features, file = (
            self.work / f"{natural}.{kind}" for kind in ("release", "features", "clusters.parquet")
        )
        if not file.exists():
            if not release.exists():
                self.command("surgrec", "export", "--run", self.work / natural, "--out", release)
            self.command("surgrec", "extract", "--model", release, "--videos", self.manifest, "--out", features)
            sizes = ("--clusters", *self.clusters)
            self.command("surgrec", "corpus", "cluster", "--features", features, *sizes, "--out", file)
        return file

    @property
    def manifest(self) -> Path:
        """Of the corpus."""
        return self.corpus / "manifest.parquet"


def train_all(training: Training, variant: str, seeds: Sequence[int], at_once: int) -> dict[tuple[str, int], Path]:
    """The folders of all runs of a variant; `at_once` seeds are trained side by side."""

    def train_seed(seed: int) -> dict[tuple[str, int], Path]:
        return {(policy, seed): training.run(variant, policy, seed) for policy in POLICIES}

    with ThreadPoolExecutor(at_once) as pool:
        return {key: run for runs in pool.map(train_seed, seeds) for key, run in runs.items()}


# -- scores


def head_and_tail(manifest: Manifest) -> dict[str, set[str]]:
    """Sources by part."""
    hours: dict[str, float] = {}
    for source, seconds in zip(manifest.sources.tolist(), manifest.column("duration_seconds").tolist(), strict=True):
        hours[source] = hours.get(source, 0.0) + seconds
    ordered, total = sorted(hours, key=lambda source: -hours[source]), sum(hours.values())
    running = np.cumsum([hours[source] for source in ordered]) / total
    num_head = int(np.searchsorted(running, HEAD_SHARE)) + 1
    num_tail = max(1, int(np.sum(1 - np.concatenate([[0.0], running[:-1]]) <= TAIL_SHARE + 1e-9)))
    return {"all": set(ordered), "head": set(ordered[:num_head]), "tail": set(ordered[-num_tail:])}


def held_out(features: torch.Tensor, windows: list[Window]) -> tuple[HeldOut, np.ndarray]:
    """Predictions of a phase for every window, and which source each is of."""
    names = sorted({window.phase for window in windows})
    labels = np.array([names.index(window.phase) for window in windows])
    groups, sources = [window.group for window in windows], [window.source for window in windows]
    folds = folds_by_group(groups, 0, NUM_FOLDS, strata=sources)
    order = np.concatenate([fold.test for fold in folds])
    return held_out_predictions(features, labels, groups, folds, "linear"), np.array(sources)[order]


def only(result: HeldOut, mask: np.ndarray) -> HeldOut:
    """The rows of a part."""
    return HeldOut(result.labels[mask], result.predictions[mask], result.groups[mask], result.num_classes)


def measure(
    variant: str, runs: dict[tuple[str, int], Path], held: list[Path], parts: dict[str, set[str]]
) -> list[dict[str, object]]:
    """One row for every pooling, part and policy, and for the random start."""
    manifest = Manifest.read([folder / "manifest.parquet" for folder in held])
    windows = read_windows(held, manifest)
    loaded = {key: load_run(folder) for key, folder in runs.items()}
    first = next(iter(loaded.values()))
    encoders = {f"{policy}/{seed}": run.objective.released_encoder.eval() for (policy, seed), run in loaded.items()}
    features = pooled_features(encoders, first, manifest, windows)
    predicted: dict[tuple[str, str], tuple[HeldOut, np.ndarray]] = {}
    with progress("fitting probes", len(features)) as advance:
        for key, values in features.items():
            predicted[key] = held_out(values, windows)
            advance()
    policies, seeds = list(dict.fromkeys(policy for policy, _ in runs)), sorted({seed for _, seed in runs})
    rows: list[dict[str, object]] = []
    for pooling in POOLINGS:
        for part, sources in parts.items():
            of_part = {}
            for policy in policies:
                of_seeds = [predicted[f"{policy}/{seed}", pooling] for seed in seeds]
                of_part[policy] = [only(result, np.isin(of, sorted(sources))) for result, of in of_seeds]
            for policy, results in of_part.items():
                found = score(results, "balanced accuracy")
                rows.append(
                    {
                        "variant": variant, "pooling": pooling, "part": part, "policy": policy,
                        "windows": len(results[0].labels), "score": [found.estimate, found.low, found.high],
                        "seeds": [result.score(balanced_accuracy).estimate for result in results],
                    }
                )  # fmt: skip
                if policy != "natural":
                    gain = difference(results, of_part["natural"], "balanced accuracy")
                    rows[-1]["gain"] = [gain.estimate, gain.low, gain.high]
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Markdown."""
    titles = ["variant", "pooling", "part", "windows", "policy", "score", "less natural", "seeds"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [str(row[name]) for name in ("variant", "pooling", "part", "windows", "policy")]
        cells += [_show(row["score"]), _show(row["gain"], "+") if "gain" in row else ""]
        cells.append(", ".join(f"{value:.3f}" for value in row["seeds"]))  # type: ignore[attr-defined]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _show(values: object, sign: str = "") -> str:
    assert isinstance(values, list)
    return f"{values[0]:{sign}.3f} ({values[1]:{sign}.3f} to {values[2]:{sign}.3f})"


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--corpus", type=Path, required=True, help="synthesised, to train on")
    add("--held-out", type=Path, nargs="+", required=True, help="synthesised, of other seeds")
    add("--work", type=Path, required=True, help="folder of the runs; what is there is not done again")
    add("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add(
        "--set",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="options for every run, for instance trainer.steps=300",
    )
    add("--clusters", nargs="+", default=CLUSTERS, help="sizes of the levels, the lowest first")
    add("--at-once", type=int, default=1, help="seeds to train side by side, each on its part of the cores")
    add("--out", type=Path, help="folder for long_tail_DATE.md and .json")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    num_threads = max(1, (os.cpu_count() or 1) // options.at_once)
    training = Training(options.corpus, options.work, tuple(options.set), tuple(options.clusters), num_threads)
    parts = head_and_tail(Manifest.read([options.corpus / "manifest.parquet"]))
    rows = []
    for variant in options.variants:
        runs = train_all(training, variant, options.seeds, options.at_once)
        rows += measure(variant, runs, options.held_out, parts)
    date = datetime.date.today().isoformat()
    head = (
        f"{date}, {os.cpu_count()} cores of {platform.processor() or platform.machine()}, torch {torch.__version__}; seeds "
        f"{', '.join(map(str, options.seeds))}{'; ' if options.set else ''}{' '.join(options.set)}. Head: "
        f"{', '.join(sorted(parts['head']))}. Tail: {', '.join(sorted(parts['tail']))}."
    )
    print(f"{head}\n\n{table(rows)}")
    if options.out:
        text = f"# Draws on a long tail\n\n{head}\n\n{table(rows)}\n"
        write_result(options.out / f"long_tail_{date}", text, {"about": head, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
