"""Which files an encoder of a benchmark was pretrained on.

In: a run folder or a release. Out: digests of files, and whether those are all. It is its own file because "none of the test videos" may
only be said by who knows of every file: also of those that a manifest lists no more, and of what starting weights had seen before.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from surgrec.config.compose import read_config
from surgrec.config.released import seen_before
from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.running.entrant import content_of
from surgrec.training.folder import RunFolder
from surgrec.training.footage import footage_of, read_footage

Seen = tuple[frozenset[str] | None, bool]  # as in `Entrant`: None where nothing is known; whether it is all


def seen_by_run(run: Path) -> Seen:
    """Of all footage that the run could draw from, of what training copies were made of, and of the release that it began with."""
    folder = RunFolder(run)
    try:
        config = read_config(run / "config.yaml")
        manifests = [read_footage(folder, stretch) for stretch in footage_of(folder)]
    except UserError:
        return None, False
    with suppress(UserError):  # the record of a run has no SHA-256 of what a copy was made of
        manifests.append(Manifest.read([Path(path) for path in config.mix.manifests]))
    if not manifests:
        return None, False
    before, is_whole = seen_before(config.init)
    return frozenset().union(*map(_digests, manifests), (content_of(one.video_id) for one in before)), is_whole


def seen_by_release(model: str) -> Seen:
    """What a release in a folder lists. Of one that is still to be fetched nothing is known."""
    found, is_whole = seen_before(f"surgrec:{model}")
    return (frozenset(content_of(one.video_id) for one in found), is_whole) if found else (None, False)


def _digests(manifest: Manifest) -> Iterable[str]:
    table = manifest.table
    for column in ("sha256", "original_sha256"):
        if column in table.column_names:
            yield from filter(None, table[column].to_pylist())
    yield from map(content_of, table["video_id"].to_pylist())
