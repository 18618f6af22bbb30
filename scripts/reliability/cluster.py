"""Sweeps through Slurm, PostgreSQL, MLflow and an S3-compatible store, hurt: `make test-cluster`.

`scripts/cluster.sh` starts them on this machine. Each fault meets a sweep of two networks under a
name of its own; what failed is said, is run again when the sweep is typed again, and all must be
there once. Where it is said, both networks are trained and explained once more on this machine
alone, and the heatmaps and scores that the store has must be equal to those bit for bit.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import optuna

from scripts.reliability.chaos import contents

ROOT = Path(__file__).resolve().parents[2]
_PORTS = {"MLFLOW_PORT": 15000, "DATABASE_PORT": 15432, "STORE_PORT": 18333}
_MLFLOW, _DATABASE, _FILES = (int(os.environ.get(name, port)) for name, port in _PORTS.items())
SERVER, DIRECT = f"http://127.0.0.1:{_MLFLOW}", f"http://127.0.0.1:{_MLFLOW + 1}"
DATABASE = f"postgresql+psycopg2://xai@127.0.0.1:{_DATABASE}/sweep"
_NETWORKS = (
    *("dataset=digits", "explainer=gradient", "metric=sparseness", "images=4", "least_accuracy=0"),
    *("trainer.max_epochs=2", "trainer.target_accuracy=1", "model.depth=1", "model.hidden=4"),
    "tracking.figures=false",
)
_RUN = (
    *("sweep=seeds", "hydra.sweeper.trials=2", "hydra.sweeper.n_jobs=2"),
    *("objective=gradient/sparseness", f"hydra.sweeper.storage={DATABASE}"),
    *("hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=3"),
    *("hydra.launcher.timeout_min=20", f"tracking.uri={SERVER}"),
)
_STORE = {  # for clients that reach the store themselves; it asks for no password, they do
    "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{_FILES}",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_LONG = ("trainer.max_epochs=40",)  # seconds of training, so that a job can be met in it
_SLOW = (  # minutes of training, as Slurm takes half a minute to end a job
    *("trainer.max_epochs=150", "hydra.launcher.timeout_min=10"),
    "hydra.launcher.signal_delay_s=60",
)
_IMPORTING, _TRAINING = "Loading pickle", "train: epoch "
_TOLD = re.compile(r"^trial \d+: .* -> (.*)$", re.MULTILINE)
_LONGEST = 900  # seconds that any sweep may take: nothing is waited for without end


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is done to a sweep while it runs, and what it must say of it.

    Attributes:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Hurt them all; exit code 1 if anything was lost, doubled or waited for too long."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path, help="where scripts/cluster.sh started it")
    words.add_argument("--only", nargs="+", choices=[fault.name for fault in FAULTS])
    words.add_argument("--out", type=Path, help="a JSON file for the numbers")
    given = words.parse_args(arguments)
    place = given.folder.resolve()
    os.environ.update(_STORE, SLURM_CONF=str(place / "slurm" / "slurm.conf"))
    rows = {}
    if given.only and given.out and given.out.is_file():  # the others are as they were
        rows = {row["fault"]: row for row in json.loads(given.out.read_text())}
    names = [fault.name for fault in FAULTS if fault.name in (given.only or [fault.name])]
    for number, fault in enumerate(FAULTS):
        if fault.name in names:
            rows[fault.name] = tried(fault, place, number)
            print(json.dumps(rows[fault.name]), flush=True)
            if given.out:
                known = [rows[one.name] for one in FAULTS if one.name in rows]
                given.out.write_text(json.dumps(known, indent=1) + "\n")
    return int(any(rows[name]["wrong"] for name in names))


def tried(fault: Fault, place: Path, number: int) -> dict[str, Any]:
    """One sweep with one fault, typed again: what came of it."""
    study = f"cluster{number}_{int(time.time())}"
    folder = place / "work" / study
    seed = 1000 * int(time.time() % 100_000)  # networks that no sweep before has trained
    seeds = f"seed={seed},{seed + 1}"
    own = (*_RUN, *_NETWORKS, *fault.words, f"study={study}", seeds)
    start = time.monotonic()
    sweep = Sweep(own, folder / "first")
    jobs = sweep.jobs(*fault.when)
    fault.harm(place, jobs)
    _, said = sweep.ended()
    seconds = time.monotonic() - start
    queued = sum(_restarts(job) > 0 for job in jobs)
    wrong = [] if re.search(fault.said, said) else [f"said nothing of it: {said[-600:]}"]
    failed = [one for one in _TOLD.findall(said) if not re.fullmatch(r"[-\d.e]+", one)]
    if fault.queued and not queued:
        wrong.append("no job was queued again")
    if fault.whole and failed:
        wrong.append(f"failed: {failed}")
    if fault.mend:
        fault.mend(place, folder)
    if failed:
        kept = [word for word in own if word not in fault.words or word in fault.kept]
        code, said = Sweep((*kept, "hydra.sweeper.retry_failed=true"), folder / "again").ended()
        wrong += [] if code == 0 else [f"typed again it ends with {code}: {said[-600:]}"]
    wrong += _left(study, fault.server)
    if fault.equal:
        words = (*_NETWORKS, *(word for word in fault.words if word.startswith("trainer.")))
        wrong += _apart(study, fault.server, (*words, seeds), folder)
    row = {"fault": fault.name, "seconds": round(seconds), "failed and said": len(failed)}
    row |= {"jobs hurt": len(jobs), "queued again": queued, "compared": fault.equal}
    return row | {"nodes": 2, "files": "S3", "wrong": wrong}


class Sweep:
    """A sweep in a process of its own; the folder of its store is the one above."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True)
        settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "400"}
        self.said = folder / "said"
        with self.said.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "xai_exp", *words],
                cwd=folder.parent,
                env=settings,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def jobs(self, sign: str, seconds: float) -> list[str]:
        """The identities of its running jobs, so long after the logs of all have this sign."""
        asked = ("squeue", "--noheader", "--states=RUNNING", "--Format=ArrayJobID,ArrayTaskID")
        while self.process.poll() is None:
            told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
            running = ["_".join(line.split()) for line in told.splitlines()]
            if running and all(self._has(one, sign) for one in running):
                time.sleep(seconds)
                return running
            time.sleep(0.2)
        raise RuntimeError(self.said.read_text()[-2000:])

    def _has(self, job: str, sign: str) -> bool:
        logs = self.said.parent.parent.rglob(f"{job}_*log.*")
        return any(sign in one.read_text() for one in logs)

    def ended(self) -> tuple[int, str]:
        """Its exit code and its words, within bounds."""
        code = self.process.wait(_LONGEST)
        return code, self.said.read_text()


def _left(study: str, server: str) -> list[str]:
    """What is missing, doubled or unfinished of a sweep of two networks."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = optuna.load_study(study_name=study, storage=DATABASE).trials
    states = Counter(one.state.name for one in trials)
    seeds = [one.params["seed"] for one in trials if one.state.name == "COMPLETE"]
    wrong = (
        [] if len(seeds) == len(set(seeds)) == 2 else [f"trials {dict(states)} of seeds {seeds}"]
    )
    if states["RUNNING"] or states["WAITING"]:
        wrong.append(f"trials {dict(states)}")
    runs = _runs(mlflow.MlflowClient(server), f"tags.study = '{study}'")
    keys = [one.data.tags.get("explain_key") or one.data.tags.get("model_key") for one in runs]
    kinds = Counter(f"{one.data.tags.get('kind')} {one.info.status}" for one in runs)
    doubled = [key for key, times in Counter(filter(None, keys)).items() if times > 1]
    if doubled or any(not kind.endswith("FINISHED") for kind in kinds) or len(set(keys)) < 4:
        wrong.append(f"runs {dict(kinds)}, {len(doubled)} keys doubled, {len(set(keys))} keys")
    return wrong


def _runs(client: mlflow.MlflowClient, wanted: str) -> list[Any]:
    places = [one.experiment_id for one in client.search_experiments()]
    return list(client.search_runs(places, wanted, max_results=1000))


def _apart(study: str, server: str, words: Sequence[str], folder: Path) -> list[str]:
    """What differs between a server's results and those of this machine alone, by key."""
    alone = folder / "alone"
    words = (*words, "-m", "hydra/sweeper=basic", "hydra/launcher=basic")
    code, said = Sweep(words, alone / "run").ended()
    if code:
        return [f"alone it ends with {code}: {said[-600:]}"]
    there = _contents(mlflow.MlflowClient(server), f"tags.study = '{study}'")
    here = _contents(mlflow.MlflowClient(f"sqlite:///{alone / 'mlruns' / 'mlflow.db'}"), "")
    differing = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    return [f"not equal to this machine's: {differing}"] if differing or len(there) < 2 else []


def _contents(client: mlflow.MlflowClient, wanted: str) -> dict[str, list[str]]:
    """Digests of heatmaps and scores, by key."""
    found = {}
    for run in _runs(client, wanted):
        if key := run.data.tags.get("explain_key"):
            with tempfile.TemporaryDirectory() as folder:
                client.download_artifacts(run.info.run_id, "", folder)
                found[key] = contents(Path(folder))
    return found


def _restarts(job: str) -> int:
    """How often Slurm has queued a job again."""
    asked = ("scontrol", "--oneliner", "show", "job", job)
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return max(map(int, re.findall(r"\bRestarts=(\d+)", told)), default=0)


def _until(what: Callable[[], bool]) -> None:
    """Wait for something of the cluster, within bounds."""
    end = time.monotonic() + _LONGEST
    while not what():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not come true in {_LONGEST} s")
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
    _until(lambda: _restarts(jobs[0]) > 0)
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
    _until(lambda: _restarts(job) > 0)
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


if __name__ == "__main__":
    sys.exit(main())
