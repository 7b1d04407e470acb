"""Frozen features of videos over time, with the encoder of a release or with a baseline.

    python -m surgrec.extract --model release --videos operations --out features
    python -m surgrec.extract --model release --videos manifest.parquet --out features --format parquet --stride-seconds 1
    python -m surgrec.extract --model release --videos manifest.parquet --out features --shard 3/16   # one of 16 jobs of a cluster

In: a release and videos. Out: a folder of features that NumPy or pandas read. The same command continues an interrupted
extraction, and adds what is new.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import progress, run_command
from surgrec.core.errors import UserError
from surgrec.core.shard import read_shard
from surgrec.core.wording import counted

if TYPE_CHECKING:
    from surgrec.features.extraction import Outcome
    from surgrec.features.settings import Settings
    from surgrec.features.videos import Found

_SHOWN = 10


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec extract`; returns the exit status."""
    options = _parser().parse_args(arguments)
    shard = read_shard(options.shard)
    if not options.videos.exists():
        raise UserError(
            f"there is nothing at {options.videos}; give --videos a video, a folder of videos or a manifest"
        )
    if shard[1] > 1 and options.videos.suffix != ".parquet":
        raise UserError(
            f"--shard needs a list that all jobs share, and {options.videos} is none; write one with `surgrec index`"
        )
    if options.processes < 1:
        raise UserError(f"--processes is {options.processes}; give 1 or more")

    from surgrec.core.lock import only_writer

    name = options.out.name if shard[1] == 1 else f"{options.out.name}.{shard[0]}-of-{shard[1]}"
    with only_writer(options.out.with_name(name)):
        return _extract(options, shard)


def _extract(options: argparse.Namespace, shard: tuple[int, int]) -> int:
    from surgrec.features.extraction import plan_work, run_work
    from surgrec.features.processes import readers_for, run_processes
    from surgrec.features.store import claim_store
    from surgrec.features.videos import find_videos

    settings = _settings(options)
    num_readers = readers_for(settings)
    in_one = options.processes == 1
    extractor, origin = settings.build(None if in_one else "cpu", num_readers)
    claim = partial(claim_store, settings.out, settings.file_format, origin, is_shared=shard[1] > 1)
    if settings.out.exists():
        claim()  # what holds something else is refused before the videos are looked for, which may take long
    ledger = options.out.with_name(f"{options.out.name}.videos.parquet")
    found = find_videos(options.videos, ledger, num_workers=options.threads)
    store = claim()  # not before: where there are no videos, nothing is written
    work = plan_work(extractor, store, found.videos, settings.keep_short, shard)
    with progress("extracting windows", work.num_windows) as advance:
        if in_one:
            outcome = run_work(extractor, store, work, advance, num_readers)
        else:
            outcome = run_processes(settings, found.videos, shard, options.processes, advance)
    _report(options, found, outcome, shard)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    import torch

    from surgrec.features.settings import Settings
    from surgrec.hub.load import usable_device

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    usable_device(device)
    return Settings(
        model=options.model,
        out=options.out,
        file_format=options.format,
        device=device,
        layout=options.tokens,
        layers=tuple(options.layers),
        precision=options.precision,
        dtype=options.dtype,
        stride_seconds=options.stride_seconds,
        batch_size=options.batch_size,
        num_threads=options.threads,
        keep_short=options.short == "repeat",
        num_frames=options.frames,
        frame_interval_seconds=options.interval_seconds,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec extract",
        description="Compute features of windows over whole videos. Run it again to continue or to add videos.",
        epilog="example: surgrec extract --model release --videos manifest.parquet --out features --stride-seconds 1",
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        metavar="RELEASE",
        help="folder of `surgrec export`, or its name on Hugging Face; for a baseline timm:NAME, transformers:NAME or FAMILY:FILE",
    )
    add("--videos", type=Path, required=True, metavar="PATH", help="a video, a folder of videos or a manifest.parquet")
    add("--out", type=Path, required=True, metavar="FEATURES", help="folder to write or to continue")
    add("--format", choices=("zarr", "parquet"), default="zarr", help="how features are kept (default zarr)")
    add(
        "--stride-seconds",
        type=float,
        metavar="S",
        help="from one window's start to the next (default: a window's length)",
    )
    add(
        "--tokens",
        choices=("pooled", "time", "all"),
        default="pooled",
        help="pooled: one feature per window, the mean of its tokens (default); time: one per time step, which is as many frames as a "
        "token is deep; all: every token",
    )
    add(
        "--layers",
        nargs="+",
        default=[],
        metavar="NAME",
        help="features of these layers, such as blocks.5 (default: the encoder's output)",
    )
    add("--dtype", choices=("float32", "float16"), default="float32", help="numbers in the files (default float32)")
    add(
        "--precision",
        choices=("float32", "bfloat16", "float16"),
        default="float32",
        help="what the encoder computes in (default float32)",
    )
    add("--batch-size", type=int, default=8, metavar="N", help="windows per forward pass (default 8)")
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: cuda where there is one)")
    add("--processes", type=int, default=1, metavar="N", help="encoders at once, on the GPUs in turn (default 1)")
    add("--shard", default="0/1", metavar="I/N", help="compute part I of N, counted from 0; the parts may run at once")
    add(
        "--short",
        choices=("repeat", "skip"),
        default="repeat",
        help="videos shorter than a window: repeat the last frame (default), or leave them out",
    )
    add(
        "--threads",
        type=int,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="threads that decode (default: cores, at most 4)",
    )
    add("--frames", type=int, metavar="N", help="frames of a window, for a baseline that leaves it open (default 16)")
    add(
        "--interval-seconds",
        type=float,
        metavar="S",
        help="from one of a window's frames to the next, for a baseline (default 0.16, or as the model was trained)",
    )
    return parser


def _report(options: argparse.Namespace, found: Found, outcome: Outcome, shard: tuple[int, int]) -> None:
    """Say what was done; raises `UserError` at the end where a video could not be read."""
    from surgrec.corpus.refusal import refusals_file, tell_refusals

    out, part = options.out, "" if shard[1] == 1 else f" of part {shard[0]} of {shard[1]}"
    tell_refusals(found.refusals, refusals_file(found.ledger) if found.ledger else None, show_paths=False)
    for video_id, count in outcome.damaged.items():
        print(
            f"{video_id}: {counted(count, 'window')} with frames that cannot be read, marked not valid", file=sys.stderr
        )
    if outcome.too_short:
        print(f"{counted(len(outcome.too_short), 'video')} shorter than a window left out", file=sys.stderr)
    if not outcome.added and not outcome.unreadable:
        print(f"nothing is left to do: {out} has the features of {counted(len(outcome.known), 'video')}{part}")
    else:
        print(f"{counted(len(outcome.added), 'video')} added to {out}, {len(outcome.known)} were there{part}")
        if outcome.seconds and options.device != "cuda" and options.processes == 1:
            print(f"  {outcome.encoder_seconds / outcome.seconds:.0%} of the time was the encoder's")
    if found.ledger:
        print(f"  which file is which   {found.ledger} (holds file names: keep it to yourself)")
    elif len(found.videos) == 1:
        print(f"  video_id              {found.videos[0].video_id}")
    reader = f'pandas.read_parquet("{out}")' if options.format == "parquet" else f'zarr.open_group("{out}", mode="r")'
    print(f"  read with             {reader}")
    if outcome.unreadable:
        named = ", ".join(f"{name} ({reason})" for name, reason in list(outcome.unreadable.items())[:_SHOWN])
        more = "" if len(outcome.unreadable) <= _SHOWN else f" and {len(outcome.unreadable) - _SHOWN} more"
        raise UserError(
            f"{counted(len(outcome.unreadable), 'video')} could not be read: {named}{more}; mend that and run the same command again"
        )


if __name__ == "__main__":
    sys.exit(run_command(main))
