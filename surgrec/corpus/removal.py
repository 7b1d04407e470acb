"""Taking videos out of manifests, for good.

In: manifests and the ids of videos, or of what they belong to. Out: tombstones in the ledgers and manifests without those videos. It is
its own file because order matters: the tombstones are on disk before a manifest is touched, so that wherever this is killed, no manifest
that still lists such a video is read for training, and the same command finishes the work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from surgrec.core.atomic import remove_leftovers
from surgrec.core.lock import only_writer
from surgrec.corpus.ledger import Ledger, LedgerError, Tombstone, add_tombstones, ledger_file, today
from surgrec.corpus.manifest import Manifest
from surgrec.corpus.surveys import default_surveys

_HASHES = ("sha256", "original_sha256")


@dataclass(frozen=True)
class Removal:
    """What a removal did.

    `video_ids`: all that it concerns, those removed earlier too, and the SHA-256 `hashes` of their bytes. `num_new` of them had no
    tombstone yet. `taken_out`: rows taken out of each manifest. `ledgers`: where the tombstones are. `other_groups`: groups, not removed,
    that had a removed video's bytes as well. `files`: what was made of the removed videos and still holds pictures of them: training
    copies with their records, surveys and fingerprints.
    """

    video_ids: tuple[str, ...]
    hashes: tuple[str, ...]
    num_new: int
    taken_out: dict[Path, int]
    ledgers: tuple[Path, ...]
    other_groups: tuple[str, ...]
    files: tuple[Path, ...] = ()


def remove(
    manifests: Sequence[Path],
    names: Sequence[str] = (),
    is_whole_group: bool = False,
    reason: str = "",
    ledger: Path | None = None,
) -> Removal:
    """Leave tombstones of the videos `names` and take them out of `manifests`; without names, only what ledgers removed before.

    `is_whole_group`: remove all videos of the patients or cases that these belong to, and keep out whatever is found of them later; names
    may then be group ids, too. `ledger`: where the tombstones go (default: beside each manifest). Raises `LedgerError` for a name that no
    manifest lists and no ledger knows, before anything is changed.
    """
    if missing := [str(path) for path in manifests if not path.is_file()]:
        raise LedgerError(
            f"there is no manifest at {', '.join(missing)}; name videos before --manifest, and manifests after it"
        )
    with ExitStack() as locks:
        for path in sorted({path.resolve() for path in (*manifests, *([ledger] if ledger else []))}):
            locks.enter_context(only_writer(path))
        tables = {path: Manifest.read([path], as_is=True).table for path in manifests}
        known = [ledger] if ledger is not None and ledger.is_file() else []
        before = Ledger.read([*known, *(file for path in manifests for file in Ledger.files_of(path))])
        stones = _stones(list(tables.values()), before, names, is_whole_group, reason)
        files = [ledger] if ledger is not None else [ledger_file(path) for path in manifests]
        num_new = len({stone.video_id for stone in stones} - before.tombstones.keys())
        for file in files:
            add_tombstones(file, _missing_in(file, stones))
        after = Ledger.read([*files, *(file for path in manifests for file in Ledger.files_of(path))])
        files_left = _files_left(tables, after)
        taken_out = {path: _take_out(path, table, after) for path, table in tables.items()}
    groups = {stone.group_id for stone in stones if not stone.is_whole_group} if is_whole_group else set()
    hashes = tuple(sorted({stone.sha256 for stone in stones}))
    return Removal(
        tuple(sorted({stone.video_id for stone in stones})),
        hashes,
        num_new,
        taken_out,
        tuple(files),
        tuple(sorted(groups)),
        files_left,
    )


def _stones(
    tables: list[pa.Table], before: Ledger, names: Sequence[str], is_whole_group: bool, reason: str
) -> list[Tombstone]:
    """The tombstones of `names`; those that stand already are as they are, unless their whole group goes now."""
    table = pa.concat_tables(tables)
    wanted, groups = set(names), set[str]()
    _refuse_unknown(table, before, wanted, is_whole_group)
    if is_whole_group:
        is_named = _is_in(table, "video_id", wanted) | _is_in(table, "group_id", wanted)
        groups = set(table.filter(is_named)["group_id"].to_pylist())
        groups |= {stone.group_id for stone in before.stones.values() if {stone.video_id, stone.group_id} & wanted}
    named = table.filter(_is_in(table, "video_id", wanted) | _is_in(table, "group_id", groups))
    hashes = {sha256 for column in _HASHES for sha256 in named[column].to_pylist() if sha256 is not None}
    same_bytes = _is_in(table, "sha256", hashes) | _is_in(table, "original_sha256", hashes)
    rows = table.filter(same_bytes | _is_in(table, "video_id", set(named["video_id"].to_pylist())))
    found = {key: stone for key, stone in before.stones.items() if key[0] in wanted or stone.group_id in groups}
    date = today()
    for row in rows.select(["video_id", *_HASHES, "source", "group_id"]).to_pylist():
        for sha256 in filter(None, (row["sha256"], row["original_sha256"])):
            stone = Tombstone(row["video_id"], sha256, row["source"], row["group_id"], date, reason)
            found.setdefault(stone.key, stone)
    return [replace(stone, is_whole_group=stone.is_whole_group or stone.group_id in groups) for stone in found.values()]


def _is_in(table: pa.Table, column: str, values: set[str]) -> Any:
    return pc.is_in(table[column], pa.array(sorted(values), pa.string())).to_numpy()


def _refuse_unknown(table: pa.Table, before: Ledger, wanted: set[str], is_whole_group: bool) -> None:
    known = set(table["video_id"].to_pylist()) | before.tombstones.keys()
    groups = set(table["group_id"].to_pylist()) | {stone.group_id for stone in before.stones.values()}
    if unknown := sorted(wanted - known - (groups if is_whole_group else set())):
        hint = "; to remove a group by its id, add --group" if set(unknown) & groups else ""
        raise LedgerError(f"no manifest lists {', '.join(unknown)}, and no ledger knows it; nothing was removed{hint}")


def _missing_in(file: Path, stones: list[Tombstone]) -> list[Tombstone]:
    there = Ledger.read([file]).stones if file.is_file() else {}
    return [stone for stone in stones if there.get(stone.key) != stone]


def _files_left(tables: Mapping[Path, pa.Table], ledger: Ledger) -> tuple[Path, ...]:
    """What lies about of the rows that go and of those that went before; named by ids, so it may be printed."""
    files: set[Path] = set()
    for path, table in tables.items():
        names = {*table.filter(ledger.is_removed(table))["video_id"].to_pylist(), *ledger.tombstones}
        roots = set(table.filter(table["original_sha256"].is_valid())["root"].to_pylist())
        files |= {file for folder in {path.parent, *map(Path, roots)} for file in copies_of(folder, names)}
        surveys = default_surveys(path)
        shown = {
            file for name in names for file in (*surveys.glob(f"{name}.npz"), *surveys.glob(f".{name}.*.partial.npz"))
        }
        # of all videos together; made anew from the rest
        files |= shown | (set(surveys.glob("fingerprints_*")) if shown else set())
    return tuple(sorted(files))


def copies_of(folder: Path, names: Iterable[str]) -> list[Path]:
    """The training copies of `names` and their records in a folder of `surgrec prepare`, partial ones too; none in any other folder."""
    wanted = set(names)
    kinds = ("videos/*/*", "records/*/*") if (folder / "prepared.json").is_file() else ()
    return sorted(file for kind in kinds for file in folder.glob(kind) if _id_of(file) in wanted)


def _id_of(file: Path) -> str:
    """`a_0` of `a_0.mp4`, and of `.a_0.4711.partial.mp4`."""
    partial = re.fullmatch(r"\.(.+)\.\d+\.partial", file.stem)
    return partial[1] if partial else file.stem


def _take_out(path: Path, table: pa.Table, ledger: Ledger) -> int:
    """Write the manifest without what was removed; returns how many rows went."""
    remove_leftovers(path)
    kept = ledger.without_removed(table)
    if len(kept) < len(table):
        Manifest(kept.combine_chunks()).write(path)
    return len(table) - len(kept)
