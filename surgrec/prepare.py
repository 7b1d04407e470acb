"""Make training copies: small, constant-rate, cheap to decode from anywhere, with nothing in them but pictures.

    python -m surgrec.prepare --manifest manifest.parquet --out prepared
    python -m surgrec.prepare --manifest manifest.parquet --out prepared --shard 3/16      # one of 16 jobs of a cluster

In: a manifest and flags. Out: a folder of copies with a manifest of their own. The same command continues after Ctrl-C, a crash
or a power cut; docs/prepare.md says how the defaults were chosen.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from surgrec.core.console import STATUS_INTERRUPTED, STATUS_OK, progress, run_command
from surgrec.core.errors import UserError
from surgrec.core.shard import read_shard
from surgrec.core.wording import counted

if TYPE_CHECKING:
    from surgrec.corpus.copies import Job, Row, State
    from surgrec.corpus.manifest import Manifest
    from surgrec.video.transcode import CopySpec

_SHOWN_REFUSALS = 20


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `surgrec prepare`; returns the exit status."""
    options = _parser().parse_args(arguments)

    from surgrec.corpus.copies import claim, look, only_process, write_quarantine
    from surgrec.corpus.ledger import follow
    from surgrec.corpus.manifest import Manifest

    spec, shard, folder = _spec(options), read_shard(options.shard), options.out
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give --out the name of a folder")
    with only_process(folder, shard):
        claim(folder, spec)
        follow(folder / "manifest.parquet", options.manifest)
        manifest = _still_there(Manifest.read(options.manifest), folder)
        todo = look(manifest, folder, spec, shard, options.retry)
        made, is_complete = _make(todo, options.workers)
        records = look(manifest, folder, spec).records  # of all shards, as they are now
        write_quarantine(folder, records)
        _say_what_was_done(made, records, folder)
        if not is_complete:
            print("interrupted; run the same command again to continue", file=sys.stderr)
            return STATUS_INTERRUPTED
        return _finish(_still_there(manifest, folder), options.manifest, folder, records, is_new=bool(made))


def _still_there(manifest: Manifest, folder: Path) -> Manifest:
    """The rows that no ledger has removed, of the originals or of the copies: a removal may come while copies are made."""
    from surgrec.corpus.ledger import Ledger
    from surgrec.corpus.manifest import Manifest

    kept = Ledger.of_manifest(folder / "manifest.parquet").without_removed(manifest.table).combine_chunks()
    if num_removed := len(manifest) - len(kept):
        print(f"left out because they were removed: {counted(num_removed, 'video')}", file=sys.stderr)
    if len(kept) == 0:
        raise UserError(f"all videos of the manifest were removed; nothing is left to prepare in {folder}")
    return Manifest(kept)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="surgrec prepare",
        description="Make training copies of every video of a manifest. Run it again to continue.",
        epilog="example: surgrec prepare --manifest manifest.parquet --out prepared --short-side 288",
    )
    add = parser.add_argument
    add("--manifest", type=Path, required=True, nargs="+", metavar="M", help="what to copy; one or more manifests")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the copies and of their manifest.parquet")
    add("--format", default="video", help="video: H.264 in mp4 (default); frames: JPEGs in one file a video")
    add(
        "--fps", default="source", metavar="F", help="frames a second, never more than the source has (default: source)"
    )
    add("--short-side", type=int, default=288, metavar="P", help="pixels, never enlarged (default: %(default)s)")
    add("--group", type=int, default=32, metavar="N", help="frames from keyframe to keyframe (default: %(default)s)")
    add(
        "--skippable",
        type=int,
        default=3,
        metavar="N",
        help="of these between two others that a reader may pass over without decoding them (default: %(default)s)",
    )
    add("--crf", type=int, default=23, metavar="Q", help="x264's quality, lower is better (default: %(default)s)")
    add("--jpeg-quality", type=int, default=85, metavar="Q", help="of --format frames, 1 to 95 (default: %(default)s)")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes, one video each (default: all cores of this job); with 0 nothing guards against a bad file",
    )
    add("--shard", default="0/1", metavar="I/N", help="make part I of N, counted from 0; the parts may run at once")
    add("--retry", action="store_true", help="try again what was refused before")
    return parser


def _spec(options: argparse.Namespace) -> CopySpec:
    from surgrec.video.transcode import CopySpec

    try:
        fps = 0.0 if options.fps == "source" else float(options.fps)
    except ValueError:
        raise UserError(f"--fps is {options.fps!r}; give a number, or source for the rate of each video") from None
    video = options.group, options.skippable, options.crf
    return CopySpec(options.format, fps, options.short_side, *video, options.jpeg_quality)


def _make(todo: State, num_workers: int | None) -> tuple[dict[str, Row], bool]:
    """Make the copies that are left: their records, and False where Ctrl-C ended it early."""
    from surgrec.corpus.copies import make_copies, num_workers_of_this_process

    workers = num_workers_of_this_process() if num_workers is None else num_workers
    made: dict[str, Row] = {}
    try:
        with progress("preparing, seconds of video", sum(_seconds(job) for job in todo.jobs)) as advance:
            for job, record in make_copies(todo.jobs, workers):
                made[job.row["video_id"]] = record
                advance(_seconds(job), f"{len(made)} of {counted(len(todo.jobs), 'video')}")
    except KeyboardInterrupt:
        return made, False
    return made, True


def _seconds(job: Job) -> int:
    return max(1, round(job.row["duration_seconds"]))


def _finish(manifest: Manifest, read: list[Path], folder: Path, records: dict[str, Row], is_new: bool) -> int:
    """Write the manifest where every video has been tried."""
    from surgrec.corpus.copies import prepared_manifest
    from surgrec.corpus.verdict import carry

    _tell_files_of_removed(folder)
    if num_left := len(set(manifest.video_ids.tolist()) - records.keys()):
        print(
            f"left to other shards: {num_left} of {counted(len(manifest), 'video')}; the last to finish writes the manifest"
        )
        return STATUS_OK
    prepared = prepared_manifest(manifest, folder, records)
    if len(prepared) == 0:
        raise UserError(
            f"none of {counted(len(manifest), 'video')} can be prepared; {folder / 'quarantine.jsonl'} says why"
        )
    _write_manifest(prepared, folder / "manifest.parquet", is_new)
    carry(read, folder / "manifest.parquet")
    return STATUS_OK


def _tell_files_of_removed(folder: Path) -> None:
    """Name the copies of removed videos: this command deletes nothing that it did not make just now."""
    from surgrec.corpus.ledger import Ledger
    from surgrec.corpus.removal import copies_of

    if files := copies_of(folder, Ledger.of_manifest(folder / "manifest.parquet").tombstones):
        print("these hold videos that were removed; delete them:", *files, sep="\n  ", file=sys.stderr)


def _write_manifest(prepared: Manifest, path: Path, is_new: bool) -> None:
    from surgrec.corpus.manifest import Manifest

    if path.is_file() and Manifest.read([path], as_is=True).table.equals(prepared.table):
        print(f"{path} is up to date" if is_new else f"nothing is left to do: {path} is up to date")
    else:
        prepared.write(path)
        hours = sum(prepared.column("duration_seconds")) / 3600
        num_bytes = sum(prepared.column("size_bytes"))
        print(f"{path}: {counted(len(prepared), 'video')}, {hours:.2f} hours, {num_bytes / 1e6:,.1f} MB")
    print(f"next:\n  surgrec preview +variant=jepa mix.manifests=[{path}]")


def _say_what_was_done(made: dict[str, Row], records: dict[str, Row], folder: Path) -> None:
    refused = {name: record["refused"] for name, record in sorted(made.items()) if "refused" in record}
    for name, why in list(refused.items())[:_SHOWN_REFUSALS]:
        print(f"refused {name}: {why['reason']} ({why['detail']})", file=sys.stderr)
    if len(refused) > _SHOWN_REFUSALS:
        print(f"... and {len(refused) - _SHOWN_REFUSALS} more, all in {folder / 'quarantine.jsonl'}", file=sys.stderr)
    num_refused = sum("refused" in record for record in records.values())
    print(
        f"{len(made) - len(refused)} prepared now, {len(records) - num_refused} in all, "
        f"{num_refused} refused" + (f" (see {folder / 'quarantine.jsonl'})" if num_refused else "")
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
