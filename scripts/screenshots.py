"""Pictures of the MLflow pages, taken by headless Chromium: `python scripts/screenshots.py`.

Shows the newest trained model and its explanations: the runs table with parameters and metrics, an
explain run and its gallery, the model, the learning curves. Chromium is a package of the system
(`apt-get install chromium`).
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from xai_exp import ui
from xai_exp.config import InputError
from xai_exp.tracking import MLflow

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WIDTH, _HEIGHT = 2000, 1000
_PAGE = 0.74  # MLflow's assistant fills the rest of the width at a first visit
_SECONDS = 20  # of the page's own clock, which runs faster than real time


def pages(tracker: Any, base: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Name and address of every page."""
    trained = tracker.newest("train")
    explained = tracker.newest("explain")
    if trained is None or explained is None:
        raise InputError("no finished run of type train and explain; python -m xai_exp makes them")
    at, kind = f"{base}/#/experiments/{tracker.experiment}", "?workflowType=machine_learning"
    run = f"{at}/runs/{explained.info.run_id}"
    model = explained.inputs.model_inputs[0].model_id
    key = explained.data.tags["model_key"]
    alike = tracker.client.search_runs([tracker.experiment], f"tags.model_key = '{key}'")
    yield "runs", tracker.address([found.info.run_id for found in alike], base)
    yield "explain", f"{run}{kind}"
    yield "gallery", f"{run}/artifacts/gallery.png{kind}"
    yield "model", f"{at}/models/{model}{kind}"
    yield "training", f"{at}/runs/{trained.info.run_id}/model-metrics{kind}"


def photograph(browser: str, address: str, path: Path) -> None:
    """Save what the browser shows at an address."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *_QUIET, f"--user-data-dir={profile}"]
        command += [f"--window-size={_WIDTH},{_HEIGHT}", f"--virtual-time-budget={_SECONDS}000"]
        command += [f"--screenshot={path}", address]
        subprocess.run(command, check=True, timeout=120, capture_output=True)
    with Image.open(path) as picture:
        page = picture.crop((0, 0, int(_WIDTH * _PAGE), _HEIGHT))
    page.save(path, optimize=True)


def main() -> None:
    """Take every picture."""
    parser = argparse.ArgumentParser(description="Pictures of the MLflow pages.")
    parser.add_argument("--root", default="mlruns", help="where the runs are (default: mlruns)")
    parser.add_argument("--out", default="outputs/screenshots", help="where the pictures go")
    options = parser.parse_args()
    browser = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    root, out = Path(options.root).resolve(), Path(options.out)
    if browser is None:
        sys.exit(f"error: no browser; allowed: one of {', '.join(_BROWSERS)} on the PATH")
    if not (root / "mlflow.db").is_file():
        sys.exit(f"error: no runs in {options.root}; python -m xai_exp makes the first ones")
    out.mkdir(parents=True, exist_ok=True)
    port = ui.free_port()
    try:
        with ui.starting(root, port) as server:
            tracker = MLflow(root=str(root)).open()
            ui.wait_for(server, root, port)
            for name, address in pages(tracker, f"http://127.0.0.1:{port}"):
                photograph(browser, address, out / f"{name}.png")
                print(out / f"{name}.png")
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
