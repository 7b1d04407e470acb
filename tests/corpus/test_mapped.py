"""Laws of large manifests in files: nobody can tell the difference, what changes is noticed, what is interrupted is done again."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from surgrec.config.build import build_reader
from surgrec.config.compose import compose_config
from surgrec.config.footage import build_mixture, cache_of, open_footage, write_footage
from surgrec.config.phases import phases_of
from surgrec.corpus import mapped
from surgrec.corpus.ledger import Tombstone, add_tombstones, ledger_file
from surgrec.corpus.manifest import Manifest, ManifestError
from surgrec.corpus.mapped import MappedManifest, open_manifest
from surgrec.data.sampler import Sampler
from tests.data.test_policies import manifest as made_manifest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    made_manifest().write(tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


def test_it_is_the_same_manifest(written: Path, tmp_path: Path) -> None:
    read, opened = Manifest.read([written]), open_manifest([written], tmp_path / "cache", 1)
    assert isinstance(opened, MappedManifest) and opened.table.equals(read.table)
    assert opened.fingerprint == read.fingerprint and len(opened) == len(read)
    assert [opened.path_of(row) for row in range(len(read))] == [read.path_of(row) for row in range(len(read))]
    assert opened.id_of(3) == read.id_of(3) == read.video_ids[3]
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0, "it names files, as the manifest does"
    assert not isinstance(open_manifest([written], tmp_path / "cache", 1000), MappedManifest)


def test_what_changes_is_noticed(written: Path, tmp_path: Path) -> None:
    first = open_manifest([written], tmp_path / "cache", 1)
    Manifest(first.table.slice(0, 9)).write(written)
    assert len(open_manifest([written], tmp_path / "cache", 1)) == 9 and len(first) == 26
    stone = Tombstone(first.id_of(0), "f" * 64, "chole", "g", "2026-01-01")
    add_tombstones(ledger_file(written), [stone])
    with pytest.raises(ManifestError, match="removed video"):
        open_manifest([written], tmp_path / "cache", 1)


def test_a_large_footage_draws_what_it_would_in_memory(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped.open_manifest, "__defaults__", (1,))
    for options in ([], ["mix=hierarchical"], ["mix.max_passes=1500", "trainer.steps=90", "mix.schedule.alpha=1.0"]):
        config = compose_config(["+variant=mae", f"mix.manifests=[{written}]", f"paths.runs={tmp_path}", *options])
        in_memory = build_mixture(config, Manifest.read([written]))
        _, from_files = open_footage(config)
        assert from_files.draws.folder is not None and from_files.table.sources == in_memory.table.sources
        for name in ("hours", "shares", "num_videos"):
            np.testing.assert_array_equal(getattr(from_files.table, name), getattr(in_memory.table, name))
        sent = pickle.dumps(Sampler(from_files, 0, 2.4))
        assert len(sent) < 1000, "names of files, no arrays"
        positions = np.arange(0, 150_000, 7)
        ours, theirs = pickle.loads(sent).draw(positions), Sampler(in_memory, 0, 2.4).draw(positions)
        for name in ("rows", "source_index", "start_seconds"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert len(list((cache_of(tmp_path)).glob("mixture_*"))) == 3
    before = {file: file.stat().st_mtime_ns for file in (cache_of(tmp_path)).rglob("*.npy")}
    open_footage(config)
    assert before == {file: file.stat().st_mtime_ns for file in (cache_of(tmp_path)).rglob("*.npy")}


@pytest.mark.parametrize(
    "lost", ["manifest.json", "manifest.arrow", "mixture.json", "videos.npy", "chances.npy", "strata.npz"]
)
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_what_is_half_deleted_or_damaged_is_written_anew(
    lost: str, how: str, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped.open_manifest, "__defaults__", (1,))
    config = compose_config(["+variant=mae", f"mix.manifests=[{written}]", f"paths.runs={tmp_path}"])
    write_footage(config)
    (file,) = cache_of(tmp_path).glob(f"*/{lost}")
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:20])
    manifest, mixture = open_footage(config)
    assert manifest.table.equals(Manifest.read([written]).table)
    in_memory = build_mixture(config, Manifest.read([written]))
    drawn = [Sampler(one, 0, 2.4).draw(np.arange(1000)).rows for one in (mixture, in_memory)]
    np.testing.assert_array_equal(*drawn)
    assert not list(cache_of(tmp_path).glob(".*"))


def test_the_first_process_writes_all_that_the_others_map(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped.open_manifest, "__defaults__", (1,))
    phases = "trainer.phases=[{steps: 10, num_frames: 64, lr_end: 0.0}]"
    config = compose_config(["+variant=mae", f"mix.manifests=[{written}]", f"paths.runs={tmp_path}", phases])
    write_footage(config)
    before = sorted(cache_of(tmp_path).rglob("*"))
    assert sum(file.name.startswith("windows_") for file in before) == 2
    manifest, mixture = open_footage(config)
    for phase in phases_of(config):
        build_reader(phase.config, manifest, mixture)
    assert sorted(cache_of(tmp_path).rglob("*")) == before


def test_files_of_manifests_as_they_were_are_removed_when_nobody_has_opened_them_for_long(
    written: Path, tmp_path: Path
) -> None:
    first = open_manifest([written], tmp_path / "cache", 1)
    Manifest(first.table.slice(0, 9)).write(written)
    open_manifest([written], tmp_path / "cache", 1)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    os.utime(tmp_path / "cache" / first.name, (0, 0))
    Manifest(first.table.slice(0, 8)).write(written)
    open_manifest([written], tmp_path / "cache", 1)
    assert len(list((tmp_path / "cache").iterdir())) == 2 and not (tmp_path / "cache" / first.name).exists()


def test_the_folder_is_made_private_where_it_is_not(written: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    open_manifest([written], tmp_path / "cache", 1)
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from surgrec.corpus import mapped
from surgrec.config.compose import compose_config
from surgrec.config.footage import open_footage
from surgrec.core import atomic
mapped.open_manifest.__defaults__ = (1,)
where, manifest, runs = sys.argv[1:]
publish = atomic.publish
def fatal(partial, folder):
    if folder.name.startswith(where):
        os.kill(os.getpid(), signal.SIGKILL)
    publish(partial, folder)
atomic.publish = fatal
open_footage(compose_config(["+variant=mae", f"mix.manifests=[{manifest}]", f"paths.runs={runs}"]))
"""


def test_what_is_killed_while_it_writes_is_written_by_the_next(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", KILLED, "mixture", str(written), str(tmp_path)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    names = [path.name for path in (cache_of(tmp_path)).iterdir()]
    assert any(name.startswith("manifest_") for name in names) and not any(
        name.startswith("mixture_") for name in names
    )
    monkeypatch.setattr(mapped.open_manifest, "__defaults__", (1,))
    config = compose_config(["+variant=mae", f"mix.manifests=[{written}]", f"paths.runs={tmp_path}"])
    assert open_footage(config)[1].table.sources == tuple(sorted({str(name) for name in made_manifest().sources}))
