"""Which files an encoder of a benchmark was pretrained on.

In: a run folder or a release. Out: digests of files, and whether those are all. It is its own file because "none of the test videos" may
only be said by who knows of every file: also of those that a manifest lists no more, and of what starting weights had seen before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from surgrec.config.compose import read_config
from surgrec.config.released import seen_before
from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.running.entrant import Seen, content_of
from surgrec.hub.address import Kind, parse_address
from surgrec.hub.fetch import fetch
from surgrec.training.folder import RunFolder
from surgrec.training.footage import footage_of, read_footage


def seen_by_run(run: Path) -> Seen:
    """Of all footage that the run could draw from, of what training copies were made of, and of the release that it began with."""
    folder = RunFolder(run)
    try:
        config = read_config(run / "config.yaml")
        manifests = [read_footage(folder, stretch) for stretch in footage_of(folder)]
    except UserError:
        return Seen()
    with suppress(UserError):  # the record of a run has no SHA-256 of what a copy was made of
        manifests.append(Manifest.read([Path(path) for path in config.mix.manifests]))
    if not manifests:
        return Seen()
    before, is_whole = seen_before(config.init)
    files = frozenset[str]().union(*map(_digests, manifests), (content_of(one.video_id) for one in before))
    return Seen(files, is_whole)


def seen_by_release(model: str) -> Seen:
    """What a release lists, wherever it is; it is fetched where it was not, or has no pin. Nothing is known of one that cannot be had."""
    try:
        address = parse_address(model)
        if address.kind is not Kind.folder:
            with warnings.catch_warnings(action="ignore"):  # whoever loaded the model was told that nothing pins it
                model = str(fetch(address))
    except (UserError, OSError):  # also where another command is fetching it, or the disk is full
        return Seen()
    found, is_whole = seen_before(f"surgrec:{model}")
    return Seen(frozenset(content_of(one.video_id) for one in found), is_whole) if found else Seen()


def _digests(manifest: Manifest) -> Iterable[str]:
    table = manifest.table
    for column in ("sha256", "original_sha256"):
        if column in table.column_names:
            yield from filter(None, table[column].to_pylist())
    yield from map(content_of, table["video_id"].to_pylist())
