"""`surgrec status` tells from a folder alone what a run does, says what is torn, and loads nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from surgrec.status import main
from surgrec.training.overview import State, look

REPOSITORY = Path(__file__).resolve().parent.parent
NOW = 1_700_000_000.0  # long ago, where a command looks with its own clock
MINUTE = 60.0


def line(step: int, age: float, **more: Any) -> dict[str, Any]:
    """A line of a run of 2 s a step, one line every 10 steps, of which 0.4 s a line were waited."""
    return {
        "step": step, "loss": 1.0 - step / 2000, "lr": 1e-3, "phase": int(step > 800), "unix_seconds": NOW - age,
        "step_seconds": 2.0, "clips_per_second": 8.0, "seconds_waiting_for_data": 0.4, "tflops_per_second": 1.5,
        "sources": {"colon": 12 * step, "eye": 4 * step}, "source_shares": {"colon": 0.7, "eye": 0.3},
        "source_passes": {"colon": 1.25, "eye": 0.5}, "source_failures": {"colon": 3}, **more,
    }  # fmt: skip


def write_run(folder: Path, last_step: int, age: float, **more: Any) -> Path:
    """A run of 800 steps and a phase of 200 that has logged up to `last_step`, `age` seconds ago; `more` goes into its last line."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "name: run\nmix:\n  manifests: [/data/DOE_JANE/corpus.parquet]\n"
        "trainer:\n  steps: 800\n  phases:\n  - {steps: 200}\n  checkpoint_every: 100\n"
    )
    steps = range(10, last_step + 1, 10)
    lines = [line(step, age + 2.0 * (last_step - step)) for step in steps]
    if lines:
        lines[-1] |= more
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    return folder


def save(folder: Path, step: int, age: float, rollbacks: tuple[dict[str, int], ...] = ()) -> None:
    checkpoint = folder / "checkpoints" / f"step_{step:08d}"
    checkpoint.mkdir()
    (checkpoint / "__0_0.distcp").write_bytes(b"0" * 5000)
    (checkpoint / "progress.json").write_text(json.dumps({"step": step, "rollbacks": rollbacks}))
    (folder / "checkpoints" / "latest").write_text(checkpoint.name + "\n")
    os.utime(folder / "checkpoints" / "latest", (NOW - age, NOW - age))


# -- what a run does


def test_a_running_run_is_told_with_its_time_to_go(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 600, age=15.0)
    save(run, 500, age=3 * MINUTE)
    of = look(run, NOW)
    assert (of.state, of.step, of.num_steps, of.num_phases) == (State.running, 600, 1000, 2)
    assert of.step_seconds == pytest.approx(2.0) and of.seconds_to_go == pytest.approx(800.0)
    assert of.seconds_since_line == pytest.approx(15.0) and of.interval_seconds == pytest.approx(20.0)
    assert of.waiting_share == pytest.approx(0.02)
    assert of.checkpoint is not None and (of.checkpoint.step, of.checkpoint.number) == (500, 1)
    assert of.checkpoint.seconds_old == pytest.approx(180, abs=1) and of.checkpoint.num_bytes > 5000
    now, *before = of.losses
    assert now.step == 600 and now.loss == pytest.approx(1 - 555 / 2000), "the mean of the last ten lines"
    assert [loss.step for loss in before] == pytest.approx([300, 150, 10], abs=20) and before[-1].loss == 0.995
    colon = of.sources["colon"]
    assert list(of.sources) == ["colon", "eye"] and colon.clips == 7200 and colon.share == pytest.approx(0.75)
    assert (colon.meant, colon.passes, colon.failed) == (0.7, 1.25, 3)
    assert of.problems == [] and of.failed is None and of.alarms == {} and of.stacks is None


@pytest.mark.parametrize(
    ("last_step", "age", "saved", "state"),
    [
        (0, 0.0, None, State.new),
        (600, 59.0, 600, State.running),
        (600, 61.0, 600, State.silent),
        (600, 1.0, 605, State.stopped),
        (600, 9e6, 605, State.stopped),
        (610, 1.0, 605, State.running),  # continued
        (0, 0.0, 100, State.silent),
        (1000, 9e6, 1000, State.finished),
        (1000, 1.0, 900, State.running),  # its last checkpoint is being written
    ],
)
def test_the_state_follows_from_the_last_line_and_checkpoint(
    last_step: int, age: float, saved: int | None, state: State, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", last_step, age)
    if saved is not None:
        save(run, saved, age=0.0)
    assert look(run, NOW).state is state


def test_either_form_of_a_checkpoint_is_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 600, age=15.0)
    save(run, 500, 0.0, rollbacks=({"from_step": 1, "to_step": 0},))
    folder = run / "checkpoints" / "step_00000500"
    before = look(run, NOW)
    progress = json.loads((folder / "progress.json").read_text())
    (folder / "progress.json").unlink()
    (folder / "checkpoint.json").write_text(json.dumps({"format": 1, "step": 500, "progress": progress}))
    after = look(run, NOW)
    assert before.checkpoint is not None and after.checkpoint is not None and after.problems == []
    assert (
        (after.checkpoint.step, after.rollbacks)
        == (before.checkpoint.step, before.rollbacks)
        == (500, progress["rollbacks"])
    )


def test_a_slow_run_is_not_silent_before_its_time(tmp_path: Path) -> None:
    """Lines come every 200 s: after 9 minutes without one it may still run, after 11 it does not."""
    run = write_run(tmp_path / "run", 100, age=0.0)
    slow = [line(step, 0.0) | {"step_seconds": 20.0} for step in range(10, 101, 10)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in slow))
    assert look(run, NOW + 9 * MINUTE).state is State.running
    assert look(run, NOW + 11 * MINUTE).state is State.silent


def test_alarms_rollbacks_failures_stragglers_and_stacks_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(
        tmp_path / "run", 300, 0.0, alarm="step 300: the features have collapsed", straggler="rank 7 holds up"
    )
    save(run, 200, 0.0, rollbacks=({"from_step": 280, "to_step": 200},))
    reasons = ["missing"] * 2 + ["crashed"]
    failures = [{"step": 5, "source": "colon", "video_id": f"colon_{reason}", "reason": reason} for reason in reasons]
    (run / "failures.jsonl").write_text("".join(json.dumps(each) + "\n" for each in failures))
    (run / "stacks").mkdir()
    for name in ("rank_0", "rank_1", "rank_0.before"):
        (run / "stacks" / f"{name}.txt").write_text("File ...")
    of = look(run, NOW)
    assert of.alarms == {300: "step 300: the features have collapsed"} and of.straggler == "rank 7 holds up"
    assert of.rollbacks == [{"from_step": 280, "to_step": 200}]
    assert of.failed is not None and (of.failed.number, of.failed.reasons) == (3, {"missing": 2, "crashed": 1})
    assert of.stacks is not None and of.stacks.number == 2
    assert main([str(run)]) == 0
    said = capsys.readouterr().out
    for words in (
        "  alarm       step 300: the features have collapsed",
        "rolled back 1 time, last from step 280 to 200",
        "3 reads failed; of the last, 2 missing, 1 crashed; most often colon_missing (2), colon_crashed (1)",
        "  straggler   rank 7 holds up",
        "the stacks of 2 ranks, written ",
    ):
        assert words in said, said


# -- what is torn or not there


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("metrics.jsonl", None, "metrics.jsonl: a line is torn"),
        ("config.yaml", "trainer: {steps: [", "config.yaml cannot be read, so the length of the run is not known"),
        ("config.yaml", "trainer: {steps: many}", "config.yaml cannot be read, so the length of the run is not known"),
        (
            "checkpoints/latest",
            "step_00000900\n",
            "names step_00000900, which is not there or not whole; in the folder: step_00000500",
        ),
        ("checkpoints/latest", "", "checkpoints/latest names nothing"),
        (
            "checkpoints/step_00000500/progress.json",
            '{"step": 5',
            "names step_00000500, which is not there or not whole",
        ),
        ("failures.jsonl", '{"st\n', "failures.jsonl: a line is torn"),
    ],
)
def test_what_is_torn_is_a_sentence_and_the_rest_is_told(
    name: str, text: str | None, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", 600, age=9 * MINUTE)
    save(run, 500, age=0.0)
    (run / name).write_text((run / name).read_text()[:-30] if text is None else text)
    of = look(run, NOW)
    assert len(of.problems) == 1 and sentence in of.problems[0]
    assert of.step == (590 if text is None else 600) and of.sources
    assert main([str(run)]) == 0
    assert sentence in capsys.readouterr().out


NO_LINES = (
    {"step": "610"},
    {"loss": 0.5, "alarm": "an alarm of no step"},
    {"step": 610, "loss": "high"},
    {"step": 610, "step_seconds": None},
    {"step": 610, "unix_seconds": float("nan")},
    {"step": 610, "sources": ["colon"]},
    {"step": 610, "sources": {"colon": "12"}},
    {"step": 610, "effective_rank": {}},
)


@pytest.mark.parametrize("wrong", NO_LINES, ids=str)
def test_a_line_that_no_run_wrote_is_told_and_not_believed(
    wrong: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", 600, age=9 * MINUTE)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(wrong) + "\n")
    of = look(run, NOW)
    assert of.step == 600 and of.sources and of.alarms == {} and "metrics.jsonl: a line is torn" in of.problems[0]
    assert main([str(run)]) == main([str(run), str(run)]) == 0


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("checkpoints/latest", b"\xff\xfe", "which is not there or not whole"),
        ("checkpoints/step_00000500/progress.json", b'{"step": 500, "rollbacks": ["first"]}', "which is not there or not whole"),
        ("config.yaml", b"trainer: {steps: 800, checkpoint_every: often}", "config.yaml cannot be read"),
    ],
)  # fmt: skip
def test_what_no_run_wrote_is_a_sentence(name: str, text: bytes, problem: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 600, age=9 * MINUTE)
    save(run, 500, age=0.0)
    (run / name).write_bytes(text)
    assert problem in look(run, NOW).problems[0] and main([str(run)]) == 0


def test_a_line_that_is_being_written_is_no_problem(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 600, age=1.0)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 610, "lo')
    assert look(run, NOW).problems == [] and look(run, NOW + 3600).problems != []


def test_a_run_of_an_older_version_is_told_without_rate(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0, 0.0)
    (run / "metrics.jsonl").write_text(
        '{"step": 10, "loss": 0.5, "sources": {"a": 80}}\n{"step": 20, "loss": 0.4, "sources": {"a": 160}}\n'
    )
    of = look(run, (run / "metrics.jsonl").stat().st_mtime + 5)
    assert of.state is State.running and of.seconds_to_go is None and of.sources["a"].meant is None


def test_what_is_no_run_is_status_2_and_the_others_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    run = write_run(tmp_path / "run", 600, age=0.0)
    for folder in (tmp_path / "empty", tmp_path / "nowhere", run / "config.yaml"):
        assert main([str(folder)]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith(f"error: {folder} is no run folder")
    assert main([str(tmp_path / "empty"), str(run)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1 and "600" in captured.out


# -- how it is told


def test_several_runs_are_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        write_run(tmp_path / "one", 600, 0.0),
        write_run(tmp_path / "other", 1000, 0.0),
        write_run(tmp_path / "new", 0, 0.0),
    ]
    save(runs[1], 1000, 0.0)
    assert main([str(run) for run in runs]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["run", "state", "step", "of"] and len(rows) == 3
    assert [row.split()[1] for row in rows] == ["silent", "finished", "new"]
    assert "600" in rows[0] and "1,000" in rows[1]


def test_programs_get_a_list_of_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", 600, 0.0)
    assert main([str(run), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["step"] == 600 and told["sources"]["eye"]["meant"] == 0.3 and told["numbers"]["loss"] == 0.7


def test_nothing_of_the_footage_but_ids_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration names manifests, whose folder may be called after a patient; the report does not."""
    run = write_run(tmp_path / "run", 600, 0.0)
    failure = {"step": 1, "source": "s", "video_id": "colon_1f", "reason": "corrupt", "detail": "DOE_JANE"}
    (run / "failures.jsonl").write_text(json.dumps(failure) + "\n")
    for options in ([], ["--json"]):
        assert main([str(run), *options]) == 0
        captured = capsys.readouterr()
        assert "DOE_JANE" not in captured.out + captured.err and "colon_1f" in captured.out


def test_it_needs_neither_torch_nor_the_footage(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 600, 0.0)
    program = "import sys; from surgrec.__main__ import main; status = main(sys.argv[1:]); print(*sys.modules); sys.exit(status)"
    done = subprocess.run(
        [sys.executable, "-c", program, "status", str(run)], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 0 and "step        600 of 1,000" in done.stdout, done.stderr
    heavy = {"torch", "numpy", "pyarrow", "av", "hydra", "omegaconf", "matplotlib", "lightning_fabric"}
    assert not {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()} & heavy


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0 and "example: surgrec status runs/jepa" in capsys.readouterr().out
