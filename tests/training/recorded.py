"""A run as `surgrec train` makes it, that also writes down which clips this rank read.

In: overrides on the command line, perhaps `--stop-after STEPS` before them, the launcher's variables. Out: the run folder, and in
it `read_by_rank_N.jsonl`, one line a clip. It is its own file because it runs under launchers, outside pytest.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from surgrec.config.build import build_run, build_runtime, run_folder
from surgrec.config.compose import claim_folder, compose_config
from surgrec.data.loader import ClipBatch, ClipLoader
from surgrec.training.loop import pretrain


class RecordingLoader:
    """Passes batches on and writes down what they hold."""

    def __init__(self, loader: ClipLoader, file: Path, video_ids: list[str], stop_after: int | None) -> None:
        self.loader, self.file, self.video_ids, self.stop_after = loader, file, video_ids, stop_after

    @property
    def seconds_waiting(self) -> float:
        return self.loader.seconds_waiting

    def __iter__(self) -> Iterator[ClipBatch]:
        for batch in self.loader:
            with self.file.open("a") as file:
                for clip in batch.clips:
                    file.write(json.dumps([clip.position, self.video_ids[clip.row], clip.start_seconds]) + "\n")
            if batch.step + 1 == self.stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    def close(self) -> None:
        self.loader.close()


def main() -> int:
    """Train with the overrides of the command line."""
    stop_after = int(sys.argv[2]) if sys.argv[1] == "--stop-after" else None
    config = compose_config(sys.argv[1:] if stop_after is None else sys.argv[3:])
    runtime = build_runtime(config)
    folder = run_folder(config)
    if runtime.is_first:
        claim_folder(config, folder.config_file)
    runtime.barrier()
    run = build_run(config, runtime)
    file = folder.path / f"read_by_rank_{runtime.fabric.global_rank}.jsonl"

    def make_loader(first_step: int) -> RecordingLoader:
        return RecordingLoader(run.make_loader(first_step), file, [str(name) for name in run.video_ids], stop_after)

    pretrain(dataclasses.replace(run, make_loader=make_loader))
    runtime.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
