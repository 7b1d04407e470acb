"""Frozen features of videos over time, with the encoder of a release.

    python -m surgrec.extract --model release --videos operation.mp4 --out features
    python -m surgrec.extract --model release --videos manifest.parquet --out features --format parquet --stride-seconds 1

In: a release and videos. Out: a folder of features that NumPy or pandas read. The same command continues an interrupted
extraction, and adds what is new.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.core.wording import counted

if TYPE_CHECKING:
    from surgrec.features.extraction import Outcome
    from surgrec.features.videos import Found

_SHOWN = 10


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec extract`; returns the exit status."""
    options = _parser().parse_args(arguments)
    if not options.videos.exists():
        raise UserError(
            f"there is nothing at {options.videos}; give --videos a video, a folder of videos or a manifest"
        )

    import torch

    from surgrec.features.extraction import extract_videos, origin_of
    from surgrec.features.extractor import Extractor
    from surgrec.features.store import claim_store
    from surgrec.features.videos import find_videos
    from surgrec.hub.load import load_release

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = load_release(options.model, device)
    extractor = Extractor(
        model.encoder,
        model.preprocess,
        stride_seconds=options.stride_seconds,
        layout=options.tokens,
        batch_size=options.batch_size,
        num_threads=options.threads,
    )
    store = claim_store(options.out, options.format, origin_of(extractor, model.sha256, options.dtype))
    ledger = options.out.with_name(f"{options.out.name}.videos.parquet")
    found = find_videos(options.videos, ledger, num_workers=options.threads)
    outcome = extract_videos(extractor, store, found.videos, keep_short=options.short == "repeat")
    _report(options.out, options.format, found, outcome)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec extract",
        description="Compute features of windows over whole videos. Run it again to continue or to add videos.",
        epilog="example: surgrec extract --model release --videos manifest.parquet --out features --stride-seconds 1",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="RELEASE", help="folder of `surgrec export`, or its name on Hugging Face")
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
        help="pooled: one feature per window, the mean of its tokens (default); time: one per time step; all: every token",
    )
    add("--dtype", choices=("float32", "float16"), default="float32", help="numbers in the files (default float32)")
    add("--batch-size", type=int, default=8, metavar="N", help="windows per forward pass (default 8)")
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: cuda where there is one)")
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
    return parser


def _report(out: Path, file_format: str, found: Found, outcome: Outcome) -> None:
    """Say what was done; raises `UserError` at the end where a video could not be read."""
    from surgrec.corpus.refusal import refusals_file, tell_refusals

    tell_refusals(found.refusals, refusals_file(found.ledger) if found.ledger else None, show_paths=False)
    for video_id, count in outcome.damaged.items():
        print(
            f"{video_id}: {counted(count, 'window')} with frames that cannot be read, marked not valid", file=sys.stderr
        )
    if outcome.too_short:
        print(f"{counted(len(outcome.too_short), 'video')} shorter than a window left out", file=sys.stderr)
    if not outcome.added and not outcome.unreadable:
        print(f"nothing is left to do: {out} has the features of {counted(len(outcome.known), 'video')}")
    else:
        print(f"{counted(len(outcome.added), 'video')} added to {out}, {len(outcome.known)} were there")
    if found.ledger:
        print(f"  which file is which   {found.ledger} (holds file names: keep it to yourself)")
    elif len(found.videos) == 1:
        print(f"  video_id              {found.videos[0].video_id}")
    reader = f'pandas.read_parquet("{out}")' if file_format == "parquet" else f'zarr.open_group("{out}", mode="r")'
    print(f"  read with             {reader}")
    if outcome.unreadable:
        named = ", ".join(f"{name} ({reason})" for name, reason in list(outcome.unreadable.items())[:_SHOWN])
        more = "" if len(outcome.unreadable) <= _SHOWN else f" and {len(outcome.unreadable) - _SHOWN} more"
        raise UserError(
            f"{counted(len(outcome.unreadable), 'video')} could not be read: {named}{more}; mend that and run the same command again"
        )


if __name__ == "__main__":
    sys.exit(run_command(main))
