"""What is known of the videos of a manifest beyond their files: notes, a report; and taking one out for good.

    python -m surgrec.corpus ledger --manifest corpus.parquet                       # what is noted, source by source
    python -m surgrec.corpus ledger --manifest corpus.parquet --set VIDEO_ID consent=broad
    python -m surgrec.corpus cluster --features features --clusters 1000 100 10 --out clusters.parquet
    python -m surgrec.corpus remove VIDEO_ID --manifest corpus.parquet --reason "consent withdrawn" --runs runs
    python -m surgrec.corpus report --manifest corpus.parquet --out report.html            # all that is known, as a page

In: flags. Out: the ledger beside the manifest, the manifest without what was removed, and the list of checkpoints and releases that had
seen it; or a page for the browser. `surgrec corpus` is a command and `surgrec/corpus/` the stage that it works on, so the command stands
here, each of its verbs in a file.
"""

from __future__ import annotations

import argparse

from surgrec.corpus_command import cluster, ledger, remove, report


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec corpus`; returns the exit status."""
    options = _parser().parse_args(arguments)
    options.command(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec corpus",
        description="Notes on licence, provenance and consent of each video, removing a video for good (docs/ledger.md), and a page "
        "with all that is known of a corpus (docs/corpus_report.md).",
        epilog="example: surgrec corpus remove cholec_0a1b2c3d4e5f --manifest corpus.parquet --reason 'consent withdrawn' --runs runs",
    )
    commands = parser.add_subparsers(required=True, metavar="ledger|remove|report|cluster")
    for verb in (ledger, remove, report, cluster):
        verb.add_verb(commands)
    return parser
