"""What is done to a sweep through a cluster while it runs, each with what must come of it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.reliability.swept import DIRECT, LONGEST, ROOT, SERVER

_LONG = ("trainer.max_epochs=40",)  # seconds of training, so that a job can be met in it
_SLOW = (  # minutes of training, as Slurm takes half a minute to end a job
    *("trainer.max_epochs=150", "hydra.launcher.timeout_min=10"),
    "hydra.launcher.signal_delay_s=60",
)
_IMPORTING, _TRAINING = "Loading pickle", "train: epoch "


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is done to a sweep while it runs, and what it must say of it.

    Attributes:
        name: as `--only` has it.
        harm: done to the cluster in this folder, given the identities of the jobs that run.
        when: what the log of every running job must have before, and the seconds after that.
        said: a pattern of the sweep's words; empty: it must say nothing of it.
        words: on top of the sweep's own.
        kept: of those words, the ones with which it is typed again.
        whole: whether the first sweep must end with all of its trials.
        queued: whether a job that was hurt must have been queued again.
        equal: whether the results are compared with those of this machine alone.
        mend: done to the cluster in this folder when the sweep has ended, in the sweep's own.
        server: the one that must have the runs.
    """

    name: str
    harm: Callable[[Path, Sequence[str]], None]
    when: tuple[str, float] = (_IMPORTING, 8)
    said: str = ""
    words: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    whole: bool = True
    queued: bool = False
    equal: bool = False
    mend: Callable[[Path, Path], None] | None = None
    server: str = SERVER


def restarts(job: str) -> int:
    """How often Slurm has queued a job again."""
    asked = ("scontrol", "--oneliner", "show", "job", job)
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return max(map(int, re.findall(r"\bRestarts=(\d+)", told)), default=0)


def _until(what: Callable[[], bool]) -> None:
    """Wait for something of the cluster, within bounds."""
    end = time.monotonic() + LONGEST
    while not what():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not come true in {LONGEST} s")
        time.sleep(1)


def _script(*words: str | Path) -> None:
    subprocess.run([ROOT / "scripts" / "cluster.sh", *words], check=True)


def _killed(_: Path, jobs: Sequence[str]) -> None:
    subprocess.run(["scancel", "--signal=KILL", jobs[0]], check=True)


def _cancelled(_: Path, jobs: Sequence[str]) -> None:
    subprocess.run(["scancel", jobs[0]], check=True)


def _signalled(_: Path, jobs: Sequence[str]) -> None:
    """As Slurm tells a job that it is preempted."""
    for name in ("TERM", "USR2"):
        subprocess.run(["scancel", f"--signal={name}", jobs[0]], check=True)


def _urgent(place: Path, _: Sequence[str]) -> None:
    """A job of a partition that comes first wants both nodes."""
    wants = ("--partition=urgent", "--nodes=2", "--exclusive", f"--output={place}/urgent.log")
    subprocess.run(["sbatch", *wants, "--wrap=sleep 5"], check=True)


def _limited(_: Path, jobs: Sequence[str]) -> None:
    """The limit of time comes now; queued again the job has more."""
    subprocess.run(["scontrol", "update", f"job={jobs[0]}", "TimeLimit=1"], check=True)
    _until(lambda: restarts(jobs[0]) > 0)
    subprocess.run(["scontrol", "update", f"job={jobs[0]}", "TimeLimit=10"], check=True)


def _ended_by_limit(_: Path, jobs: Sequence[str]) -> None:
    subprocess.run(["scontrol", "update", f"job={jobs[0]}", "TimeLimit=1"], check=True)


def _node(place: Path, _: Sequence[str]) -> None:
    """A node dies with all that runs there, and is started again once Slurm has noticed."""
    asked = ("squeue", "--noheader", "--nodelist=one", "--Format=JobID")
    job = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[0]
    os.kill(int((place / "slurm" / "slurmd.one.pid").read_text()), signal.SIGKILL)
    for step in _named(f"slurmstepd: [{job}."):
        for pid in (step, *_below(step)):
            os.kill(pid, signal.SIGKILL)
    _until(lambda: restarts(job) > 0)
    _script("node", place, "one")


def _named(title: str) -> list[int]:
    """The processes whose titles begin so."""
    lines = {path.parent: path for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [int(at.name) for at, path in lines.items() if path.read_text().startswith(title)]


def _below(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(one) for path in tasks for one in path.read_text().split()]
    return found + [below for one in found for below in _below(one)]


def _nothing(_: Path, __: Sequence[str]) -> None:
    pass


def _controller(place: Path, _: Sequence[str]) -> None:
    pid = int((place / "slurm" / "slurmctld.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    time.sleep(10)
    subprocess.run(["slurmctld"], check=True)


def _database(place: Path, _: Sequence[str]) -> None:
    for what in ("stop", "start"):
        _script("database", place, what)
        time.sleep(5)


def _server(place: Path, _: Sequence[str]) -> None:
    _script("server", place)


def _without_store(place: Path, _: Sequence[str]) -> None:
    _script("store", place, "stop")


def _sent(place: Path, folder: Path) -> None:
    """The store is there again; what was kept for its server is sent, and a page made of it."""
    _script("store", place, "start")
    for words in (
        ("sync",),
        ("report", "--uri", SERVER, "--filter", f"tags.study='{folder.name}'"),
    ):
        subprocess.run(
            [sys.executable, "-m", "xai_exp", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )


FAULTS = (
    Fault(name="none", harm=_nothing, equal=True),
    Fault(name="a job killed (SIGKILL)", harm=_killed, said="Slurm: job .* ended as", whole=False),
    Fault(
        name="a job cancelled",  # it has half a minute more, as Slurm's KillWait says
        harm=_cancelled,
        said="ended as CANCELLED",
        words=_SLOW,
        kept=_SLOW,
        whole=False,
    ),
    Fault(
        name="jobs out of memory",
        harm=_nothing,
        said="Slurm: job .* ended as",
        words=("hydra.launcher.mem_gb=null", "+hydra.launcher.additional_parameters.mem=200M"),
        whole=False,
    ),
    Fault(
        name="a job told of preemption while it imports",
        harm=_signalled,
        when=(_IMPORTING, 0),
        queued=True,
        equal=True,
    ),
    Fault(
        name="a job told of preemption while it trains",
        harm=_signalled,
        when=(_TRAINING, 0),
        words=_LONG,
        queued=True,
        equal=True,
    ),
    Fault(
        name="jobs preempted by Slurm for an urgent one",
        harm=_urgent,
        when=(_IMPORTING, 0),
        words=_LONG,
        queued=True,
        equal=True,
    ),
    Fault(
        name="a job at its limit of time",
        harm=_limited,
        when=(_TRAINING, 0),
        words=_SLOW,
        queued=True,
        equal=True,
    ),
    Fault(
        name="a job at its limit of time, max_num_timeout=0",
        harm=_ended_by_limit,
        when=(_TRAINING, 0),
        said="timed-out too many times",
        words=(*_SLOW, "hydra.launcher.max_num_timeout=0"),
        kept=_SLOW,
        whole=False,
    ),
    Fault(name="a node lost, started again", harm=_node, queued=True, equal=True),
    Fault(name="Slurm's controller killed, started again", harm=_controller),
    # A job that begins while nobody answers says so and ends; a later one finds all there.
    Fault(name="PostgreSQL stopped, started again", harm=_database, whole=False),
    Fault(name="MLflow's server killed, started again", harm=_server, whole=False),
    Fault(
        name="the S3 store killed, started again after the sweep, synced",
        harm=_without_store,
        equal=True,
        mend=_sent,
    ),
    Fault(
        name="none, jobs reach the S3 store themselves",
        harm=_nothing,
        words=(f"tracking.uri={DIRECT}",),
        kept=(f"tracking.uri={DIRECT}",),
        equal=True,
        server=DIRECT,
    ),
)
