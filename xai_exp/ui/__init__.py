"""The MLflow pages on this machine only: `python -m xai_exp.ui [RUN ...]`, or `make ui`.

Starts the server on a loopback port, prints the address of the runs table (with only the runs
named, if any are) and stops it on Ctrl-C.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from xai_exp.config import InputError
from xai_exp.errors import Arguments

PORT = 5000
_PATIENCE = 120.0  # seconds that a slow machine may take to start the server


@contextmanager
def starting(root: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The MLflow server for `root`, started on a loopback port; stopped on leaving.

    What it says goes to root/ui.log.
    """
    # Without its job runners and with one worker it starts in a third of the time.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{root / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(root / "artifacts")]
    with _log(root).open("wb") as words:
        server = subprocess.Popen(
            command, env=environment, stdout=words, stderr=words, start_new_session=True
        )
    try:
        yield server
    finally:
        _stop(server)


def free_port(wanted: int | None = None) -> int:
    """The wanted port, or the usual one, or any free one if that is taken.

    Raises:
        InputError: when a port was asked for that something else uses.
    """
    for port in (wanted,) if wanted else (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return probe.getsockname()[1]
    raise InputError(f"--port: got {wanted}, which can't be used; allowed: a free port, or none")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C; what the user got wrong becomes one line and exit code 1."""
    options = _options(arguments)
    # SIGINT, too: Python leaves it ignored where a shell started this in the background.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    try:
        _serve(options)
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.stdout.write("\nstopped\n")


def _serve(options: argparse.Namespace) -> None:
    root = Path(options.root).expanduser().resolve()
    if not (root / "mlflow.db").is_file():
        raise InputError(
            f"no runs yet: there is no {options.root}/mlflow.db; "
            "python -m xai_exp makes the first ones, --root names another folder"
        )
    port = free_port(options.port)
    with starting(root, port) as server:
        from xai_exp.tracking import MLflow  # takes seconds, in which the server starts

        tracker = MLflow(root=str(root), experiment=options.experiment).store()
        address = tracker.address(options.runs, f"http://127.0.0.1:{port}")
        wait_for(server, root, port)
        sys.stdout.write(f"{address}\nCtrl-C stops it\n")
        sys.stdout.flush()
        server.wait()
        raise InputError(f"the MLflow server stopped; its last words are in {_log(root)}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Arguments(prog="python -m xai_exp ui", description="The MLflow pages.")
    parser.add_argument("runs", nargs="*", help="show only these: run ids or their beginnings")
    parser.add_argument("--root", default="mlruns", help="where the runs are (default: mlruns)")
    parser.add_argument("--experiment", default="xai_exp", help="the experiment's name")
    parser.add_argument("--port", type=int, help=f"default: {PORT}, or any free one")
    return parser.parse_args(arguments)


def wait_for(server: subprocess.Popen[bytes], root: Path, port: int) -> None:
    """Return once the server answers.

    Raises:
        InputError: when it stops or does not answer in time.
    """
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if server.poll() is not None:
            words = _log(root).read_text(errors="replace").strip().splitlines()
            raise InputError(f"the MLflow server did not start: {words[-1] if words else ''}")
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise InputError(f"the MLflow server did not start in {_PATIENCE:.0f} s; see {_log(root)}")


def _log(root: Path) -> Path:
    return root / "ui.log"


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its worker."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
