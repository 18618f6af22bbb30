"""Shapes and types are checked at run time in every test; torch runs on one thread, so timings of
parallel test processes do not fight.
"""

import html
import json
import os
import re
import shutil
import subprocess

os.environ.setdefault("MPLBACKEND", "Agg")
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
