"""Shapes and types are checked at run time in every test; torch runs on one thread, so timings of
parallel test processes do not fight.
"""

import gc
import html
import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # dozens of commands compile the package once
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from jaxtyping import install_import_hook

install_import_hook("xai_exp", "beartype.beartype")

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("laws", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("laws")

ROOT = Path(__file__).resolve().parents[1]
HEAVY = "torch torchvision pytorch_lightning mlflow mlflow.pytorch pandas pyarrow.parquet sklearn"
HEAVY += " scipy.stats scipy.optimize matplotlib.pyplot optuna hydra.main captum.attr zennit.rules"
HEAVY += " mlflow.store.tracking.sqlalchemy_store sqlalchemy.orm alembic.command sklearn.datasets"
HEAVY += " optuna.storages pytorch_lightning.callbacks mlflow.models rich.console"


def pytest_collection_finish() -> None:
    """What was imported is never garbage: a collection need not look at its million objects."""
    gc.collect()
    gc.freeze()


def warm_context() -> multiprocessing.context.ForkServerContext:
    """Processes of this context are forked from one that has the libraries imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY.split())
    return context


@pytest.fixture(scope="session")
def warm() -> multiprocessing.context.ForkServerContext:
    """A context of processes that need not import the libraries."""
    return warm_context()


class Command:
    """A command in a process of its own, with what is needed of `subprocess.Popen`'s interface."""

    def __init__(self, folder: Path, told: dict) -> None:
        """Starts in `folder`; what it says is kept in `folder`'s neighbour until it is read."""
        self.out, self.err = (folder / name for name in ("out", "err"))
        context = warm_context()
        known = {"out": str(self.out), "err": str(self.err), "path": sys.path}
        given = (str(ROOT / "tests" / "warm.py"), {"TOLD": told | known})
        self.process = context.Process(target=runpy.run_path, args=given)
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    poll = wait = lambda self: self.process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """All that was said once the command has ended."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired("command", timeout)
        said = (one.read_text() if one.exists() else "" for one in (self.out, self.err))
        return tuple(said)


@pytest.fixture(scope="session")
def begun(tmp_path_factory):
    """`begun(folder, *arguments, module=NAME)` is `python -m NAME ARGUMENTS` there, a `Command`.

    `code=TEXT` is `python -c TEXT`, `script=FILE` is `python FILE`, `environment` comes on top.
    """

    def begin(folder, *arguments, environment: Mapping[str, str] = {}, **what):
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "400"}
        told = {"folder": str(folder), "arguments": [str(one) for one in arguments]} | what
        told["environment"] = {**os.environ, **own, **environment}
        return Command(tmp_path_factory.mktemp("said"), told)

    return begin


@pytest.fixture(scope="session")
def browsed(tmp_path_factory):
    """What a page's script leaves in its body's `data-found`, in a browser without a window."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium")

    def run(page):
        folder = tmp_path_factory.mktemp("page")
        (folder / "page.html").write_text(page, "utf-8")
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom")
        own = (f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri())
        command = [browser, *options, *own]
        made = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
        match = re.search(r'data-found="([^"]*)"', made.stdout)
        assert match, f"the page's script failed: {made.stderr[-500:]}"
        return json.loads(html.unescape(match[1]))

    return run


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator of the test's own."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def make_case():
    """Cases around a small CNN: any field can be given, the others are drawn from a fixed seed."""
    from xai_exp.types import Case

    def make(*, seed=0, count=6, channels=2, size=(12, 12), dtype=torch.float32, **given):
        source = torch.Generator().manual_seed(17)
        images = torch.rand((count, channels, *size), generator=source, dtype=dtype)
        images = given.pop("images", images)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            model = torch.nn.Sequential(
                torch.nn.Conv2d(images.shape[1], 4, 3, padding=1),
                torch.nn.ReLU(),
                torch.nn.Flatten(),
                torch.nn.Linear(4 * images.shape[2] * images.shape[3], 3),
            ).to(dtype)
        shape = (len(images), *images.shape[2:])
        fields = {
            "model": model,
            "images": images,
            "targets": torch.arange(len(images)) % 3,
            "heatmaps": torch.randn(shape, generator=source, dtype=dtype),
            "explain": lambda model, images, targets: images.sum(1),  # noqa: ARG005
            "generator": torch.Generator().manual_seed(seed),
        }
        return Case(**(fields | given))

    return make
