"""Kill commands at random moments, go on, and compare with what was not killed: `make chaos`.

Each command is killed (SIGKILL) at a seeded random moment of its duration and typed again. Equal
bit for bit must be the weights, every heatmap and every score; each key has one run; nothing is
RUNNING or PENDING; what half-written files are left, the doctor finds and mends.
"""

import argparse
import hashlib
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import torch

from scripts.reliability.forks import ended, prepared

TINY = (
    *("dataset=digits", "metric=[sparseness,pixel_flipping]", "images=4", "trainer.max_epochs=2"),
    *("model.width=2", "model.depth=1", "model.hidden=4", "trainer.target_accuracy=1"),
)
_REPORT = "+hydra.callbacks.report={_target_: xai_exp.studies.callbacks.Report, title: x}"
_TRIALS = ("sweep=seeds", "hydra.sweeper.trials=2")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "train and explain": (*TINY, "explainer=[deeplift,rise,sobel]"),
    "study and its page": (*TINY, "explainer=[gradient,sobel]", "study=mine", _REPORT),
    "sweep": (*_TRIALS, *TINY, "explainer=[gradient,sobel]", "objective=gradient/sparseness"),
    "report": ("report", "--name", "page"),
    "sync": ("sync", "--uri", "sqlite:///server/mlflow.db"),
}
_SERVER = "from xai_exp.tracking import MLflow; MLflow(root='server').store()"
_AGAIN = 3  # the most starts that finishing what was killed may take


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, go on, compare; exit code 1 if anything was lost."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--kills", type=int, default=200, help="how often, over all commands")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", choices=list(COMMANDS), help="this command alone")
    words.add_argument("--out", type=Path, help="a JSON file for the numbers")
    given = words.parse_args(arguments)
    prepared()
    names = [given.only] if given.only else list(COMMANDS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for place, name in enumerate(names):
            kills = given.kills // len(names) + (place < given.kills % len(names))
            rows.append(attacked(name, Path(folder) / str(place), kills, given.seed))
            print(json.dumps(rows[-1]), flush=True)
            if given.out:  # what is known so far, as all of it may take hours
                told = {"seed": given.seed, "commands": rows}
                given.out.write_text(json.dumps(told, indent=1) + "\n")
    return int(any(row["lost"] for row in rows))


def attacked(name: str, place: Path, kills: int, seed: int) -> dict[str, Any]:
    """One command, killed so often: what came of it."""
    (place / "before").mkdir(parents=True)
    if name in ("report", "sync"):
        done = ended((*TINY, "explainer=[gradient,sobel]"), place / "before")
        assert done.code == 0, done.err
    if name == "sync":
        _unsent(place / "before")
    _copied(place / "before", place / "whole")
    whole = ended(COMMANDS[name], place / "whole")
    assert whole.code == 0, whole.err
    expected, drawn = state(place / "whole"), random.Random(f"{seed} {name}")
    row: dict[str, Any] = {"command": name, "seconds": round(whole.seconds, 1), "kills": 0}
    row |= {"ended before": 0, "equal": 0, "mended": 0, "lost": []}
    for number in range(kills):
        moment = drawn.random() * whole.seconds
        folder = place / f"kill{number}"
        _copied(place / "before", folder)
        killed = ended(COMMANDS[name], folder, kill_after=moment)
        row["kills" if killed.code == -9 else "ended before"] += 1
        lost, mended = resumed(COMMANDS[name], folder, expected)
        row["mended"] += mended
        row["equal"] += not lost
        row["lost"] += [f"killed after {moment:.2f} s: {one}" for one in lost]
        shutil.rmtree(folder)
    return row


def _unsent(folder: Path) -> None:
    """As if a server had gone away before it had any of the runs; it has lost all that it had."""
    subprocess.run([sys.executable, "-c", _SERVER], cwd=folder, check=True)
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as there:
        marked = "SELECT 'unsent_to', 'http://127.0.0.1:9', run_uuid FROM runs"
        there.execute(f"INSERT INTO tags (key, value, run_uuid) {marked}")
        there.commit()


def _copied(before: Path, folder: Path) -> None:
    """A folder of the same contents, whose server keeps its files there."""
    shutil.copytree(before, folder)
    if (folder / "server").is_dir():
        with closing(sqlite3.connect(folder / "server" / "mlflow.db")) as there:
            moved = "artifact_location = replace(artifact_location, ?, ?)"
            there.execute(f"UPDATE experiments SET {moved}", (str(before), str(folder)))
            there.commit()


def resumed(
    command: Sequence[str], folder: Path, expected: Mapping[str, Any]
) -> tuple[list[str], int]:
    """Type the command again: what differs then from the expected, and what the doctor mended."""
    again = ended(command, folder)
    if again.code:
        return [f"exit code {again.code}: {again.err[-300:]}"], 0
    doctor = ended(("doctor", "--mend"), folder)
    mended = doctor.out.count("mended: ")
    clean = ended(("doctor",), folder)
    faults = [clean.out + clean.err] if clean.code else []
    found = state(folder)
    keys = sorted({*expected, *found})
    differing = [key for key in keys if expected.get(key) != found.get(key)]
    return [*faults, *(f"{key} differs" for key in differing)], mended


def state(folder: Path) -> dict[str, Any]:
    """What a store holds, as digests by name, and what is unfinished."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "mlruns" / "models").glob("*/model.pt")):
        weights = torch.load(path, map_location="cpu", weights_only=True)
        found[f"weights {path.parent.name}"] = _digest(
            *(weights[name].numpy().tobytes() for name in sorted(weights))
        )
    found |= _runs(folder / "mlruns" / "mlflow.db")
    if (folder / "server").is_dir():
        server = _runs(folder / "server" / "mlflow.db")
        found |= {f"server's {name}": one for name, one in server.items()}
        waiting = "SELECT count(*) FROM tags WHERE key = 'unsent_to'"
        found["not sent"] = _rows(folder / "mlruns" / "mlflow.db", waiting)
    trials = folder / "mlruns" / "optuna.db"
    if trials.is_file():
        # A trial that was killed stays as one that failed, and is run again under another number.
        states = "SELECT state, count(*) FROM trials WHERE state <> 'FAIL' GROUP BY state"
        values = "SELECT objective, value FROM trial_values ORDER BY 1, 2"
        found["trials"] = _rows(trials, states)
        found["trials' values"] = _rows(trials, values)
    for path in sorted((folder / "reports").glob("*.html")):
        found[f"page {path.name}"] = path.read_text().rstrip().endswith("</html>")
    return found


def _runs(database: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    places = "SELECT run_uuid, status, artifact_uri FROM runs WHERE lifecycle_stage = 'active'"
    for run, status, place in _rows(database, places):
        tags = dict(_rows(database, f"SELECT key, value FROM tags WHERE run_uuid = '{run}'"))
        kind = tags.get("type", "?")
        key = tags.get({"train": "model_key", "explain": "explain_key"}.get(kind, ""), "")
        files = Path(unquote(urlsplit(place).path)) if place.startswith("file:") else Path(place)
        named = f"{kind} {key}" if key else f"{kind} {tags.get('mlflow.runName')}"
        found.setdefault(named, []).append([status, *contents(files)])
    pending = "SELECT count(*) FROM logged_models WHERE status = 1 AND lifecycle_stage = 'active'"
    return found | {"pending models": _rows(database, pending)}


def contents(folder: Path) -> list[str]:
    """Digests of a run's heatmaps and scores."""
    found = []
    if (folder / "heatmaps.npz").is_file():
        with np.load(folder / "heatmaps.npz") as arrays:
            found.append(_digest(*(arrays[name].tobytes() for name in sorted(arrays))))
    if (folder / "scores.parquet").is_file():
        table = pd.read_parquet(folder / "scores.parquet")
        table = table.drop(columns=["run", "seconds"], errors="ignore")
        order = [name for name in ("explainer", "metric", "image") if name in table]
        found.append(_digest(table.sort_values(order, kind="stable").to_csv(index=False).encode()))
    return found


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _rows(database: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as there:
        return [list(row) for row in there.execute(query)]


if __name__ == "__main__":
    sys.exit(main())
