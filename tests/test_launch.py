"""The scripts in launch/ as a shell runs them, with programs of ours in the place of SLURM's; on a real cluster: training/test_slurm.py."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LAUNCH = REPOSITORY / "launch"
SBATCH = sorted((LAUNCH / "slurm").glob("*.sbatch"))
SHELL_FILES = [REPOSITORY / ".ci" / "run", *sorted(LAUNCH.rglob("*.sh")), *SBATCH]
OPTIONS = ("+variant=mae", "name=it is")  # one with a blank

JOB = {
    "SLURM_JOB_ID": "41007",
    "SLURM_JOB_NODELIST": "node[3-4]",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_CPUS_PER_TASK": "3",
    "SLURM_ARRAY_JOB_ID": "41004",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_MAX": "15",
}
# `srun` runs its command as the last of the four ranks; options of its own come before `bash`.
PROGRAMS = {
    "srun": """
        echo "srun $*" >>calls
        while [[ $1 == -* ]]; do shift; done
        export SLURM_PROCID=3 SLURM_LOCALID=1 SLURM_NODEID=1
        exec "$@"
    """,
    "scontrol": """
        echo "scontrol $*" >>calls
        [[ $1 != show ]] || printf "node3\\nnode4\\n"
        if [[ $1 == requeue && $(grep -c requeue calls) -le ${REFUSALS:-0} ]]; then exit 1; fi
        if [[ $1 == requeue && -n ${REQUEUED:-} ]]; then echo "$REQUEUED" >requeued; kill -TERM $$; fi
    """,
    "squeue": """
        [[ ${STATE:-} != "no answer" ]] || exit 1
        if [[ -e requeued ]]; then cat requeued; else echo "${STATE:-RUNNING}"; fi
    """,
    "sleep": """
        if [[ $1 == 5 ]]; then echo "sleep $*" >>calls; else exec /bin/sleep "$@"; fi
    """,
    "apptainer": """
        printf "%s\\n" apptainer "$@" >>container
        while [[ $1 != python ]]; do shift; done
        exec "$@"
    """,
    "python": """
        if [[ "$*" == *"--cfg job" ]]; then bash -c "${CHECK:-true}"; exit "${CHECKED:-$?}"; fi
        printf "%s\\n" "$@" >arguments
        env >environment
        exec bash -c "${PROGRAM:-true}"
    """,
}


def scene(folder: Path) -> dict[str, str]:
    """Variables of a job in `folder`, in which programs note how they were called."""
    for name, text in PROGRAMS.items():
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SURGREC_", "PYTHON"))}
    return {**clean, **JOB, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}


def run(script: str, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The job's script in `folder`, to its end."""
    return subprocess.run(
        ["bash", LAUNCH / "slurm" / f"{script}.sbatch", *arguments],
        cwd=folder, env={**scene(folder), **variables}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def called(folder: Path, name: str) -> list[str]:
    """The calls of SLURM's programs that begin so."""
    file = folder / "calls"
    return [line for line in file.read_text().splitlines() if line.startswith(name)] if file.exists() else []


def variables_in(printed: str) -> dict[str, str]:
    """What `env` printed."""
    return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)


# -- all scripts


@pytest.mark.parametrize("file", [*SHELL_FILES, LAUNCH / "slurm" / "site.example.env"], ids=lambda file: file.name)
def test_shellcheck_has_nothing_to_say(file: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed; as root, apt-get install shellcheck")
    said = subprocess.run(["shellcheck", "--shell=bash", file], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout


def test_every_script_finds_its_interpreter_alike() -> None:
    blocks = {
        re.search(r"^if \[\[ -n \$\{SURGREC_SITE.*?^fi\npython=.*?^fi\n", file.read_text(), re.M | re.S)
        for file in SBATCH
    }
    assert len(SBATCH) == 5 and None not in blocks and len({block[0] for block in blocks if block}) == 1


def test_those_that_requeue_do_it_alike() -> None:
    """A file for both would have to be found from wherever a job was submitted."""
    parts = {
        re.search(r"^state_of_job\(\).*?^requeue\(\).*?^\}$", file.read_text(), re.M | re.S)
        for file in SBATCH
        if file.stem in ("pretrain", "benchmark")
    }
    assert None not in parts and len({part[0] for part in parts if part}) == 1


def test_every_variable_of_the_scripts_is_explained() -> None:
    explained = set(re.findall(r"^# export (\w+)=", (LAUNCH / "slurm" / "site.example.env").read_text(), re.M))
    read = set().union(*(re.findall(r"\$\{([A-Z_]+)[:-]", file.read_text()) for file in SBATCH))
    slurms = {name for name in read if name.startswith("SLURM_")}
    of_prepare = {"MANIFEST", "OUT", "SHARDS"}  # of one job, not of a site; explained in its head
    assert read - slurms - of_prepare - {"SURGREC_SITE"} == {
        name for name in explained if not name.startswith(("SBATCH_", "NCCL_", "GLOO_"))
    }


def test_the_example_sets_what_it_explains(tmp_path: Path) -> None:
    example = (LAUNCH / "slurm" / "site.example.env").read_text()
    assert not re.search(r"^[^#\n]", example, re.M), "copied as it is, it changes nothing"
    (tmp_path / "site.env").write_text(re.sub(r"^# export", "export", example, flags=re.M))
    told = subprocess.run(
        ["bash", "-euc", "source site.env; env"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"^# export (\w+)=", example, re.M)) <= variables_in(told.stdout).keys()


# -- pretrain


def test_a_run_has_its_place_in_the_world_and_its_options(tmp_path: Path) -> None:
    done = run("pretrain", tmp_path, *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "arguments").read_text().splitlines() == ["-m", "surgrec.train", *OPTIONS, "runtime=ddp"]
    seen = variables_in((tmp_path / "environment").read_text())
    place = {"RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    assert place.items() <= seen.items()
    assert (seen["MASTER_ADDR"], seen["MASTER_PORT"]) == ("node3", "11007")
    (call,) = called(tmp_path, "srun")
    assert "--kill-on-bad-exit=1" in call and "--cpus-per-task=3" in call
    assert called(tmp_path, "scontrol requeue") == []


def test_a_restart_meets_where_what_the_killed_one_left_behind_does_not(tmp_path: Path) -> None:
    ports = []
    for restart in range(3):
        assert run("pretrain", tmp_path, *OPTIONS, SLURM_RESTART_COUNT=str(restart)).returncode == 0
        ports.append(int(variables_in((tmp_path / "environment").read_text())["MASTER_PORT"]))
    assert len(set(ports)) == 3 and all(10000 <= port < 30000 for port in ports)


def test_a_chosen_runtime_stays(tmp_path: Path) -> None:
    assert run("pretrain", tmp_path, "+variant=jepa", "runtime=fsdp").returncode == 0
    assert (tmp_path / "arguments").read_text().splitlines()[2:] == ["+variant=jepa", "runtime=fsdp"]


@pytest.mark.parametrize(
    ("program", "status", "is_requeued", "words"),
    [
        ("exit 0", 0, False, ""),
        ("exit 2", 2, False, "not requeued"),
        ("exit 130", 130, True, "stopped by a signal"),
        ("kill -TERM $$", 130, True, "stopped by a signal"),  # before it listens to signals
        ("kill -USR1 $$", 130, True, "stopped by a signal"),
        ("exit 1", 1, True, "crashed for the 1. time"),
        ("kill -KILL $$", 1, True, "crashed for the 1. time"),
        ("kill -SEGV $$", 1, True, "crashed for the 1. time"),
    ],
)
def test_who_is_requeued(program: str, status: int, is_requeued: bool, words: str, tmp_path: Path) -> None:
    done = run("pretrain", tmp_path, *OPTIONS, PROGRAM=program)
    assert done.returncode == status and words in done.stderr, done.stderr
    assert called(tmp_path, "scontrol requeue") == (["scontrol requeue 41007"] if is_requeued else [])


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", ""])
@pytest.mark.parametrize("program", ["exit 130", "exit 1"])
def test_a_job_that_slurm_ends_is_not_requeued(program: str, state: str, tmp_path: Path) -> None:
    assert run("pretrain", tmp_path, *OPTIONS, PROGRAM=program, STATE=state or " ").returncode in (1, 130)
    assert called(tmp_path, "scontrol requeue") == []


@pytest.mark.parametrize("program", ["exit 130", "exit 1"])
def test_a_queue_that_does_not_answer_keeps_no_job_from_going_back(program: str, tmp_path: Path) -> None:
    done = run("pretrain", tmp_path, *OPTIONS, PROGRAM=program, STATE="no answer")
    assert called(tmp_path, "scontrol requeue") == ["scontrol requeue 41007"] and "requeued, continues" in done.stderr


@pytest.mark.parametrize(("state", "words"), [("COMPLETING", "requeued, continues"), ("RUNNING", "SLURM refuses")])
def test_the_end_of_a_job_that_goes_back_may_end_who_asks_for_it(state: str, words: str, tmp_path: Path) -> None:
    done = run("pretrain", tmp_path, *OPTIONS, PROGRAM="exit 1", REQUEUED=state)
    assert done.returncode == 1 and f"crashed for the 1. time; {words}" in done.stderr, done.stderr


def test_a_run_that_has_begun_outlives_a_node_on_which_not_even_its_options_can_be_read(tmp_path: Path) -> None:
    broken = {"CHECKED": "127", "MAX_RESTARTS": "1"}  # such as an environment on a disk that is not there
    assert run("pretrain", tmp_path, *OPTIONS, **broken).returncode == 127
    assert called(tmp_path, "scontrol requeue") == [], "it never began: its user waits for an answer"
    for restart, words in ((1, "crashed for the 1. time; requeued"), (2, "crashed 2 times")):
        done = run("pretrain", tmp_path, *OPTIONS, **broken, SLURM_RESTART_COUNT=str(restart))
        assert done.returncode == 1 and words in done.stderr, done.stderr
    assert called(tmp_path, "scontrol requeue") == ["scontrol requeue 41007"] and called(tmp_path, "srun") == []


def test_crashes_are_counted_and_bounded_and_stops_are_not(tmp_path: Path) -> None:
    crashes = tmp_path / "surgrec-41007.crashes"
    for _ in range(3):
        assert run("pretrain", tmp_path, *OPTIONS, PROGRAM="exit 130", MAX_RESTARTS="2").returncode == 130
    assert len(called(tmp_path, "scontrol requeue")) == 3 and not crashes.exists()
    for count in (1, 2, 3):
        done = run("pretrain", tmp_path, *OPTIONS, PROGRAM="exit 1", MAX_RESTARTS="2")
        assert done.returncode == 1 and len(crashes.read_text().splitlines()) == count
    assert len(called(tmp_path, "scontrol requeue")) == 3 + 2 and "crashed 3 times" in done.stderr
    assert run("pretrain", tmp_path, *OPTIONS).returncode == 0 and not crashes.exists()


@pytest.mark.parametrize(("refusals", "words"), [(2, "requeued, continues"), (3, "SLURM refuses to requeue it")])
def test_a_controller_that_does_not_answer_is_asked_again(refusals: int, words: str, tmp_path: Path) -> None:
    done = run("pretrain", tmp_path, *OPTIONS, PROGRAM="exit 130", REFUSALS=str(refusals))
    assert done.returncode == 130 and words in done.stderr
    assert len(called(tmp_path, "scontrol requeue")) == 3 and len(called(tmp_path, "sleep 5")) == 2


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
@pytest.mark.parametrize("image", ["", "surgrec.sif"])
def test_a_signal_to_the_script_reaches_the_program_once_it_runs(number: int, image: str, tmp_path: Path) -> None:
    listens = 'trap "echo $BASHPID >got; exit 130" USR1; touch ready; while :; do sleep 0.05; done'
    process = subprocess.Popen(
        ["bash", LAUNCH / "slurm" / "pretrain.sbatch", *OPTIONS],
        cwd=tmp_path, env={**scene(tmp_path), "PROGRAM": listens, "SURGREC_IMAGE": image},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for((tmp_path / "ready").exists)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and (tmp_path / "got").exists(), said
    assert called(tmp_path, "scontrol requeue") == ["scontrol requeue 41007"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_to_all_processes_while_options_are_checked_puts_the_job_back(number: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["bash", LAUNCH / "slurm" / "pretrain.sbatch", *OPTIONS],
        cwd=tmp_path, env={**scene(tmp_path), "CHECK": "touch ready; sleep 30"}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_for((tmp_path / "ready").exists)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "asked to stop before it started; requeued" in said
    assert called(tmp_path, "scontrol requeue") == ["scontrol requeue 41007"] and called(tmp_path, "srun") == []


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "words"),
    [
        ((), {}, 2, "usage: sbatch"),
        (OPTIONS, {"CHECKED": "2"}, 2, ""),  # a mistake that the check before the start has told
        (OPTIONS, {"SLURM_GPUS_ON_NODE": "8"}, 2, "2 processes a node, but 8 GPUs"),
        (OPTIONS, {"SLURM_NTASKS": "3"}, 2, "3 processes do not make 2 nodes of 2"),
        (OPTIONS, {"SLURM_NTASKS_PER_NODE": ""}, 1, "--ntasks-per-node"),
        (OPTIONS, {"SURGREC_SITE": "nowhere.env"}, 1, "nowhere.env"),
    ],
)
def test_a_mistake_is_told_before_processes_are_started(
    arguments: tuple[str, ...], variables: Mapping[str, str], status: int, words: str, tmp_path: Path
) -> None:
    done = run("pretrain", tmp_path, *arguments, **variables)
    assert done.returncode == status and words in done.stderr, done.stderr
    assert called(tmp_path, "srun") == called(tmp_path, "scontrol requeue") == []


# -- containers, and the other jobs


def test_the_image_and_the_bare_interpreter_get_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "launch" / "slurm").mkdir(parents=True)
    (tmp_path / "launch" / "slurm" / "site.env").write_text(
        "export SURGREC_IMAGE=/images/surgrec.sif SURGREC_BIND=/data,/fast\n"
    )
    assert run("pretrain", tmp_path, *OPTIONS).returncode == 0
    command = [
        "apptainer",
        "exec",
        "--nv",
        "--bind",
        "/data,/fast",
        "/images/surgrec.sif",
        "python",
        "-m",
        "surgrec.train",
    ]
    command += [*OPTIONS, "runtime=ddp"]
    assert (tmp_path / "container").read_text().splitlines() == [
        *command,
        "--cfg",
        "job",
        *command,
    ]  # the check, the run
    assert (tmp_path / "arguments").read_text().splitlines() == command[command.index("-m") :]


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("extract", ("--model", "a release"), ["-m", "surgrec.extract", "--device", "cuda", "--threads", "3",
                                               "--shard", "3/16", "--model", "a release"]),
        ("speed", ("--profile",), ["benchmarks/speed.py", "--device", "cuda", "--profile"]),
        ("benchmark", ("name=it is",), ["-m", "surgrec.benchmark", "name=it is", "shard=3/16", "processes=1",
                                        "encoders.device=cuda"]),
        ("prepare", ("--short-side", "256"), ["-m", "surgrec.prepare", "--manifest", "a b.parquet", "--out", "copies",
                                              "--workers", "3", "--shard", "3/16", "--short-side", "256"]),
    ],
)  # fmt: skip
def test_the_other_jobs_are_their_commands(
    script: str, arguments: tuple[str, ...], words: list[str], tmp_path: Path
) -> None:
    done = run(script, tmp_path, *arguments, MANIFEST="a b.parquet", OUT="copies")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "arguments").read_text().splitlines() == words


def test_one_element_of_an_array_needs_to_know_how_many_there_are(tmp_path: Path) -> None:
    alone = {"MANIFEST": "m", "OUT": "o", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "3"}
    for script in ("prepare", "extract", "benchmark"):
        done = run(script, tmp_path, **alone)
        assert done.returncode == 2 and "SHARDS=16" in done.stderr
        assert run(script, tmp_path, **alone, SHARDS="16").returncode == 0
        assert (tmp_path / "arguments").read_text().count("3/16\n") == 1


# -- the benchmark


@pytest.mark.parametrize(
    ("program", "status", "is_requeued", "words"),
    [
        ("exit 0", 0, False, ""),
        ("exit 2", 2, False, "not requeued"),
        ("kill -TERM $$", 130, True, "stopped by a signal; requeued"),  # SLURM signals all of a job
        ("exit 1", 1, True, "crashed with status 1; requeued"),
        ("kill -KILL $$", 1, True, "crashed with status 137; requeued"),
    ],
)
def test_which_part_of_a_benchmark_is_requeued(
    program: str, status: int, is_requeued: bool, words: str, tmp_path: Path
) -> None:
    """The element alone: with the number of the job one of them would take the whole array along."""
    done = run("benchmark", tmp_path, *OPTIONS, PROGRAM=program)
    assert done.returncode == status and words in done.stderr, done.stderr
    assert called(tmp_path, "scontrol requeue") == (["scontrol requeue 41004_3"] if is_requeued else [])


def test_a_part_of_a_benchmark_that_slurm_ends_is_not_requeued(tmp_path: Path) -> None:
    for program in ("exit 1", "kill -TERM $$"):
        assert run("benchmark", tmp_path, *OPTIONS, PROGRAM=program, STATE="CANCELLED").returncode in (1, 130)
    assert called(tmp_path, "scontrol requeue") == []


def test_a_benchmark_that_makes_no_way_ends(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        done = run("benchmark", tmp_path, *OPTIONS, PROGRAM="exit 1", MAX_RESTARTS="2")
        assert len((tmp_path / "surgrec-41004_3.crashes").read_text().splitlines()) == count
    assert len(called(tmp_path, "scontrol requeue")) == 2 and "3 times" in done.stderr
    assert run("benchmark", tmp_path, *OPTIONS).returncode == 0 and not list(tmp_path.glob("*.crashes"))


@pytest.mark.parametrize(
    ("number", "words", "is_counted"),
    [(signal.SIGUSR1, "its time is over; requeued", True), (signal.SIGTERM, "stopped by a signal; requeued", False)],
)
@pytest.mark.parametrize("image", ["", "surgrec.sif"])
def test_a_signal_ends_the_benchmark_and_puts_its_part_back(
    number: int, words: str, is_counted: bool, image: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        ["bash", LAUNCH / "slurm" / "benchmark.sbatch", *OPTIONS],
        cwd=tmp_path, env={**scene(tmp_path), "PROGRAM": "touch ready; exec sleep 30", "SURGREC_IMAGE": image},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for((tmp_path / "ready").exists)
    process.send_signal(number)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130 and words in said, said
    assert called(tmp_path, "scontrol requeue") == ["scontrol requeue 41004_3"]
    assert bool(list(tmp_path.glob("*.crashes"))) == is_counted


def test_what_else_would_divide_the_work_of_an_array_is_refused(tmp_path: Path) -> None:
    for option in ("shard=0/2", "processes=4"):
        done = run("benchmark", tmp_path, *OPTIONS, option)
        assert done.returncode == 2 and "the array divides the work" in done.stderr
    assert not (tmp_path / "arguments").exists()


def test_a_benchmark_without_an_array_is_one_job(tmp_path: Path) -> None:
    options = (*OPTIONS, "processes=4", "encoders.device=cpu")
    assert run("benchmark", tmp_path, *options, SLURM_ARRAY_TASK_ID="", SLURM_ARRAY_JOB_ID="").returncode == 0
    assert (tmp_path / "arguments").read_text().splitlines() == ["-m", "surgrec.benchmark", *options]
    assert run("benchmark", tmp_path, SLURM_ARRAY_TASK_ID="", PROGRAM="exit 1").returncode == 1
    assert called(tmp_path, "scontrol requeue") == ["scontrol requeue 41007"]


def test_extraction_without_an_array_is_one_job(tmp_path: Path) -> None:
    assert run("extract", tmp_path, "--model", "release", SLURM_ARRAY_TASK_ID="").returncode == 0
    assert "--shard" not in (tmp_path / "arguments").read_text().splitlines()
