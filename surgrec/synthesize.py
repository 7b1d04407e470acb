"""Write the embedded corpus: procedurally rendered surgery in four domains, as real video files with labels.

    python -m surgrec.synthesize --out corpus                       # half a minute on two cores
    python -m surgrec.synthesize --out big --scale large --workers 16

In: flags. Out: a corpus folder with a manifest. The same command continues an interrupted run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from surgrec.core.console import run_command
from surgrec.core.wording import counted


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec synthesize`; returns the exit status."""
    options = _parser().parse_args(arguments)

    from surgrec.corpus.manifest import Manifest
    from surgrec.synthetic.corpus import is_finished, synthesize
    from surgrec.synthetic.plan import make_plan

    is_there = (options.out / "corpus.json").is_file() and is_finished(
        options.out, make_plan(options.scale, options.seed)
    )
    path = synthesize(options.out, options.scale, options.seed, options.workers)
    if is_there:
        print(f"nothing is left to do: {path} is complete")
        return 0
    manifest = Manifest.read([path])
    minutes = float(manifest.column("duration_seconds").sum()) / 60
    print(
        f"{counted(len(manifest), 'video')} of {counted(len(set(manifest.sources)), 'source')}, {minutes:.1f} minutes\n"
        f"  manifest  {path}\n"
        f"  labels    {options.out / 'labels'}\n"
        f"next:\n"
        f"  surgrec train +variant=jepa +experiment=quickstart mix.manifests=[{path}]"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec synthesize",
        description="Write procedurally rendered surgery as real video files, with cards, per-frame labels and a manifest.",
        epilog="example: surgrec synthesize --out corpus --scale quickstart --seed 0",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; run again to continue")
    parser.add_argument(
        "--scale",
        default="quickstart",
        metavar="{quickstart,small,large}",
        help="about 17 minutes in 86 videos, 1.5 hours, or 10 hours in thousands of videos (default quickstart)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed is another corpus (default 0)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="rendering processes (default: all cores)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
