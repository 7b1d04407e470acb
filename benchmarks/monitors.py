"""What does watching cost? Each monitor's time, as a share of the training that happens between two of its readings.

    python benchmarks/monitors.py --out benchmarks/results

In: nothing; a model with random weights and random clips. Out: a table, printed and written with date and hardware: for both
objectives, at the quickstart's size and at ViT-B of 224 pixels, the median time of a whole step (forward, backward, AdamW, target
encoder), of each monitor, and its share at its default interval, time / (step x interval). `--device cuda` measures on a GPU, in
bf16; give it larger batches (`--batch`).

The rows: `health`, all numbers of a reading together, and below it its parts; `verdict`, what every step does so that no broken gradient
reaches the weights: the gradient's norm, the judgement, the numbers' way to the host (interval 1). The online probe is not among
them: it has no default interval, and its cost is that of the windows it reads.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from bench import Bench
from report import machine, write_result

from surgrec.config.compose import compose_config
from surgrec.core.console import progress, run_command
from surgrec.objectives.diagnostics import effective_rank, health
from surgrec.objectives.ema import squared_distance
from surgrec.objectives.objective import Outcome
from surgrec.training.update import Reading, clip_gradients

SIZES = {
    "quickstart": ["+experiment=quickstart"],
    "ViT-B": ["backbone=base", "augment.crop_pixels=224"],
}
GOAL = 0.01


class Watched(Bench):
    """One objective at one size, and what watches its step."""

    def __init__(self, variant: str, size: str, batch: int, device: str) -> None:
        options = [f"+variant={variant}", *SIZES[size], "mix.manifests=[none.parquet]", f"runtime.accelerator={device}"]
        super().__init__(compose_config(options), batch)
        self.outcome: Outcome | None = None

    def step(self) -> Outcome:
        """A plain step, without any monitor; they read its outcome."""
        self.outcome = super().step()
        return self.outcome

    def monitors(self) -> dict[str, tuple[int, Callable[[], object]]]:
        """Name to default interval and what it does; to be called after a step whose gradients are still there."""
        every = self.config.trainer.health_every
        assert self.outcome is not None
        outcome, targets = Outcome(*self.outcome), self.targets
        tokens = outcome.context[0].detach().float().flatten(0, 1)[:1024]
        loss = outcome.loss.detach()
        frozen = self.objective.frozen

        def distance() -> object:
            return squared_distance(frozen["target_encoder"], self.objective.learner.encoder)  # type: ignore[arg-type]

        def verdict() -> object:
            norm = clip_gradients(self.trained, None)
            finite = torch.isfinite(loss) & torch.isfinite(norm)
            return Reading(0, torch.stack([loss, loss, norm, finite.float()]), ())

        def reading() -> object:
            return health(outcome, targets).tolist(), distance() if "target_encoder" in frozen else None

        parts: dict[str, tuple[int, Callable[[], object]]] = {
            "health": (every, reading),
            "of it, effective rank": (every, lambda: float(effective_rank(tokens))),
        }
        if "target_encoder" in frozen:
            parts["of it, target distance"] = (every, distance)
        return parts | {"verdict": (1, verdict)}


def measure(variant: str, size: str, batch: int, device: str, repeats: int) -> list[dict[str, object]]:
    """Rows of one objective at one size: steps and monitors take turns, so that a busy moment hits all of them."""
    bench = Watched(variant, size, batch, device)
    bench.step()  # the first allocates
    steps, times = [], {name: [] for name in bench.monitors()}
    with progress(f"{variant} {size}", repeats) as advance:
        for _ in range(repeats):
            bench.optimizer.zero_grad(set_to_none=True)
            steps.append(bench.seconds(bench.step))
            for name, (_, action) in bench.monitors().items():
                times[name].append(bench.seconds(action))
            advance()
    step = statistics.median(steps)
    rows = []
    for name, (every, _) in bench.monitors().items():
        median = statistics.median(times[name])
        rows.append(
            {
                "objective": variant, "size": size, "batch": batch, "step_ms": step * 1e3, "monitor": name, "every": every,
                "monitor_ms": median * 1e3, "share": median / (step * every),
            }
        )  # fmt: skip
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Markdown."""
    lines = [
        "| objective | size | clips | step, ms | monitor | every | monitor, ms | share of the steps |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        lines.append(
            f"| {row['objective']} | {row['size']} | {row['batch']} | {row['step_ms']:.1f} | {row['monitor']} | {row['every']} "
            f"| {row['monitor_ms']:.2f} | {100 * float(str(row['share'])):.3f} % |"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--batch", type=int, help="clips of a step; 8 for the quickstart, 2 for ViT-B where not given")
    parser.add_argument("--repeats", type=int, default=7, help="medians are over so many")
    parser.add_argument("--note", default="", help="a remark for the result, such as what else ran")
    parser.add_argument("--out", type=Path, help="folder for monitors_DEVICE_DATE.md and .json")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for size in options.sizes:
        for variant in ("mae", "jepa"):
            batch = options.batch or {"quickstart": 8, "ViT-B": 2}[size]
            rows += measure(variant, size, batch, options.device, options.repeats)
            gc.collect()
    date = datetime.date.today().isoformat()
    head = f"Medians of {options.repeats}. {date}, {machine(options.device)}."
    if options.note:
        head += f" {options.note}"
    worst = max(rows, key=lambda row: float(str(row["share"])))
    share = 100 * float(str(worst["share"]))
    verdict = f"Largest share: {share:.3f} % ({worst['monitor']}, {worst['objective']}, {worst['size']}); goal below {100 * GOAL:.0f} %."
    print(f"{head}\n\n{table(rows)}\n\n{verdict}")
    if options.out:
        stem = options.out / f"monitors_{options.device}_{date}"
        text = f"# Cost of watching\n\n{head}\n\n{table(rows)}\n\n{verdict}\n\n`python benchmarks/monitors.py --device {options.device}`\n"
        write_result(stem, text, {"about": head, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
