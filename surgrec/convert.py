"""Make of a release what other libraries read: a folder of transformers, or an ONNX file.

    python -m surgrec.convert --model release --to transformers --out release-transformers
    python -m surgrec.convert --model release --to onnx --out release-onnx --pixels 384 --positions interpolate

In: a release. Out: a folder that does not need surgrec, checked against the release before it gets its name.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from surgrec.core.console import run_command

FORMS = ("transformers", "onnx")


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec convert`; returns the exit status."""
    options = _parser().parse_args(arguments)

    from surgrec.hub.converted import read_source, write_converted

    if options.to == "onnx":
        from surgrec.hub.onnx_file import ONNX as kind
    else:
        from surgrec.hub.transformers_folder import TRANSFORMERS as kind

    source = read_source(
        options.model,
        revision=options.revision,
        num_frames=options.frames,
        pixels=options.pixels,
        positions=options.positions,
    )
    if source.positions:
        print(source.positions)
    if not write_converted(kind, source, options.out):
        print(f"nothing is left to do: {options.out} is this release for {options.to}")
        return 0
    print(
        f"{options.out}: {kind.name}, features equal those of the release\n  card      {options.out / 'README.md'} says how to use it"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec convert",
        description="Write a release in the form of another library, with equal features, to a folder that does not need surgrec.",
        epilog="example: surgrec convert --model release --to transformers --out release-transformers",
    )
    add = parser.add_argument
    add("--model", required=True, metavar="RELEASE", help="folder of `surgrec export`, or its name on Hugging Face")
    add(
        "--to",
        required=True,
        choices=FORMS,
        help="transformers: AutoModel and AutoVideoProcessor; onnx: the encoder alone",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add("--revision", metavar="REV", help="branch, tag or commit on Hugging Face")
    add("--frames", type=int, metavar="N", help="frames of a clip (default: as in training)")
    add("--pixels", type=int, metavar="S", help="rows and columns of a frame (default: as in training)")
    add(
        "--positions",
        choices=("interpolate", "own"),
        help="for another clip: resample the positions of training, or compute them for the new grid",
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
