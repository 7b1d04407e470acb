"""What is not what was written is not trusted: the checkpoint before is taken and it is said; never a fresh start in silence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.training.checkpoint import Checkpoints, load_weights
from surgrec.training.checkpoint_facts import DamagedError, Origin, read_facts, read_progress
from surgrec.training.checkpoint_folder import CheckpointError, await_there
from surgrec.training.checkpoint_listing import candidates_in, checkpoint_of
from surgrec.training.progress import Progress, Pulse, Rollback
from surgrec.training.runtime import Runtime
from tests.training.test_checkpoint import at, trained, update
from tests.training.tiny import Runs, Warm, assert_same_run, metrics_of, overrides


@pytest.fixture
def three(runtime: Runtime, tmp_path: Path) -> Checkpoints:
    """Checkpoints of the steps 1, 2 and 3."""
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    origin = Origin(tmp_path / "config.yaml", "0123", "single")
    checkpoints, state = Checkpoints(tmp_path / "checkpoints", keep=3, origin=origin), trained(0)
    for step in (1, 2, 3):
        update(state, step)
        checkpoints.save(runtime, state, at(step))
    return checkpoints


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "a flipped bit in the weights": lambda path: flip_a_bit(path / "__0_0.distcp"),
    "weights cut short": lambda path: (path / "__0_0.distcp").write_bytes((path / "__0_0.distcp").read_bytes()[:100]),
    "no weights": lambda path: (path / "__0_0.distcp").unlink(),
    "a flipped bit in the metadata": lambda path: flip_a_bit(path / ".metadata"),
    "another configuration": lambda path: (path / "config.yaml").write_text("seed: 1\n"),
    "other facts": lambda path: (path / "checkpoint.json").write_text(
        (path / "checkpoint.json").read_text().replace('"step": 3', '"step": 7')
    ),
    "facts cut short": lambda path: (path / "checkpoint.json").write_text('{"sha256": "01'),
    "no facts": lambda path: (path / "checkpoint.json").unlink(),
    "nothing": lambda path: shutil.rmtree(path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_set_aside_and_the_one_before_is_taken_and_it_is_said(
    damage: str, three: Checkpoints, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[damage](three.folder / "step_00000003")
    assert three.restore(runtime, trained(1)).step == 2 and three.resumed_from == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: step_00000003 is damaged: ") and said.endswith(
        "the run goes on from step_00000002"
    )
    assert (three.folder / "latest").read_text() == "step_00000002\n"
    there = {path.name for path in three.folder.glob("*step_*")}
    aside = set() if damage == "nothing" else {"damaged_step_00000003"}
    assert there == {"step_00000001", "step_00000002"} | aside

    three.restore(runtime, trained(1))  # and from then on nothing is amiss
    assert capsys.readouterr().err == ""
    three.save(runtime, trained(0), at(3))
    assert three.restore(runtime, trained(1)).step == 3


def test_of_several_damaged_ones_all_are_told(
    three: Checkpoints, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (2, 3):
        flip_a_bit(three.folder / f"step_{step:08d}" / "__0_0.distcp")
    assert three.restore(runtime, trained(1)).step == 1
    said = capsys.readouterr().err
    assert said.count("the run goes on from step_00000001") == 2 and "step_00000002 is" in said and "SHA-256" in said


def test_where_nothing_is_whole_it_is_an_error_again_and_again_and_nothing_changes(
    three: Checkpoints, runtime: Runtime
) -> None:
    for step in (1, 2, 3):
        flip_a_bit(three.folder / f"step_{step:08d}" / "__0_0.distcp")
    before = sorted(path.name for path in three.folder.rglob("*"))
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"no checkpoint that is whole \(step_00000003: __0_0.distcp is not"):
            three.restore(runtime, trained(1))
    assert sorted(path.name for path in three.folder.rglob("*")) == before
    assert issubclass(CheckpointError, UserError)  # status 2


def test_damaged_ones_alone_are_no_fresh_start_either(three: Checkpoints, runtime: Runtime) -> None:
    flip_a_bit(three.folder / "step_00000003" / "__0_0.distcp")
    three.restore(runtime, trained(1))
    for name in ("step_00000001", "step_00000002", "latest"):
        path = three.folder / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(CheckpointError, match="no checkpoint that is whole"):
        three.restore(runtime, trained(1))


def test_a_lost_pointer_costs_nothing(three: Checkpoints, runtime: Runtime) -> None:
    (three.folder / "latest").unlink()
    assert three.restore(runtime, trained(1)).step == 3
    assert (three.folder / "latest").read_text() == "step_00000003\n"


def test_a_pointer_to_nonsense_is_one_sentence(three: Checkpoints, runtime: Runtime) -> None:
    (three.folder / "latest").write_text("the newest\n")
    with pytest.raises(UserError, match="latest names 'the newest', which is no checkpoint; write the name of one"):
        three.restore(runtime, trained(1))


def test_what_an_abandoned_way_left_is_fallen_back_to_last(three: Checkpoints, runtime: Runtime) -> None:
    """The run went back from step 3 to 1, then saved step 4; of what was before, only step 1 is of this way."""
    three.go_back(three.folder / "step_00000001", Progress(3, pulse=Pulse(1, 2)))
    state = trained(0)
    three.save(runtime, state, Progress(2))  # as a kill in the middle of going back leaves them
    three.save(runtime, state, Progress(4, rollbacks=[Rollback(3, 1)]))
    assert [path.name[-1] for path in candidates_in(three.folder)] == ["4", "1", "2"]


@pytest.mark.parametrize("damage", ["a flipped bit in the weights", "no weights", "no facts"])
def test_a_command_that_reads_weights_verifies_them(damage: str, three: Checkpoints) -> None:
    path, state = three.folder / "step_00000002", trained(1)
    DAMAGES[damage](path)
    with pytest.raises(DamagedError, match=f"{path} is damaged: .*; take another checkpoint"):
        load_weights(checkpoint_of(three.folder, 2), state.learner, state.frozen)
    DAMAGES["weights cut short"](three.folder / "step_00000003")
    with pytest.raises(UserError, match=r"step_00000003, which is the newest.* not whole: __0_0.distcp has 100 bytes"):
        checkpoint_of(three.folder, None)


# -- what is known of a checkpoint


def test_the_facts_tell_where_it_comes_from_and_list_every_file(three: Checkpoints) -> None:
    path = three.folder / "step_00000003"
    values, facts = json.loads((path / "checkpoint.json").read_text()), read_facts(path)
    assert values["step"] == 3 and values["world_size"] == 1 and values["strategy"] == "single"
    assert values["manifest_fingerprint"] == "0123" and set(values["software"]) == {"surgrec", "torch", "python"}
    assert facts.files is not None
    assert {file.name for file in path.iterdir()} == {*facts.files, "checkpoint.json"}
    assert {name: each.num_bytes for name, each in facts.files.items()} == {
        name: (path / name).stat().st_size for name in facts.files
    }
    assert (path / "config.yaml").read_text() == "seed: 0\n"


def test_a_checkpoint_of_a_version_without_sums_is_read_and_that_is_said(
    three: Checkpoints, runtime: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    path = three.folder / "step_00000003"
    (path / "progress.json").write_text(json.dumps({"step": 3, "sources": {"alpha": 24}}) + "\n")
    (path / "checkpoint.json").unlink()
    assert three.restore(runtime, trained(1)) == Progress(3, {"alpha": 24})
    (said,) = capsys.readouterr().err.splitlines()
    assert "step_00000003 is of a version of surgrec that kept no checksums" in said
    three.go_back(path, Progress(5))  # gives it facts, and still no sums
    assert read_progress(path).rollbacks == [Rollback(5, 3)] and read_facts(path).files is None
    assert three.restore(runtime, trained(1)).step == 3


def test_one_of_a_newer_version_is_an_error_and_is_left_alone(
    three: Checkpoints, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("surgrec.training.checkpoint_facts._FORMAT", 2)
        three.save(runtime, trained(0), at(4))
    with pytest.raises(UserError, match="step_00000004 was written by a newer version of surgrec; update"):
        three.restore(runtime, trained(1))
    assert (three.folder / "step_00000004").is_dir()


def test_a_name_that_shows_late_is_waited_for_and_one_that_never_does_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def shows_late(path: Path, **_: bool) -> bool:
        looks.append(path)
        return len(looks) > 3

    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", shows_late)
        await_there(tmp_path / "step_00000001", seconds=60)
    assert len(looks) == 4
    with pytest.raises(CheckpointError, match="step_00000001 is not to be seen after 0 seconds, though it was written"):
        await_there(tmp_path / "step_00000001", seconds=0)


# -- in a run


@pytest.mark.slow
def test_a_run_whose_newest_checkpoint_is_damaged_rewinds_and_ends_as_if_nothing_had_happened(
    warm: Warm, footage: Path, uninterrupted: Runs, tmp_path: Path
) -> None:
    folder = tmp_path / "mae"
    shutil.copytree(uninterrupted / "mae", folder)
    flip_a_bit(next((folder / "checkpoints" / "step_00000012").glob("*.distcp")))
    said = warm.run(overrides("mae", footage, tmp_path, "mae"))
    assert "warning: step_00000012 is damaged" in said and "goes on from step_00000009" in said
    assert "nothing was left to do" not in said
    assert [line["step"] for line in metrics_of(folder)] == list(range(1, 13))
    assert_same_run(folder, uninterrupted / "mae")


@pytest.mark.slow
def test_a_run_without_a_whole_checkpoint_is_one_sentence_and_status_2(
    warm: Warm, footage: Path, uninterrupted: Runs, tmp_path: Path
) -> None:
    folder = tmp_path / "mae"
    shutil.copytree(uninterrupted / "mae", folder)
    for path in (folder / "checkpoints").glob("step_*"):
        flip_a_bit(next(path.glob("*.distcp")))
    said = warm.run(overrides("mae", footage, tmp_path, "mae"), status=2)
    assert "error: " in said and "holds no checkpoint that is whole" in said and "Traceback" not in said
    assert metrics_of(folder) == metrics_of(uninterrupted / "mae")  # untouched
