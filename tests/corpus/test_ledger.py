"""The ledger: what is noted holds, what was removed stays out, and nothing of it is lost in silence."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from surgrec.core.console import run_command
from surgrec.core.errors import UserError
from surgrec.corpus import removal as removal_module
from surgrec.corpus.ledger import (
    EVERYWHERE,
    Gate,
    Ledger,
    LedgerError,
    Tombstone,
    add_notes,
    add_tombstones,
    follow,
    ledger_file,
)
from surgrec.corpus.lines import Appender
from surgrec.corpus.manifest import Manifest, ManifestError
from surgrec.corpus.removal import remove
from surgrec.index import main as index
from tests.corpus.test_manifest import manifest as manifest_of
from tests.corpus.test_manifest import row as row_of


def row(name: str, **changes: object) -> dict:
    return row_of(0, **{"video_id": name, **changes})


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two sources of two patients with two videos each; b0 has the bytes of a0."""
    rows = [
        row(
            f"{source}_{i}",
            source=source,
            group_id=f"{source}_g{i // 2}",
            sha256=f"{i if source == 'a' else (0, 5, 6, 7)[i]:064d}",
        )
        for source in "ab"
        for i in range(4)
    ]
    path = tmp_path / "m.parquet"
    manifest_of(*rows).write(path)
    return path


def ids(path: Path) -> list[str]:
    return Manifest.read([path]).video_ids.tolist()


def test_a_removed_video_is_gone_with_its_copies(manifest: Path) -> None:
    done = remove([manifest], ["a_0"], reason="withdrawn")
    assert done.video_ids == ("a_0", "b_0") and done.num_new == 2 and done.taken_out == {manifest: 2}
    assert ids(manifest) == ["a_1", "a_2", "a_3", "b_1", "b_2", "b_3"]
    stone = Ledger.of_manifest(manifest).tombstones["a_0"]
    assert (stone.sha256, stone.source, stone.group_id, stone.reason) == ("0" * 64, "a", "a_g0", "withdrawn")
    written = ledger_file(manifest).read_bytes()
    again = remove([manifest], ["a_0"])
    assert again.video_ids == ("a_0",) and again.num_new == 0 and again.taken_out == {manifest: 0}
    assert ledger_file(manifest).read_bytes() == written


def test_a_whole_patient(manifest: Path) -> None:
    done = remove([manifest], ["a_1"], is_whole_group=True)
    assert done.video_ids == ("a_0", "a_1", "b_0") and done.other_groups == ("b_g0",)
    assert ids(manifest) == ["a_2", "a_3", "b_1", "b_2", "b_3"]
    gate = Gate(Ledger.of_manifest(manifest))
    later = row("a_9", group_id="a_g0", sha256="9" * 64)  # found in the patient's folder a year after
    assert "its group a_g0 was removed" in gate.refusal_of(later).detail  # type: ignore[union-attr]
    assert gate.refusal_of(row("b_9", group_id="b_g0", sha256="9" * 64)) is None
    assert remove([manifest], ["b_g0"], is_whole_group=True).taken_out == {manifest: 1}  # a group id will do
    assert remove([manifest], ["a_0"], is_whole_group=True).num_new == 0


def test_a_video_first_then_its_patient(manifest: Path) -> None:
    remove([manifest], ["a_2"])
    assert Gate(Ledger.of_manifest(manifest)).refusal_of(row("x", group_id="a_g1", sha256="9" * 64)) is None
    remove([manifest], ["a_2"], is_whole_group=True)
    assert Gate(Ledger.of_manifest(manifest)).refusal_of(row("x", group_id="a_g1", sha256="9" * 64)) is not None
    assert "a_3" not in ids(manifest)


def test_a_prepared_copy_goes_with_its_original_in_whatever_order_they_are_named(tmp_path: Path) -> None:
    """It has the id of the original and bytes of its own; both stay out by either."""
    raw, prepared = tmp_path / "raw.parquet", tmp_path / "prepared.parquet"
    copies = [row(f"a_{i}", sha256=f"{100 + i:064d}", group_id="a_g0") for i in range(3)]
    for manifests in ([raw, prepared], [prepared, raw]):
        manifest_of(*(row(f"a_{i}", sha256=f"{i:064d}", group_id="a_g0") for i in range(3))).write(raw)
        manifest_of(*copies).write(prepared)
        assert remove(manifests, ["a_1"]).taken_out == {raw: 1, prepared: 1}
        for path in manifests:
            gate = Gate(Ledger.of_manifest(path))
            kept = [row("x", sha256=sha256, group_id="a_g0") for sha256 in (f"{1:064d}", f"{101:064d}", f"{2:064d}")]
            assert [gate.refusal_of(each) is None for each in kept] == [False, False, True]
            assert gate.refusal_of(row("a_1", sha256="f" * 64, group_id="a_g0")) is not None
            ledger_file(path).unlink()


def test_unknown_names_change_nothing(manifest: Path) -> None:
    before = manifest.read_bytes()
    with pytest.raises(LedgerError, match="lists a_7, nobody, and no ledger"):
        remove([manifest], ["a_0", "nobody", "a_7"])
    with pytest.raises(LedgerError, match="add --group"):
        remove([manifest], ["a_g0"])
    assert manifest.read_bytes() == before and not ledger_file(manifest).exists()


def test_an_old_copy_of_the_manifest_is_not_read_until_it_is_mended(manifest: Path) -> None:
    before = manifest.read_bytes()
    remove([manifest], ["a_3"])
    manifest.write_bytes(before)
    with pytest.raises(ManifestError, match=r"lists 1 removed video, such as a_3; .*corpus remove --manifest"):
        Manifest.read([manifest])
    assert remove([manifest]).taken_out == {manifest: 1}
    assert "a_3" not in ids(manifest)


def test_several_manifests_and_one_ledger_for_all(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, ledger = tmp_path / "prepared.parquet", tmp_path / "all.ledger.jsonl"
    Manifest.read([manifest]).write(other)
    assert remove([manifest, other], ["a_0"]).taken_out == {manifest: 2, other: 2}
    assert set(Ledger.of_manifest(other).tombstones) == {"a_0", "b_0"}
    assert remove([manifest], ["a_1"], ledger=ledger).ledgers == (ledger,)
    assert "a_1" in ids(other)
    monkeypatch.setenv(EVERYWHERE, str(ledger))
    with pytest.raises(ManifestError, match="such as a_1"):
        Manifest.read([other])
    assert remove([other]).taken_out == {other: 1}
    monkeypatch.setenv(EVERYWHERE, str(tmp_path / "misspelt"))
    with pytest.raises(LedgerError, match=r"no ledger at .*misspelt"):
        Manifest.read([other])


def test_removing_the_last_video_leaves_an_empty_manifest_that_can_be_mended(manifest: Path) -> None:
    remove([manifest], [f"{source}_{i}" for source in "ab" for i in range(4)])
    with pytest.raises(ManifestError, match="lists no videos"):
        Manifest.read([manifest])
    assert remove([manifest]).taken_out == {manifest: 0}


def test_a_damaged_ledger_is_no_ledger(manifest: Path) -> None:
    remove([manifest], ["a_0"])
    file = ledger_file(manifest)
    content = bytearray(file.read_bytes())
    content[30] ^= 1
    file.write_bytes(content)
    with pytest.raises(LedgerError, match=r"the ledger .* has 1 damaged line"):
        Manifest.read([manifest])
    file.unlink()
    add_tombstones(file, [])
    assert not file.exists()


def test_notes(manifest: Path) -> None:
    file = ledger_file(manifest)
    add_notes(file, {"a_0": {"licence": "own", "consent": "broad"}, "a_1": {"notes": "ünïcode\nlines"}})
    add_notes(file, {"a_0": {"consent": "withdrawn"}})
    ledger = Ledger.of_manifest(manifest)
    assert ledger.notes == {"a_0": {"licence": "own", "consent": "withdrawn"}, "a_1": {"notes": "ünïcode\nlines"}}
    licences = ledger.with_licences(Manifest.read([manifest]).table)["licence"].to_pylist()
    assert licences[0] == "own" and "own" not in licences[1:]
    with pytest.raises(LedgerError, match="not colour"):
        add_notes(file, {"a_0": {"colour": "red"}})


def test_a_ledger_of_the_future_is_not_guessed_at(manifest: Path) -> None:
    appender = Appender(ledger_file(manifest))
    appender.add([{"event": "pardoned", "video_id": "a_0"}])
    appender.close()
    with pytest.raises(LedgerError, match="newer surgrec"):
        Manifest.read([manifest])


# -- index obeys


def run_index(root: Path, out: Path, *flags: str) -> int:
    arguments = [
        "--root",
        str(root),
        "--out",
        str(out),
        "--source",
        "src",
        "--domain",
        "other",
        "--workers",
        "0",
        *flags,
    ]
    return run_command(lambda: index(arguments))


def test_index_keeps_out_what_was_removed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.parquet"
    assert run_index(folder, out) == 0
    first, second, third = Manifest.read([out]).table.to_pylist()
    remove([out], [first["video_id"]], reason="withdrawn")
    (folder / "case_1" / "a.mp4").rename(folder / "case_1" / "a new name.mp4")
    capsys.readouterr()
    assert run_index(folder, out) == 0
    assert ids(out) == [second["video_id"], third["video_id"]]
    assert "refused 1: 1 removed" in capsys.readouterr().err

    other = tmp_path / "other.parquet"
    assert run_index(folder, other, "--ledger", str(ledger_file(out))) == 0
    assert ids(other) == [second["video_id"], third["video_id"]]

    remove([out], [third["video_id"]], is_whole_group=True)
    (folder / "case_1" / "b.mkv").rename(folder / "case_2" / "b.mkv")  # into the folder of a patient who withdrew
    assert run_index(folder, out) == 0
    assert Manifest.read([out], as_is=True).table.num_rows == 0
    assert "3 removed" in capsys.readouterr().err
    assert run_index(folder, out) == 0  # an empty manifest is no obstacle
    add_notes(ledger_file(other), {second["video_id"]: {"licence": "own"}})
    assert run_index(folder, other) == 0
    licences = dict(zip(ids(other), Manifest.read([other]).table["licence"].to_pylist(), strict=True))
    assert licences[second["video_id"]] == "own"


# -- killed


def test_killed_before_the_manifest_is_written(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(removal_module, "_take_out", stop)
        with pytest.raises(KeyboardInterrupt):
            remove([manifest], ["a_0"])
    with pytest.raises(ManifestError, match="2 removed videos"):
        Manifest.read([manifest])
    assert remove([manifest], ["a_0"]).taken_out == {manifest: 2}


def stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_killed_at_any_moment_a_removal_is_whole_or_can_be_finished(tmp_path: Path) -> None:
    rows = [row(f"a_{i}", source="a", group_id=f"a_g{i}", sha256=f"{i:064d}") for i in range(10_535)]
    path = tmp_path / "m.parquet"
    manifest_of(*rows).write(path)
    num_in_between = 0
    for number in range(12):
        command = [sys.executable, "-m", "surgrec.corpus", "remove", f"a_{number}", "--manifest", str(path)]
        size = ledger_file(path).stat().st_size if number else 0
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
            while (
                process.poll() is None
                and (ledger_file(path).stat().st_size if ledger_file(path).exists() else 0) == size
            ):
                time.sleep(0.0005)
            time.sleep(0.004 * number)  # from the moment of the tombstone on
            process.kill()
        assert f"a_{number}" in Ledger.of_manifest(path).tombstones
        try:
            assert f"a_{number}" not in ids(path)
        except UserError as error:
            num_in_between += 1
            assert "takes out what ledgers have removed" in str(error)
        began = time.perf_counter()
        assert remove([path], [f"a_{number}"]).video_ids == (f"a_{number}",)
        assert time.perf_counter() - began < 10
        assert len(ids(path)) == 10_535 - number - 1
        assert {file.name for file in tmp_path.iterdir()} == {"m.parquet", "m.ledger.jsonl"}
    assert num_in_between >= 2


def test_a_tombstone_says_no_name() -> None:
    assert set(Tombstone.__dataclass_fields__) == {
        *("video_id", "sha256", "source", "group_id", "date", "reason", "is_whole_group")
    }


# -- manifests that were made of others


def test_a_derived_manifest_obeys_the_ledger_of_its_origin_wherever_both_are_moved(tmp_path: Path) -> None:
    (tmp_path / "here" / "deep").mkdir(parents=True)
    origin, derived = tmp_path / "here" / "m.parquet", tmp_path / "here" / "deep" / "d.parquet"
    for path in (origin, derived):
        manifest_of(row("a_0"), row("a_1", sha256="1" * 64)).write(path)
    follow(derived, [origin])
    written = ledger_file(derived).read_bytes()
    follow(derived, [origin])
    assert ledger_file(derived).read_bytes() == written and ids(derived) == ["a_0", "a_1"]
    remove([origin], ["a_0"])
    with pytest.raises(ManifestError, match="such as a_0"):
        ids(derived)
    moved = (tmp_path / "here").rename(tmp_path / "there") / "deep" / "d.parquet"
    with pytest.raises(ManifestError, match="such as a_0"):
        ids(moved)
    alone = (tmp_path / "there" / "deep").rename(tmp_path / "alone") / "d.parquet"
    (tmp_path / "there").rename(tmp_path / "here")  # the origin is where it was, the derived one alone went
    with pytest.raises(ManifestError, match="such as a_0"):
        ids(alone)
    assert remove([alone]).taken_out == {alone: 1} and ids(alone) == ["a_1"]


def test_ledgers_that_follow_each_other_are_read_once(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.parquet" for name in "abc"]
    for path, origin in zip(paths, [*paths[1:], paths[0]], strict=True):
        manifest_of(row("a_0"), row("a_1", sha256="1" * 64)).write(path)
        follow(path, [origin, path])
    remove([paths[2]], ["a_1"])
    assert len(Ledger.files_of(paths[0])) == 3
    with pytest.raises(ManifestError):
        ids(paths[0])


def test_a_copy_is_known_by_the_bytes_it_was_made_from(tmp_path: Path) -> None:
    """Under another source's id, too; and who removes only the copy also keeps the original out."""
    raw, prepared = tmp_path / "raw.parquet", tmp_path / "prepared.parquet"
    manifest_of(row("a_0", sha256="1" * 64), row("a_1", sha256="2" * 64)).write(raw)
    manifest_of(row("b_0", sha256="8" * 64, original_sha256="1" * 64), row("b_1", sha256="9" * 64)).write(prepared)
    ledger = tmp_path / "common.jsonl"
    remove([raw], ["a_0"], ledger=ledger)
    stones = Ledger.read([ledger])
    assert stones.is_removed(Manifest.read([prepared]).table).to_pylist() == [True, False]
    assert Gate(stones).refusal_of(row("b_0", sha256="8" * 64, original_sha256="1" * 64)) is not None
    remove([prepared], ["b_0"])
    gate = Gate(Ledger.of_manifest(prepared))
    assert gate.refusal_of(row("c_0", sha256="1" * 64)) is not None and gate.refusal_of(row("c_0")) is None


def test_a_link_to_a_manifest_has_its_ledger(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.parquet"
    link.symlink_to(manifest)
    before = manifest.read_bytes()
    remove([manifest], ["a_3"])
    manifest.write_bytes(before)
    with pytest.raises(ManifestError, match="a_3"):
        ids(link)
