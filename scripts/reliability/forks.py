"""Commands of xai_exp as processes of their own that need not import anything again."""

import importlib
import os
import resource
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_HEAVY = (
    *("matplotlib.figure", "mlflow.pytorch", "optuna", "sklearn.datasets"),
    *("xai_exp.pipeline", "xai_exp.studies.publish", "xai_exp.training.loop"),
)
_MEMORY = 12 << 30  # bytes of addresses that a command may ask for


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit code (minus a signal's number), what it said, and when."""

    code: int
    out: str
    err: str
    seconds: float


def prepared() -> None:
    """Import what commands import, on one thread, so that a fork is a process as good as new."""
    os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="Agg", COLUMNS="200", CUDA_VISIBLE_DEVICES="")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in _HEAVY:
        importlib.import_module(name)


def ended(
    arguments: Sequence[str], folder: Path, *, kill_after: float | None = None, limit: float = 900
) -> Ended:
    """Run `python -m xai_exp ARGUMENTS` in a folder.

    Args:
        arguments: the words after xai_exp.
        folder: where.
        kill_after: seconds after which it is killed (SIGKILL), if it still runs.
        limit: seconds after which it is given up, and killed.
    """
    words = [folder / f".{name}" for name in ("out", "err")]
    start = time.monotonic()
    process = os.fork()
    if not process:
        _become(arguments, folder, words)
    deadline = start + (limit if kill_after is None else kill_after)
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            break
        time.sleep(0.005)
    out, err = (path.read_text(errors="replace") if path.exists() else "" for path in words)
    for path in words:
        path.unlink(missing_ok=True)
    code = os.waitstatus_to_exitcode(status)
    return Ended(code=code, out=out, err=err, seconds=time.monotonic() - start)


def _become(arguments: Sequence[str], folder: Path, words: Sequence[Path]) -> None:
    """Be the command, in a fork; never returns."""
    code = 1
    try:
        os.chdir(folder)
        for number, path in enumerate(words, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        sys.argv = ["xai_exp", *arguments]
        runpy.run_module("xai_exp", run_name="__main__")
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
        if isinstance(stopped.code, str):
            sys.stderr.write(f"{stopped.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
