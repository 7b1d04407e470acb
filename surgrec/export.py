"""Make a release of a run: what others need to use its encoder, and nothing else of the run.

    python -m surgrec.export --run runs/jepa --out jepa-release

In: a run folder. Out: a release folder. Where exactly this release is there already, nothing is done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import run_command

if TYPE_CHECKING:
    from surgrec.config.build import LoadedRun
    from surgrec.hub.release import Release
    from surgrec.training.folder import RunFolder


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec export`; returns the exit status."""
    options = _parser().parse_args(arguments)

    from surgrec.config.build import load_run
    from surgrec.config.seen import note_release
    from surgrec.hub.folder import checksum_of
    from surgrec.hub.release import write_release
    from surgrec.training.folder import RunFolder

    run = RunFolder(options.run)
    release = release_of(load_run(options.run, options.step), options.license, run, options.results)
    is_new = write_release(release, options.out)
    try:
        note_release(run, release.step, options.out)
    except PermissionError:
        print(
            f"warning: {run.releases_file} cannot be written, so this run does not know of this release",
            file=sys.stderr,
        )
    if not is_new:
        print(f"nothing is left to do: {options.out} is the release of step {release.step}")
        return 0
    print(
        f"{options.out}: {release.variant}, step {release.step}\n"
        f"  card      {options.out / 'README.md'} (fill in what is unknown before you share it)\n"
        f"  checksum  {checksum_of(options.out)}\n"
        f"next:\n"
        f"  surgrec extract --model {options.out} --videos YOUR_VIDEOS --out features\n"
        f"  surgrec publish {options.out} --repo ORGANISATION/NAME"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec export",
        description="Write a run's encoder with its configuration, preprocessing, model card and checksums to a folder to share.",
        epilog="example: surgrec export --run runs/jepa --out jepa-release --step 300",
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="RUN_DIR", help="run folder that `surgrec train` wrote")
    add("--out", type=Path, required=True, metavar="RELEASE_DIR", help="folder to write")
    add("--step", type=int, metavar="N", help="checkpoint to release (default: the newest)")
    add(
        "--results",
        type=Path,
        metavar="JSON",
        help="results for the card: see docs/releases.md (default: the run's own probe)",
    )
    add("--license", default="unknown", metavar="ID", help="of the weights, for the card (default: unknown)")
    return parser


def release_of(run: LoadedRun, licence: str, folder: RunFolder, results: Path | None = None) -> Release:
    """What is released of a run, which was read from `folder`; with the `results` in a file beside those of its probe."""
    from surgrec.config.released import ReleasedFootage, results_of_probe
    from surgrec.hub.card_results import read_results
    from surgrec.hub.head import head_of
    from surgrec.hub.preprocess import ClipPreprocess
    from surgrec.hub.release import Release

    step, table = run.progress.step, run.table  # first, to say whose manifest is not there
    footage, given = ReleasedFootage(folder, run.config, step), read_results(results) if results else ()
    footage.refuse_names(given)
    return Release(
        encoder=run.objective.released_encoder,
        head=head_of(run.objective),
        preprocess=ClipPreprocess(run.clip.num_frames, run.clip.frame_interval_seconds, run.preprocess),
        variant=run.config.variant,
        objective=type(run.objective).__name__.lower(),
        step=step,
        sources=footage.sources(table, run.progress.sources),
        distance=footage.distance(run.distance),
        licence=licence,
        footage=footage.footage(),
        results=(*results_of_probe(folder, step), *given),
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
