"""launch/slurm/ on a real SLURM: whatever happens to a job, its run ends as one that nothing disturbed.

The scripts are submitted as they are; what a site sets is set as its users do: in site.env, in the environment, with sbatch's options.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from surgrec.corpus.manifest import Manifest
from surgrec.evaluation.results import Results
from surgrec.evaluation.results_json import read_results
from tests.evaluation.running.tiny import numbers_of
from tests.training.cluster import PATIENCE_SECONDS, Cluster, cluster, why_not_here
from tests.training.tiny import ENVIRONMENT, REPOSITORY, assert_same_run, metrics_of, overrides

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SCRIPTS = REPOSITORY / "launch" / "slurm"
REQUEST = ("--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=1", "--mem-per-cpu=1G")
# Steps enough that a test can stop the processes between the first and the last.
NUM_STEPS = 16
LENGTH = (f"trainer.steps={NUM_STEPS}", "trainer.checkpoint_every=3", "runtime=ddp", "runtime.accelerator=cpu")
SITE = "".join(f'export {name}="{value}"\n' for name, value in {"PYTHON": sys.executable, **ENVIRONMENT}.items())


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """A cluster for the tests of this file."""
    if reason := why_not_here():
        pytest.skip(reason)
    with cluster() as one:
        yield one


@pytest.fixture
def place(slurm: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A folder to submit from, with a site's variables; no job outlives the test."""
    (tmp_path / "site.env").write_text(SITE)
    yield tmp_path
    slurm.cancel_all()


@dataclass(frozen=True)
class Job:
    """A job of pretrain.sbatch that trains the run `run` in `place`."""

    slurm: Cluster
    number: str
    place: Path

    @property
    def folder(self) -> Path:
        return self.place / "run"

    def said(self) -> str:
        """Its log, over all restarts, and SLURM's view."""
        log = "".join(file.read_text() for file in self.place.glob(f"*-{self.number}.log"))
        return f"{log}\n{self.slurm.run('scontrol', 'show', 'job', self.number)}"

    def wait(self, condition: Callable[[], object]) -> None:
        """Until the condition holds."""
        self.slurm.wait(condition, self.said)

    def wait_for(self, *states: str) -> None:
        """Until SLURM has it in one of these states and nothing of it runs."""
        self.wait(lambda: self.slurm.state(self.number) in states and not ranks_of(self.folder))

    def pause(self) -> dict[int, int]:
        """Rank to process, all stopped in the middle of the run."""
        self.wait(lambda: len(ranks_of(self.folder)) == 2)
        ranks = ranks_of(self.folder)
        metrics = self.folder / "metrics.jsonl"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 4):
            assert time.monotonic() < deadline and ranks_of(self.folder), self.said()
            time.sleep(0.002)
        for process in ranks.values():
            os.kill(process, signal.SIGSTOP)
        assert 4 <= len(metrics_of(self.folder)) < NUM_STEPS
        return ranks

    def resume_once_signalled(self, ranks: dict[int, int], number: signal.Signals) -> None:
        """Let stopped processes go on when the signal has reached one of them."""
        self.wait(lambda: any(was_signalled(process, number) for process in ranks.values()))
        resume(ranks)


def submit(slurm: Cluster, footage: Path, place: Path, *more: str, request: tuple[str, ...] = ()) -> Job:
    """Submit launch/slurm/pretrain.sbatch as it is."""
    arguments = overrides("mae", footage, place, "run", *LENGTH, *more)
    site = {"SURGREC_SITE": str(place / "site.env")}
    options = [*REQUEST, "--time=30", *request]
    return Job(slurm, slurm.submit(SCRIPTS / "pretrain.sbatch", options, arguments, place, site), place)


def processes_of(*words: str) -> list[int]:
    """Pythons whose command line has these words."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "python" in Path(command[0]).name and all(word in command for word in words):
            found.append(int(file.parent.name))
    return found


def ranks_of(folder: Path) -> dict[int, int]:
    """Rank to process, of a run folder."""
    ranks = {}
    for process in processes_of("surgrec.train", f"paths.runs={folder.parent}"):
        try:
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        ranks |= {int(text[5:]): process for text in variables if text.startswith(b"RANK=")}
    return ranks


def was_signalled(process: int, number: signal.Signals) -> bool:
    """Whether the signal waits for a stopped process, or SLURM has let it go on, which comes before signals, or it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return True
    status = dict(line.split(":", 1) for line in lines)
    return not status["State"].strip().startswith("T") or bool(int(status.get("ShdPnd", "0"), 16) >> (number - 1) & 1)


def resume(ranks: dict[int, int]) -> None:
    """Let stopped processes go on."""
    for process in ranks.values():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def assert_continued(job: Job, reference: Path, words: str) -> None:
    """It ends well after one restart, as the run that nothing disturbed."""
    job.wait_for("COMPLETED")
    facts = job.slurm.facts(job.number)
    said = job.said()
    assert (facts["Restarts"], facts["ExitCode"]) == ("1", "0:0"), f"{facts}\n{said[-6000:]}"
    assert words in said and said.count("restart 0:") == said.count("restart 1:") == 1
    assert_same_run(job.folder, reference)
    assert not list(job.place.glob("*.crashes"))


@pytest.fixture(scope="module")
def undisturbed(slurm: Cluster, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that a job of two tasks trained from the first step to the last."""
    place = tmp_path_factory.mktemp("undisturbed")
    (place / "site.env").write_text(SITE)
    job = submit(slurm, footage, place)
    job.wait_for("COMPLETED", "FAILED")
    facts = slurm.facts(job.number)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "0"), job.said()
    assert "2 processes on localhost" in job.said()
    return job.folder


def test_a_job_trains_to_the_end(undisturbed: Path) -> None:
    assert [line["step"] for line in metrics_of(undisturbed)] == list(range(1, NUM_STEPS + 1))


@pytest.mark.parametrize("grace_seconds", [0, 60])
def test_a_higher_job_preempts_it(
    grace_seconds: int, slurm: Cluster, footage: Path, undisturbed: Path, place: Path
) -> None:
    """Without a grace time SLURM ends and requeues it; with one, the script does before SLURM would."""
    slurm.run("scontrol", "update", "PartitionName=low", f"GraceTime={grace_seconds}")
    job = submit(slurm, footage, place)
    ranks = job.pause()
    higher = slurm.run("sbatch", "--parsable", "--partition=high", "--ntasks=4", "--output=none", "--wrap", "sleep 1")
    job.resume_once_signalled(ranks, signal.SIGTERM)
    assert_continued(job, undisturbed, "stopped by SIGTERM; saved")
    assert slurm.state(higher) == "COMPLETED"


def test_its_time_limit_is_near(slurm: Cluster, footage: Path, undisturbed: Path, place: Path) -> None:
    job = submit(slurm, footage, place)
    ranks = job.pause()
    slurm.run("scontrol", "update", f"JobId={job.number}", "TimeLimit=3")  # minutes; SLURM looks twice a minute
    job.resume_once_signalled(ranks, signal.SIGUSR1)
    slurm.run("scontrol", "update", f"JobId={job.number}", "TimeLimit=30")
    assert_continued(job, undisturbed, "stopped by SIGUSR1; saved")


def test_it_is_asked_to_save(slurm: Cluster, footage: Path, undisturbed: Path, place: Path) -> None:
    job = submit(slurm, footage, place)
    ranks = job.pause()
    slurm.run("scancel", "--signal=USR1", job.number)
    job.resume_once_signalled(ranks, signal.SIGUSR1)
    assert_continued(job, undisturbed, "stopped by SIGUSR1; saved")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_is_killed(rank: int, slurm: Cluster, footage: Path, undisturbed: Path, place: Path) -> None:
    """All end, long before the time limit, and the job comes back."""
    job = submit(slurm, footage, place)
    ranks = job.pause()
    os.kill(ranks[rank], signal.SIGKILL)
    resume({other: process for other, process in ranks.items() if other != rank})
    assert_continued(job, undisturbed, "crashed for the 1. time; requeued")


def test_a_job_that_was_cancelled_stays_so(slurm: Cluster, footage: Path, place: Path) -> None:
    job = submit(slurm, footage, place)
    ranks = job.pause()
    slurm.run("scancel", job.number)
    job.resume_once_signalled(ranks, signal.SIGTERM)
    job.wait_for("CANCELLED")
    assert slurm.num_restarts(job.number) == 0 and "requeued, continues" not in job.said()
    assert 4 <= len(metrics_of(job.folder)) < NUM_STEPS


@pytest.mark.parametrize("mistake", ["optim.lrr=1", "data.global_batch_size=7"])
def test_a_mistake_is_not_tried_again(mistake: str, slurm: Cluster, footage: Path, place: Path) -> None:
    """One that composing finds, before any process is started, and one that the processes find."""
    job = submit(slurm, footage, place, mistake)
    job.wait_for("FAILED")
    facts = slurm.facts(job.number)
    assert (facts["ExitCode"], facts["Restarts"]) == ("2:0", "0") and "error: " in job.said(), job.said()
    assert ("not requeued" in job.said()) == (mistake != "optim.lrr=1") and not job.folder.exists()


def test_an_array_prepares_a_corpus_and_what_failed_is_made_alone(slurm: Cluster, footage: Path, place: Path) -> None:
    def prepare(*options: str, **variables: str) -> str:
        variables |= {"MANIFEST": str(footage), "OUT": "copies", "SURGREC_SITE": str(place / "site.env")}
        return slurm.submit(
            SCRIPTS / "prepare.sbatch", ["--cpus-per-task=1", "--mem-per-cpu=1G", *options], [], place, variables
        )

    def said() -> str:
        return "\n".join(log.read_text() for log in place.glob("*.log"))

    whole = prepare("--array=0-2")
    slurm.wait(lambda: processes_of("surgrec.prepare", "1/3"), said)
    for process in processes_of("surgrec.prepare", "1/3"):
        os.kill(process, signal.SIGKILL)
    for element, state in enumerate(("COMPLETED", "FAILED", "COMPLETED")):
        slurm.wait(lambda element=element, state=state: slurm.state(f"{whole}_{element}") == state, said)
    assert not (place / "copies" / "manifest.parquet").exists()

    alone = prepare("--array=1", SHARDS="3")
    slurm.wait(lambda: slurm.state(f"{alone}_1") == "COMPLETED", said)
    copies, originals = Manifest.read([place / "copies" / "manifest.parquet"]), Manifest.read([footage])
    assert sorted(copies.video_ids) == sorted(originals.video_ids) and len(copies) == 6


# -- the benchmark

BENCHMARK = (
    "name=tiny",
    "tasks.synthesised=tiny",
    "tasks.only=[synthesised_phase,synthesised_phases]",
    "tasks.clip_seconds=0.6",
    "protocols.names=[knn,linear,frame_linear]",
    "encoders.device=cpu",
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """The folder of a corpus, and what one process finds on it."""
    folder = tmp_path_factory.mktemp("measured")
    command = [sys.executable, "-m", "surgrec.benchmark", *BENCHMARK]
    done = subprocess.run(command, cwd=folder, env=os.environ | ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "embedded", table_of(folder)


def table_of(folder: Path) -> Results:
    """Without what a clock says."""
    return replace(numbers_of(read_results(folder / "benchmark" / "tiny" / "results.json")), date="")


def submit_benchmark(slurm: Cluster, place: Path, *more: str) -> tuple[list[str], Callable[[], str]]:
    """The jobs of an array of two, which take all CPUs of the cluster, and what they say."""
    options = ["--array=0-1", "--cpus-per-task=2", "--mem-per-cpu=1G", "--time=30"]
    site = {"SURGREC_SITE": str(place / "site.env")}
    number = slurm.submit(SCRIPTS / "benchmark.sbatch", options, [*BENCHMARK, *more], place, site)
    return [f"{number}_0", f"{number}_1"], lambda: "\n".join(log.read_text() for log in place.glob("*.log"))


@pytest.mark.parametrize("grace_seconds", [0, 60])
def test_a_benchmark_in_parts_outlives_preemption(
    grace_seconds: int, slurm: Cluster, place: Path, measured: tuple[Path, Results]
) -> None:
    """Both parts are ended at work and come back; whichever is last writes what one process would have."""
    slurm.run("scontrol", "update", "PartitionName=low", f"GraceTime={grace_seconds}")
    jobs, said = submit_benchmark(slurm, place, f"paths.embedded={measured[0]}")
    parts = [f"shard={part}/2" for part in (0, 1)]
    slurm.wait(lambda: all(processes_of("surgrec.benchmark", part) for part in parts), said)
    working = [process for part in parts for process in processes_of("surgrec.benchmark", part)]
    for process in working:
        os.kill(process, signal.SIGSTOP)
    assert not (place / "benchmark" / "tiny" / "results.json").exists()
    higher = slurm.run("sbatch", "--parsable", "--partition=high", "--ntasks=4", "--output=none", "--wrap", "sleep 1")
    slurm.wait(lambda: all(was_signalled(process, signal.SIGTERM) for process in working), said)
    resume(dict(enumerate(working)))
    for job in jobs:
        slurm.wait(lambda job=job: slurm.state(job) == "COMPLETED", said)
        facts = slurm.facts(job)
        assert (facts["Restarts"], facts["ExitCode"]) == ("1", "0:0"), f"{facts}\n{said()}"
    assert slurm.state(higher) == "COMPLETED"
    assert table_of(place) == measured[1] and "report.html" in said()
    assert not list(place.glob("*.crashes"))


def test_a_part_of_a_benchmark_whose_time_is_over_comes_back_alone(slurm: Cluster, place: Path) -> None:
    """Each in turn, since one of them bears the number of the array; the program only waits, and after a restart ends."""
    program = place / "waits"
    program.write_text(
        "#!/usr/bin/env bash\nif ((SLURM_RESTART_COUNT)); then exit 0; fi\ntouch here_$SLURM_ARRAY_TASK_ID\nexec sleep 900\n"
    )
    program.chmod(0o755)
    (place / "site.env").write_text(f'export PYTHON="{program}"\n')
    jobs, said = submit_benchmark(slurm, place)
    slurm.wait(lambda: len(list(place.glob("here_*"))) == 2, said)
    for restarts, job in enumerate(jobs, 1):
        slurm.run("scancel", "--signal=USR1", "--batch", job)
        slurm.wait(lambda job=job: slurm.state(job) == "COMPLETED", said)
        assert [slurm.num_restarts(each) for each in jobs] == [1] * restarts + [0] * (2 - restarts), said()
    assert said().count("its time is over; requeued") == 2


def test_a_mistake_in_a_benchmark_is_not_tried_again(slurm: Cluster, place: Path) -> None:
    jobs, said = submit_benchmark(slurm, place, "protocols.nams=[knn]")
    for job in jobs:
        slurm.wait(lambda job=job: slurm.state(job) == "FAILED", said)
        facts = slurm.facts(job)
        assert (facts["ExitCode"], facts["Restarts"]) == ("2:0", "0"), said()
    assert said().count("did you mean protocols.names?") == 2


def test_a_sweep_is_a_job_for_each_value(slurm: Cluster, footage: Path, place: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install 'surgrec[slurm]'")
    launcher = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=low", "hydra.launcher.cpus_per_task=1")
    arguments = overrides("mae", footage, place, "lr${optim.lr}", "trainer.steps=2", "optim.lr=1e-3,2e-3")
    env = os.environ | ENVIRONMENT | {"SLURM_CONF": str(slurm.folder / "slurm.conf")}
    env["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), *sys.path])  # where this process finds the launcher
    done = subprocess.run(
        [sys.executable, "-m", "surgrec.train", "--multirun", *launcher, *arguments],
        env=env, cwd=place, capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for lr in ("0.001", "0.002"):
        assert [line["step"] for line in metrics_of(place / f"lr{lr}")] == [1, 2]
