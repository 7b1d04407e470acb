"""A SLURM cluster of one node on loopback, in a folder of its own, for the time of some tests.

In: Debian's packages slurm-wlm and munge, and root. Out: a `Cluster` to submit jobs to and to look at them. It is its own file because it
knows SLURM and nothing of training.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_SECONDS = 600  # for what an idle machine does in ten
_DAEMONS = ("munged", "slurmctld", "slurmd")
_NUM_CPUS = 4

# `low` is preempted by `high`: its jobs go back into the queue. Jobs do not share CPUs, of which SLURM believes that there are four.
# A requeued job waits for as long as a credential lives (`cred_expire`); `KillWait` is how long one that is to end may take to save.
_SLURM_CONF = """
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=60
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname={host} CPUs={cpus} RealMemory=65536 Gres=gpu:{cpus} State=UNKNOWN
PartitionName=low Nodes=localhost Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=high Nodes=localhost PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
"""


def why_not_here() -> str | None:
    """What the cluster lacks on this machine; None where it can be started."""
    missing = [name for name in _DAEMONS if _program(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed: as root, apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "only root can start a SLURM cluster"


@dataclass
class Cluster:
    """Submits jobs and says how they are. `folder` holds its sockets and logs."""

    folder: Path
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """What a SLURM command prints; it must end well."""
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), **(env or {})},
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.said()}"
        return done.stdout.strip()

    def submit(
        self, script: Path, options: Sequence[str], arguments: Sequence[str], cwd: Path, env: Mapping[str, str]
    ) -> str:
        """The number of the new job."""
        return self.run("sbatch", "--parsable", *options, script, *arguments, cwd=cwd, env=env)

    def facts(self, job: str) -> dict[str, str]:
        """What `scontrol` shows of a job: JobState, Reason, Restarts, ExitCode, ..."""
        words = self.run("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETED, ..."""
        return self.facts(job)["JobState"]

    def num_restarts(self, job: str) -> int:
        """How often it went back into the queue."""
        return int(self.facts(job)["Restarts"])

    def wait(self, condition: Callable[[], object], said: Callable[[], str], seconds: float = PATIENCE_SECONDS) -> None:
        """Until the condition holds; else fails with what `said` tells."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{said()}\n{self.run('squeue', '--all')}\n{self.said()}"
            time.sleep(0.05)

    def said(self) -> str:
        """The ends of the daemons' logs."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"-- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)

    def cancel_all(self) -> None:
        """Leave no job behind."""
        self.run("scancel", "--user", "root")
        self.wait(lambda: not self.run("squeue", "--noheader"), lambda: "jobs do not end", seconds=120)

    def _start(self, name: str, *arguments: str | Path) -> None:
        program = _program(name)
        assert program is not None
        with (self.folder / f"{name}.said.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "TERM", program, *map(str, arguments)],  # with us, however we end
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")},
                    start_new_session=True,
                )
            )

    def _begin(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        ports = _free_ports(2)
        (self.folder / "slurm.conf").write_text(
            _SLURM_CONF.format(
                folder=self.folder,
                controller_port=ports[0],
                node_port=ports[1],
                host=socket.gethostname().split(".")[0],
                cpus=_NUM_CPUS,
            )
        )
        for number in range(_NUM_CPUS):  # GPUs in name alone: files in the place of devices
            (self.folder / f"gpu{number}").touch()
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-{_NUM_CPUS - 1}]\n")
        self._start(
            "munged", "--foreground", "--force", "--key-file", key, "--socket", self.folder / "munge.socket",
            "--pid-file", self.folder / "munged.pid", "--log-file", self.folder / "munged.log",
            "--seed-file", self.folder / "munged.seed",
        )  # fmt: skip
        self.wait((self.folder / "munge.socket").exists, lambda: "munged does not start", 60)  # tells by itself
        self._start("slurmctld", "-D", "-f", self.folder / "slurm.conf")
        self._start("slurmd", "-D", "-f", self.folder / "slurm.conf", "-N", "localhost")

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that is ready; its jobs, daemons and files are gone afterwards."""
    # Not below pytest's folder, whose path may be too long for a socket; others must be able to enter it, munge demands.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    one = Cluster(folder)
    try:
        one._begin()
        yield one
    finally:
        with suppress(AssertionError):  # of a cluster that did not come up
            one.cancel_all()
        one._end()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
