"""Pretrain a video encoder on surgical footage.

    python -m surgrec.train +variant=jepa +experiment=quickstart            # minutes, on a corpus that it synthesises
    python -m surgrec.train +variant=mae mix.manifests=[corpus.parquet]     # the published recipe on your footage
    torchrun --standalone --nproc-per-node 8 -m surgrec.train +variant=jepa mix.manifests=[corpus.parquet] runtime=ddp

The same command continues an interrupted run. In: a configuration. Out: a run folder. Read next: surgrec/training/loop.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from surgrec.config.application import run_application
from surgrec.config.compose import claim_folder, headline
from surgrec.config.footage import judge_footage, provide_footage, resolve_footage, write_footage
from surgrec.config.phases import spans_of
from surgrec.config.schema import Config
from surgrec.core.console import STATUS_INTERRUPTED, STATUS_OK
from surgrec.core.memory import keep_freed_memory
from surgrec.core.wording import counted
from surgrec.corpus.gate import Standing
from surgrec.training.ending import ending_at_once


def train(config: Config) -> int:
    """Run the configured pretraining in this process; returns the exit status."""
    resolve_footage(config)
    from surgrec.config.build import build_run, build_runtime  # torch is loaded only once the options are right
    from surgrec.config.device import start_lines
    from surgrec.training.loop import pretrain
    from surgrec.training.preempt import listen

    runtime = build_runtime(config)
    if not runtime.has_cuda:
        keep_freed_memory()
    try:
        runtime.on_first(lambda: provide_footage(config))
        runtime.on_first(lambda: write_footage(config))
        known: list[Standing] = []  # of test material in the footage; the first process asks
        runtime.on_first(lambda: known.append(judge_footage(config)))
        run = build_run(config, runtime)
        # Only now, so that a mistake found while building leaves no folder behind.
        runtime.on_first(lambda: claim_folder(config, run.folder.config_file))
        if runtime.is_first:
            run.folder.add_standing(known[0].sentence)
            lines = [headline(config), *start_lines(config, runtime.world, runtime.precision)]
            print("\n".join(lines), file=sys.stderr, flush=True)
        with listen() as stop, runtime.told_once():
            stopped_by = pretrain(run, stop)
            stop.is_leaving = stopped_by is not None
        was_done = run.checkpoints.resumed_from == spans_of(config).num_steps
        if runtime.is_first:
            say_what_next(config, run.folder.path, stopped_by, was_done)
    finally:
        runtime.close()
    return STATUS_INTERRUPTED if stopped_by else STATUS_OK


def say_what_next(config: Config, folder: Path, stopped_by: str | None, was_done: bool) -> None:
    """Where the results are, and the next command."""
    if stopped_by:
        print(f"stopped by {stopped_by}; saved in {folder / 'checkpoints'}. The same command continues.")
        return
    print(
        f"done: {counted(spans_of(config).num_steps, 'step')}{'; nothing was left to do' if was_done else ''}\n"
        f"  checkpoint  {folder / 'checkpoints' / (folder / 'checkpoints' / 'latest').read_text().strip()}\n"
        f"  pictures    {folder / 'previews'}\n"
        f"  metrics     {folder / 'metrics.jsonl'}\n"
        f"next:\n"
        f"  surgrec export --run {folder} --out {folder}-release\n"
        f"  surgrec extract --model {folder}-release --videos YOUR_VIDEOS --out features"
    )


def main() -> int:
    """Entry point of `surgrec train` and `python -m surgrec.train`."""
    return ending_at_once(lambda: run_application(train, __doc__))


if __name__ == "__main__":
    sys.exit(main())
