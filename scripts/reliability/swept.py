"""A sweep through a cluster, and what it has left there."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import optuna

from scripts.reliability.chaos import contents

ROOT = Path(__file__).resolve().parents[2]
_PORTS = {"MLFLOW_PORT": 15000, "DATABASE_PORT": 15432, "STORE_PORT": 18333}
_MLFLOW, _DATABASE, FILES = (int(os.environ.get(name, port)) for name, port in _PORTS.items())
SERVER, DIRECT = f"http://127.0.0.1:{_MLFLOW}", f"http://127.0.0.1:{_MLFLOW + 1}"
DATABASE = f"postgresql+psycopg2://xai@127.0.0.1:{_DATABASE}/sweep"
NETWORKS = (
    *("dataset=digits", "explainer=gradient", "metric=sparseness", "images=4", "least_accuracy=0"),
    *("trainer.max_epochs=2", "trainer.target_accuracy=1", "model.depth=1", "model.hidden=16"),
    "tracking.figures=false",
)
LONGEST = 900  # seconds that any sweep may take: nothing is waited for without end


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
        code = self.process.wait(LONGEST)
        return code, self.said.read_text()


def left(study: str, server: str) -> list[str]:
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


def apart(study: str, server: str, words: Sequence[str], folder: Path) -> list[str]:
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
