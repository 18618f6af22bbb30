"""Sweeps through Slurm, PostgreSQL and an MLflow server, hurt on the way: `make test-cluster`.

`scripts/cluster.sh` starts them on this machine. Each fault meets a sweep of two networks under a
name of its own; what failed is said, is run again when the sweep is typed again, and all must be
there once.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import optuna

ROOT = Path(__file__).resolve().parents[2]
SERVER, DATABASE = "http://127.0.0.1:15000", "postgresql+psycopg2://xai@127.0.0.1:15432/sweep"
_RUN = (
    *("sweep=seeds", "hydra.sweeper.trials=2", "hydra.sweeper.n_jobs=2", "dataset=digits"),
    *("explainer=gradient", "metric=sparseness", "images=4", "trainer.max_epochs=2"),
    *("model.depth=1", "model.hidden=4", "trainer.target_accuracy=1", "least_accuracy=0"),
    *("objective=gradient/sparseness", f"hydra.sweeper.storage={DATABASE}"),
    *("hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=3"),
    *("hydra.launcher.timeout_min=20", f"tracking.uri={SERVER}", "tracking.figures=false"),
)
_TOLD = re.compile(r"^trial \d+: .* -> (.*)$", re.MULTILINE)
_LONGEST = 900  # seconds that any sweep may take: nothing is waited for without end


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is done to a sweep while it runs, and what it must say of it.

    Attributes:
        harm: done to the cluster in this folder, given the identities of the jobs that run.
        said: a pattern of the sweep's words; empty: it must say nothing of it.
        words: on top of the sweep's own.
        whole: whether the first sweep must end with all of its trials.
    """

    name: str
    harm: Callable[[Path, Sequence[str]], None]
    said: str = ""
    words: tuple[str, ...] = ()
    whole: bool = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Hurt them all; exit code 1 if anything was lost, doubled or waited for too long."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path, help="where scripts/cluster.sh started it")
    words.add_argument("--only", nargs="+", choices=[fault.name for fault in FAULTS])
    words.add_argument("--out", type=Path, help="a JSON file for the numbers")
    given = words.parse_args(arguments)
    place = given.folder.resolve()
    os.environ["SLURM_CONF"] = str(place / "slurm" / "slurm.conf")
    rows = []
    for number, fault in enumerate(FAULTS):
        if fault.name in (given.only or [fault.name]):
            rows.append(tried(fault, place, number))
            print(json.dumps(rows[-1]), flush=True)
            if given.out:
                given.out.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["wrong"] for row in rows))


def tried(fault: Fault, place: Path, number: int) -> dict[str, Any]:
    """One sweep with one fault, typed again: what came of it."""
    study = f"cluster{number}_{int(time.time())}"
    folder = place / "work" / study
    seed = 1000 * int(time.time() % 100_000)  # networks that no sweep before has trained
    own = (*_RUN, *fault.words, f"study={study}", f"seed={seed},{seed + 1}")
    start = time.monotonic()
    sweep = Sweep(own, folder / "first")
    jobs = sweep.jobs()
    fault.harm(place, jobs)
    _, said = sweep.ended()
    seconds = time.monotonic() - start
    wrong = [] if re.search(fault.said, said) else [f"said nothing of it: {said[-600:]}"]
    failed = [one for one in _TOLD.findall(said) if not re.fullmatch(r"[-\d.e]+", one)]
    if fault.whole and failed:
        wrong.append(f"failed: {failed}")
    if failed:
        kept = [word for word in own if word not in fault.words]
        code, said = Sweep((*kept, "hydra.sweeper.retry_failed=true"), folder / "again").ended()
        wrong += [] if code == 0 else [f"typed again it ends with {code}: {said[-600:]}"]
    wrong += _left(study)
    row = {"fault": fault.name, "seconds": round(seconds), "failed and said": len(failed)}
    return row | {"jobs hurt": len(jobs), "wrong": wrong}


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

    def jobs(self) -> list[str]:
        """The identities of its jobs, once one of them runs its Python."""
        asked = ("squeue", "--noheader", "--states=RUNNING", "--Format=ArrayJobID,ArrayTaskID")
        while self.process.poll() is None:
            told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
            running = ["_".join(line.split()) for line in told.splitlines()]
            if running and all(self._begun(one) for one in running):
                time.sleep(_INTO)
                return running
            time.sleep(1)
        raise RuntimeError(self.said.read_text()[-2000:])

    def _begun(self, job: str) -> bool:
        logs = self.said.parent.parent.rglob(f"{job}_*log.*")
        return any("Loading pickle" in one.read_text() for one in logs)

    def ended(self) -> tuple[int, str]:
        """Its exit code and its words, within bounds."""
        code = self.process.wait(_LONGEST)
        return code, self.said.read_text()


def _left(study: str) -> list[str]:
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
    client = mlflow.MlflowClient(SERVER)
    places = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(places, f"tags.study = '{study}'", max_results=1000)
    keys = [one.data.tags.get("explain_key") or one.data.tags.get("model_key") for one in runs]
    kinds = Counter(f"{one.data.tags.get('kind')} {one.info.status}" for one in runs)
    doubled = [key for key, times in Counter(filter(None, keys)).items() if times > 1]
    if doubled or any(not kind.endswith("FINISHED") for kind in kinds) or len(set(keys)) < 4:
        wrong.append(f"runs {dict(kinds)}, {len(doubled)} keys doubled, {len(set(keys))} keys")
    return wrong


def _killed(_: Path, jobs: Sequence[str]) -> None:
    subprocess.run(["scancel", "--signal=KILL", jobs[0]], check=True)


def _cancelled(_: Path, jobs: Sequence[str]) -> None:
    subprocess.run(["scancel", jobs[0]], check=True)


def _preempted(_: Path, jobs: Sequence[str]) -> None:
    subprocess.run(["scancel", "--signal=USR2", jobs[0]], check=True)


def _nothing(_: Path, __: Sequence[str]) -> None:
    pass


def _controller(place: Path, _: Sequence[str]) -> None:
    pid = int((place / "slurm" / "slurmctld.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    time.sleep(10)
    subprocess.run(["slurmctld"], check=True)


def _database(place: Path, _: Sequence[str]) -> None:
    for what in ("stop", "start"):
        subprocess.run([ROOT / "scripts" / "cluster.sh", "database", place, what], check=True)
        time.sleep(5)


def _server(place: Path, _: Sequence[str]) -> None:
    subprocess.run([ROOT / "scripts" / "cluster.sh", "server", place], check=True)


_INTO = 8  # seconds that a job runs before it is hurt
FAULTS = (
    Fault(name="none", harm=_nothing),
    Fault(name="a job killed (SIGKILL)", harm=_killed, said="Slurm: job .* ended as", whole=False),
    Fault(name="a job cancelled", harm=_cancelled, said="ended as CANCELLED", whole=False),
    Fault(
        name="jobs out of memory",
        harm=_nothing,
        said="Slurm: job .* ended as",
        words=("hydra.launcher.mem_gb=null", "+hydra.launcher.additional_parameters.mem=200M"),
        whole=False,
    ),
    Fault(name="a job preempted", harm=_preempted),
    Fault(name="Slurm's controller killed, started again", harm=_controller),
    # A job that begins while nobody answers says so and ends; a later one finds all there.
    Fault(name="PostgreSQL stopped, started again", harm=_database, whole=False),
    Fault(name="MLflow's server killed, started again", harm=_server, whole=False),
)


if __name__ == "__main__":
    sys.exit(main())
