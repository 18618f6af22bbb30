"""Results of benchmarks are kept by kind of machine, and compared with those of before.

`benchmarks/results/NAME.json` has a list of results, each with the machine, the versions, the
commit and its numbers. Rows of one name are compared with the last of the same kind of machine.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from xai_exp.compute import machine
from xai_exp.files import write_whole

RESULTS = Path(__file__).parent / "results"
_VERSIONS = ("torch", "numpy", "scipy", "mlflow", "hydra-core")


def keep(name: str, rows: Mapping[str, float]) -> None:
    """Add the rows to what is kept, and print how far each moved since the last time.

    Args:
        name: of the benchmark.
        rows: ratios and seconds by name.
    """
    path = RESULTS / f"{name}.json"
    held: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    now = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": _machine(),
        "versions": {one: version(one) for one in _VERSIONS},
        "rows": dict(rows),
    }
    before = [one for one in held if one["machine"] == now["machine"]]
    RESULTS.mkdir(exist_ok=True)
    write_whole(path, json.dumps([*held, now], indent=1) + "\n")
    if before:
        sys.stdout.write(f"since {before[-1]['date']} ({before[-1]['commit']}):\n")
        for row, value in rows.items():
            if then := before[-1]["rows"].get(row):
                sys.stdout.write(f"  {row}: {then:.3g} -> {value:.3g} ({value / then - 1:+.0%})\n")


def environment() -> dict[str, str]:
    """Of a process that is measured in a folder of its own: this checkout's code, one thread."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def cpu_seconds(words: list[str], folder: str, *, check: bool = True) -> float:
    """CPU seconds of a Python process in a folder.

    Raises:
        subprocess.CalledProcessError: where it does not end well, unless it may.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *words]
    subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=check)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _machine() -> str:
    """The kind of machine: processor, cores, kernels, GPU."""
    found = machine.fingerprint()
    parts = [found["machine.processor"], found["machine.kernels"], found.get("machine.gpu", "")]
    return ", ".join([*(part for part in parts if part), f"{torch.get_num_threads()} threads"])


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
