"""The images and the network of the methods that take parts of an image away.

A module that defines `images` or `network` itself has its own.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from xai_exp import pipeline


@pytest.fixture
def images(generator):
    """Oblong, so that rows and columns can't be mixed up unseen."""
    return torch.rand(3, 2, 9, 12, dtype=torch.float64, generator=generator)


@pytest.fixture
def network():
    """For `images`, with a head that reads every place by itself."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 7 * 10, 3)
        return nn.Sequential(*layers).double()


@pytest.fixture(scope="session")
def script():
    """`script(name)` is scripts/NAME.py as a module of its own; its neighbours can be imported."""
    folder = Path(__file__).resolve().parents[2] / "scripts"

    def loaded(name):
        spec = importlib.util.spec_from_file_location(f"script_{name}", folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        sys.path.insert(0, str(folder))
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(folder))
        return module

    return loaded


@pytest.fixture
def scored(monkeypatch):
    """What runs of the pipeline have made of their explainers, one after the other."""
    seen, old = [], pipeline.records.explanation

    def watched(made, name, sample, one):
        seen.append(one)
        return old(made, name, sample, one)

    monkeypatch.setattr(pipeline.records, "explanation", watched)
    return seen
