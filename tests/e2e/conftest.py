"""The package as a user runs it: in a process and a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_module(begun: Callable) -> Run:
    """`run_module(folder, module, *arguments)` is `python -m module arguments`; it must succeed.

    `path` is where the package is imported from, `code` the exit code to expect; when `cold`,
    nothing was imported before the command begins.
    """

    def run(
        folder: Path,
        module: str,
        *arguments: str,
        path: Path | str = ROOT,
        code: int = 0,
        cold: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(path), "COLUMNS": "400"}
        if cold:
            done = subprocess.run(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                env={**os.environ, **settings},
                capture_output=True,
                text=True,
                check=False,
            )
        else:
            command = begun(folder, *arguments, module=module, environment=settings)
            out, err = command.communicate()
            done = subprocess.CompletedProcess(arguments, command.returncode, out, err)
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run
