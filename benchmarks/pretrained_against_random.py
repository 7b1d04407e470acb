"""What is pretraining worth? MAE and JEPA encoders after some minutes of pretraining, and the same architectures with random weights, on
cases that no encoder has seen.

    python benchmarks/pretrained_against_random.py --work work --minutes 15 --backbone small --device cuda --together --out docs/results

In: a folder to work in. It synthesises a corpus (`--scale`, seed 0), pretrains each variant for at least `--minutes` (one after the other;
`--together`: both at once, sharing the device), and runs `surgrec benchmark` on a corpus of another seed (`--held-out`). Out: a page, and
the numbers behind it, in `--out`: the report's tables with intervals, and pretrained less random on the same rows, each variant against its
own architecture. The same command continues what was interrupted, whatever the moment.

The recipe is that of `+experiment=quickstart` with the backbone and batch named here; `--train` and `--benchmark` take further options of
`surgrec train` and `surgrec benchmark`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from pretrained_page import Trained, gains_of, page, summary
from report import cpu_name, machine, write_result
from timed_runs import TimedRun, lines_of, started, train_for

from surgrec.core.atomic import write_json
from surgrec.core.console import run_command
from surgrec.core.cores import usable_cores
from surgrec.core.errors import ToldError, UserError
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.results import Results
from surgrec.evaluation.results_json import plain, read_results
from surgrec.synthetic.corpus import synthesize

VARIANTS = ("mae", "jepa")
NAME = "pretrained_against_random"
PROTOCOLS = "knn,linear,attentive,few_shot_1,few_shot_5,few_shot_10,frame_linear,temporal"  # fine-tuning: --benchmark protocols.names=[...]
BATCH = {"cuda": 256, "cpu": 8}
SEED, HELD_OUT_SEED = 0, 1


def main() -> int:
    """Command line; see the module's docstring."""
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    options.work.mkdir(parents=True, exist_ok=True)
    _claim(options)
    manifest = synthesize(options.work / "corpus", options.scale, SEED, usable_cores())
    runs = [_run(variant, manifest, options) for variant in VARIANTS]
    steps: dict[str, int] = {}
    for group in [runs] if options.together else [[run] for run in runs]:
        steps |= train_for(group, options.minutes, options.pace_seconds, options.work / "steps.json")
    results = _benchmark(runs, options)
    _write(results, [_trained(run, steps[run.name], results) for run in runs], manifest, options)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM as Ctrl-C: what runs is asked to save, and the same command continues."""
    raise KeyboardInterrupt


def _claim(options: argparse.Namespace) -> None:
    """A folder is of one experiment. Raises `UserError` where it has another."""
    names = ("minutes", "backbone", "device", "batch", "scale", "together", "train")
    wanted = {name: getattr(options, name) for name in names}
    file = options.work / "experiment.json"
    if file.is_file() and (found := json.loads(file.read_text())) != wanted:
        changed = ", ".join(f"--{name} {found.get(name)!r}" for name in names if found.get(name) != wanted[name])
        raise UserError(f"{options.work} was begun with {changed}; give the same, or another --work")
    write_json(file, wanted)


# -- training


def _run(variant: str, manifest: Path, options: argparse.Namespace) -> TimedRun:
    def arguments(steps: int) -> Sequence[str]:
        return [
            f"+variant={variant}",
            "+experiment=quickstart",
            f"backbone={options.backbone}",
            *(f"objective.head_{part}=null" for part in ("width", "depth", "heads")),  # by the backbone
            f"mix.manifests=[{manifest.resolve()}]",
            f"data.global_batch_size={options.batch}",
            f"data.workers={options.workers}",
            f"trainer.steps={steps}",
            f"optim.warmup_steps={min(max(1, steps // 20), 500)}",
            f"trainer.checkpoint_every={max(1, steps // 20)}",
            f"runtime={'gpu' if options.device == 'cuda' else 'cpu'}",
            *options.train,
        ]

    return TimedRun(variant, options.work / "runs", options.batch, arguments)


def _trained(run: TimedRun, steps: int, results: Results) -> Trained:
    (facts,) = (each for each in results.encoders if each.name == run.name)
    last = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    minutes = sum(seconds for _, seconds in lines_of(run.folder, run.batch)) / 60
    return Trained(run.name, facts.num_parameters, steps, steps * run.batch, minutes, float(last["loss"]))


# -- benchmark


def _benchmark(runs: Sequence[TimedRun], options: argparse.Namespace) -> Results:
    """The two encoders, each with random first weights too, and what looks at nothing."""
    work = options.work.resolve()
    names = ",".join(run.name for run in runs)
    command = [
        *(sys.executable, "-m", "surgrec.benchmark", f"name={NAME}"),
        *(f"paths.{key}={work / folder}" for key, folder in _FOLDERS.items()),
        f"tasks.synthesised={options.held_out}",
        f"tasks.synthesised_seeds=[{HELD_OUT_SEED}]",
        *(f"+encoders.models.{run.name}={run.folder.resolve()}" for run in runs),
        f"encoders.random=[{names}]",
        f"encoders.device={options.device}",
        f"protocols.names=[{PROTOCOLS}]",
        f"features.batch_size={64 if options.device == 'cuda' else 8}",
        f"processes={options.processes}",
        *options.benchmark,
    ]
    folder = work / _FOLDERS["benchmarks"] / NAME
    with started({folder: command}, has_log=False) as processes:
        status = processes[folder].wait()
    if status:
        error = UserError(f"the benchmark ended with status {status}")
        error.status = status if status > 0 else 1
        raise ToldError(error)
    return read_results(folder / "results.json")


_FOLDERS = {"benchmarks": "benchmark", "features": "benchmark/.features", "embedded": "embedded", "runs": "runs"}


# -- the page


def _write(results: Results, trained: Sequence[Trained], manifest: Path, options: argparse.Namespace) -> None:
    date = datetime.date.today().isoformat()
    hours = float(Manifest.read([manifest]).column("duration_seconds").sum()) / 3600
    about = (
        f"{date}, {machine(options.device)}, {cpu_name()}. Pretrained for at least {options.minutes:g} minutes"
        f"{' at the same time' if options.together else ''} on {hours:.1f} hours of synthesised surgery (scale `{options.scale}`, seed "
        f"{SEED}), backbone `{options.backbone}`, {options.batch} clips a step; measured on cases of scale `{options.held_out}`, seed "
        f"{HELD_OUT_SEED}, that no encoder has seen. Rendered scenes: no patient, no evidence for surgery. One run of each variant: how "
        "much another would differ was not measured."
    )
    title = f"Pretrained and random encoders, backbone {options.backbone}, {options.device}"
    report = (options.work / _FOLDERS["benchmarks"] / NAME / "report.md").read_text(encoding="utf-8")
    gains = gains_of(results, VARIANTS)
    text = page(title, about, _command_line(options), trained, gains, results, report)
    stem = options.out / f"{NAME}_{options.backbone}_{options.device}_{date}"
    scores = [
        {"cell": [c.task, c.encoder, c.protocol], "scores": plain(c.scores), "alarm": c.alarm} for c in results.cells
    ]
    content = {"about": about, "environment": results.environment, "trained": trained, "gains": gains, "cells": scores}
    write_result(stem, text, plain(content))
    print(f"{summary(trained, gains)}\n\n{stem.with_name(f'{stem.name}.md')}")


def _command_line(options: argparse.Namespace) -> str:
    """With all that decides what is measured, and no path."""
    words = [
        f"--minutes {options.minutes:g} --backbone {options.backbone} --device {options.device} --batch {options.batch}"
    ]
    words.append(f"--scale {options.scale} --held-out {options.held_out}{' --together' if options.together else ''}")
    words += [f"--{name} {' '.join(given)}" for name in ("train", "benchmark") if (given := getattr(options, name))]
    return f"python benchmarks/{NAME}.py --work work {' '.join(words)} --out docs/results"


def _options() -> argparse.Namespace:
    options = _parser().parse_args()
    options.batch = options.batch or BATCH[options.device]
    num_at_once = len(VARIANTS) if options.together else 1
    options.workers = usable_cores() // num_at_once if options.workers is None else options.workers
    options.processes = options.processes or max(1, usable_cores() // 2)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder for corpora, runs and features; the same folder continues")
    add("--minutes", type=float, default=15.0, help="of training, each variant (default 15)")
    add("--backbone", default="small", help="nano, tiny, small, base, ... (default small)")
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--batch", type=int, help="clips a step (default: 256 on a GPU, 8 on a CPU)")
    add("--workers", type=int, help="loading processes of each run (default: its share of the cores)")
    add("--processes", type=int, help="of the benchmark (default: half of the cores)")
    add("--scale", default="large", help="of the corpus to pretrain on: quickstart, small, large (default large)")
    add("--held-out", default="small", help="of the corpus to measure on (default small)")
    add("--together", action="store_true", help="train both variants at once, in half of the time")
    add(
        "--pace-seconds",
        type=float,
        default=40.0,
        help="of training that tell how many steps the minutes hold (default 40)",
    )
    add("--train", nargs="*", default=[], metavar="KEY=VALUE", help="more options of surgrec train, for both variants")
    add("--benchmark", nargs="*", default=[], metavar="KEY=VALUE", help="more options of surgrec benchmark")
    add("--out", type=Path, required=True, help="folder of the page and its numbers")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
