"""Shapes and types are checked at run time in every test; torch runs on one thread, so timings of
parallel test processes do not fight.
"""

import os

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


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator of the test's own."""
    return torch.Generator().manual_seed(0)
