"""For how long does training stand still while a checkpoint is saved? Asynchronous saves against synchronous ones, in one run.

    python benchmarks/checkpoint.py --out benchmarks/results

In: nothing; ViT-B (or `--size`) with random weights and random clips, small ones, since a state does not depend on
them. Out: a table, printed and written with date and hardware: for both objectives, the bytes of a checkpoint, the
median time that the loop waits for a save of either kind, their ratio, the first asynchronous save, which makes the
memory for the copy, and the median time of a training step with and without a save under way beside it. Real updates
run between saves; the two kinds take turns, so that a busy moment hits both. What an asynchronous save costs the loop
is the call and, at the end of its writing, the wait for its thread. Checkpoints are written with fsync to `--folder`,
verified once by loading, and deleted. `--device cuda` measures on a GPU, in bf16.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import statistics
import sys
import tempfile
import threading
from pathlib import Path

from bench import Bench
from report import machine, write_result

from surgrec.config.compose import compose_config
from surgrec.core.console import progress, run_command
from surgrec.core.memory import keep_freed_memory
from surgrec.objectives.objective import Outcome
from surgrec.training.checkpoint import Checkpoints
from surgrec.training.checkpoint_facts import read_facts
from surgrec.training.progress import Progress, Pulse

GOAL = 0.1
CLIPS = 2
SMALL_CLIPS = ("augment.crop_pixels=96", "data.num_frames=8", "mix.manifests=[none.parquet]")
BESIDE_STEPS = 3  # without a save, after each that had one


class Saved(Bench):
    """One objective and its two kinds of checkpoints."""

    def __init__(self, variant: str, size: str, device: str, folder: Path) -> None:
        options = [f"+variant={variant}", f"backbone={size}", *SMALL_CLIPS, f"runtime.accelerator={device}"]
        super().__init__(compose_config(options), CLIPS)
        self.both = {
            is_async: Checkpoints(folder / f"{variant}_{is_async}", keep=1, is_async=is_async)
            for is_async in (True, False)
        }
        self.number = 0

    def step(self) -> Outcome:
        """One update, whose gradients are gone before anything is saved."""
        outcome = super().step()
        self.optimizer.zero_grad(set_to_none=True)
        return outcome

    def save(self, is_async: bool) -> None:
        """One save, as the loop calls it."""
        self.number += 1
        self.both[is_async].save(self.runtime, self.trained, Progress(self.number, pulse=Pulse(self.number)))


def is_writing() -> bool:
    """Whether a save is under way in a thread."""
    return any(thread.name.startswith("step_") for thread in threading.enumerate())


def measure(variant: str, size: str, device: str, repeats: int, folder: Path) -> dict[str, object]:
    """The row of one objective."""
    bench = Saved(variant, size, device, folder)
    bench.step()  # the first allocates
    bench.save(False)
    first = bench.seconds(lambda: bench.save(True))
    bench.both[True].wait()
    still: dict[bool, list[float]] = {True: [], False: []}
    beside: list[float] = []
    plain: list[float] = []
    with progress(variant, repeats) as advance:
        for _ in range(repeats):
            bench.step()
            call = bench.seconds(lambda: bench.save(True))
            while is_writing():
                beside.append(bench.seconds(bench.step))
            still[True].append(call + bench.seconds(bench.both[True].wait))
            plain += [bench.seconds(bench.step) for _ in range(BESIDE_STEPS)]
            still[False].append(bench.seconds(lambda: bench.save(False)))
            advance()
    newest = bench.both[True].latest()
    assert newest is not None
    files = read_facts(newest).files
    assert files is not None and bench.both[True].restore(bench.runtime, bench.trained).step == bench.number - 1
    medians = {is_async: statistics.median(times) for is_async, times in still.items()}
    return {
        "objective": variant, "bytes": sum(each.num_bytes for each in files.values()),
        "async_s": medians[True], "sync_s": medians[False], "share": medians[True] / medians[False], "first_async_s": first,
        "step_s": statistics.median(plain), "step_while_writing_s": statistics.median(beside),
        "all_async_s": still[True], "all_sync_s": still[False],
    }  # fmt: skip


def table(rows: list[dict[str, object]]) -> str:
    """Markdown."""
    head = ("objective", "GB", "async, s", "sync, s", "share", "first async, s", "step, s", "step while writing, s")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        number = {name: float(str(value)) for name, value in row.items() if isinstance(value, int | float)}
        lines.append(
            f"| {row['objective']} | {number['bytes'] / 1e9:.2f} | {number['async_s']:.3f} | {number['sync_s']:.2f} "
            f"| {100 * number['share']:.1f} % | {number['first_async_s']:.2f} | {number['step_s']:.2f} "
            f"| {number['step_while_writing_s']:.2f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--variants", nargs="+", choices=["mae", "jepa"], default=["mae", "jepa"])
    parser.add_argument("--size", default="base", help="of the encoder: a name of surgrec/models/sizes.py")
    parser.add_argument("--repeats", type=int, default=7, help="medians are over so many saves of each kind")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's folder for temporary files)")
    parser.add_argument("--note", default="", help="a remark for the result, such as what else ran")
    parser.add_argument("--out", type=Path, help="folder for checkpoint_DEVICE_DATE.md and .json")
    options = parser.parse_args()
    if options.device == "cpu":
        keep_freed_memory()
    rows: list[dict[str, object]] = []
    for variant in options.variants:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows.append(measure(variant, options.size, options.device, options.repeats, Path(folder)))
        gc.collect()
    date = datetime.date.today().isoformat()
    head = (
        f"Encoder of size {options.size}, one process, medians of {options.repeats}. {date}, {machine(options.device)}."
    )
    if options.note:
        head += f" {options.note}"
    worst = max(rows, key=lambda row: float(str(row["share"])))
    verdict = f"Largest share: {100 * float(str(worst['share'])):.1f} % ({worst['objective']}); goal below {100 * GOAL:.0f} %."
    print(f"{head}\n\n{table(rows)}\n\n{verdict}")
    if options.out:
        stem = options.out / f"checkpoint_{options.device}_{date}"
        command = f"`python benchmarks/checkpoint.py --device {options.device} --repeats {options.repeats}`"
        text = f"# For how long training waits for a checkpoint\n\n{head}\n\n{table(rows)}\n\n{verdict}\n\n{command}\n"
        write_result(stem, text, {"about": head, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
