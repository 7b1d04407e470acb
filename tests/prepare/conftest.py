"""A small corpus, what `surgrec prepare` makes of it when nothing interrupts, and how a folder of copies is compared."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest

from surgrec import prepare
from surgrec.corpus import copies
from surgrec.corpus.card import Card
from surgrec.corpus.ledger import ledger_file
from surgrec.corpus.manifest import SCHEMA, Manifest
from surgrec.corpus.scan import scan
from surgrec.video.transcode import CopySpec
from tests.video.make_videos import Coded, write

PATIENT = "Jane_Doe"


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 2, 1.6 and 1.2 seconds in two sources and a manifest of them."""
    root = tmp_path_factory.mktemp("corpus")
    for number, name in enumerate((f"a/{PATIENT}_1.mp4", f"a/{PATIENT}_2.mkv", f"b/{PATIENT}_3.avi")):
        (root / name).parent.mkdir(exist_ok=True)
        frames = range(100 * number, 100 * number + 50 - 10 * number)
        write(root, Coded(name, times=[Fraction(i, 25) for i in range(len(frames))], shown=frames))
    tables = [scan(root / name, Card(name, "other", licence="CC-BY-4.0"), num_workers=0).rows for name in "ab"]
    Manifest(pa.concat_tables(tables)).write(root / "manifest.parquet")
    return root


@pytest.fixture
def corpus(written: Path, tmp_path: Path) -> Path:
    """A copy for one test; returns the manifest."""
    folder = Path(shutil.copytree(written, tmp_path / "corpus"))
    change(folder / "manifest.parquet", lambda row: row.update(root=str(folder / row["source"])))
    return folder / "manifest.parquet"


@pytest.fixture(scope="session")
def expected(written: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an uninterrupted run leaves."""
    out = tmp_path_factory.mktemp("expected") / "prepared"
    assert run(written / "manifest.parquet", out) == 0
    return contents(out)


def change(path: Path, edit: Callable[[dict], object]) -> None:
    """Apply `edit` to every row of a manifest."""
    rows = Manifest.read([path]).table.to_pylist()
    for row in rows:
        edit(row)
    Manifest(pa.Table.from_pylist(rows, schema=SCHEMA)).write(path)


def run(manifest: Path, out: Path, *options: str) -> int:
    return prepare.main(["--manifest", str(manifest), "--out", str(out), "--workers", "0", *options])


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below `folder`, with the folder's own place taken out of the manifest. Hidden files of the folder
    itself are locks, and what a killed process left there until a later run finds it old; the ledger says where the originals lie."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if (
            path.is_dir()
            or (path.parent == folder and path.name.startswith("."))
            or path == ledger_file(folder / "manifest.parquet")
        ):
            continue
        if path.name == "manifest.parquet":
            rows = [{**row, "root": None} for row in Manifest.read([path]).table.to_pylist()]
            found[path.name] = json.dumps(rows, sort_keys=True)
        else:
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def quarantine(out: Path) -> dict[str, str]:
    lines = (out / "quarantine.jsonl").read_text().splitlines()
    return {entry["video_id"]: entry["reason"] for entry in map(json.loads, lines)}


def jobs_of(manifest: Path, out: Path) -> list[copies.Job]:
    return copies.look(Manifest.read([manifest]), out, CopySpec()).jobs
