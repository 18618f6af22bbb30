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
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.reliability.faults import FAULTS, Fault, restarts
from scripts.reliability.swept import DATABASE, FILES, NETWORKS, SERVER, Sweep, apart, left

_RUN = (
    *("sweep=seeds", "hydra.sweeper.trials=2", "hydra.sweeper.n_jobs=2"),
    *("objective=gradient/sparseness", f"hydra.sweeper.storage={DATABASE}"),
    *("hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=3"),
    *("hydra.launcher.timeout_min=20", f"tracking.uri={SERVER}"),
)
_STORE = {  # for clients that reach the store themselves; it asks for no password, they do
    "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{FILES}",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_TOLD = re.compile(r"^trial \d+: .* -> (.*)$", re.MULTILINE)


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
    own = (*_RUN, *NETWORKS, *fault.words, f"study={study}", seeds)
    start = time.monotonic()
    sweep = Sweep(own, folder / "first")
    jobs = sweep.jobs(*fault.when)
    fault.harm(place, jobs)
    _, said = sweep.ended()
    seconds = time.monotonic() - start
    queued = sum(restarts(job) > 0 for job in jobs)
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
    wrong += left(study, fault.server)
    if fault.equal:
        words = (*NETWORKS, *(word for word in fault.words if word.startswith("trainer.")))
        wrong += apart(study, fault.server, (*words, seeds), folder)
    row = {"fault": fault.name, "seconds": round(seconds), "failed and said": len(failed)}
    row |= {"jobs hurt": len(jobs), "queued again": queued, "compared": fault.equal}
    return row | {"nodes": 2, "files": "S3", "wrong": wrong}


if __name__ == "__main__":
    sys.exit(main())
