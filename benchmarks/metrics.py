"""python -m benchmarks.metrics [--images 64] [--threads 1] [--device cpu] [--repeats 3].

The cost of every metric in conf/metric over its floor, for images of 64x64: the floor is the time
that the model needs for as many images as the metric sends through it, in the fastest way that is
known here: as it is or in fewer steps (xai_exp/compute/streamline.py), at the fastest of several
batch sizes. Each metric runs on a case of its own, so nothing is shared. Times are the best of the
repeats; the ratio is the median over the repeats of a metric's time over its floor's, which is
taken right before and after it, so that a wandering clock slows both. Metrics that need no model
have no floor: their time an image is what is printed.

`--quantus PYTHON` (or XAI_EXP_QUANTUS) is the Python of an environment with Quantus 0.6: its time
for the same images, heatmaps and masks, and as many forward passes, is measured in the same run
and stands beside how many times faster we are. Twice: as it comes, with torch's default layout of
weights and the C library's allocator, and with the layout and the allocator that we use. Pixels
are removed to a constant by both. The last row is all measures of localisation and complexity on
one case, which share what they can, against the sum of Quantus' times for the same.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from benchmarks.kept import keep
from xai_exp.compute import machine
from xai_exp.compute.streamline import streamlined
from xai_exp.models.cnn import CNN
from xai_exp.types import Case, Metric

_CONF = Path(__file__).parents[1] / "conf"
_BATCHES = (16, 32, 64, 128, 256)
_WITHOUT_PASSES = (
    "attribution_localisation",
    "auc",
    "pointing_game",
    "relevance_mass",
    "relevance_rank",
    "top_k_intersection",
    "sparseness",
    "complexity",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--metrics", nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quantus", default=os.environ.get("XAI_EXP_QUANTUS", ""))
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    machine.tune_allocator()
    torch.set_num_threads(options.threads)
    case = tiny_case(options.images, torch.device(options.device))
    case = replace(case, precision=options.precision)
    print(f"{options.images} images of 64x64, {options.device}, {options.threads} thread(s)")
    theirs = quantus_times(case, options.quantus)
    print(
        f"{'metric':36}{'passes':>8}{'ms/image':>10}{'floor':>8}{'ratio':>7}"
        f"{'Quantus':>9}{'x':>7}{'tuned':>9}{'x':>7}"
    )
    chosen = {
        name: metric
        for name, metric in metrics(options.metrics or ["all"]).items()
        if metric.needs <= {"parts"}
    }
    rows: dict[str, float] = {}
    for name, metric in chosen.items():
        line, own, numbers = row(name, metric, case, options.repeats)
        print(line + beside(own, [theirs.get(name, [])]), flush=True)
        rows |= {f"{name}, {key}": value for key, value in numbers.items()}
    alone = [name for name in chosen if name in _WITHOUT_PASSES]
    if len(alone) > 1:
        own = together([chosen[name] for name in alone], case, options.repeats)
        name = f"{len(alone)} of these without passes, together"
        peers = [theirs.get(name, []) for name in alone]
        print(f"{name:36}{0.0:8.1f}{own * 1e3:10.3f}{0.0:8.2f}{'-':>7}{beside(own, peers)}")
    if options.device == "cpu" and options.precision == "float32" and not options.metrics:
        keep("metrics", rows)


def beside(own: float, peers: list[list[float]]) -> str:
    """Quantus' times in milliseconds, summed over measures, and how many times ours they are."""
    if not all(peers):
        return ""
    return "".join(f"{t * 1e3:9.3f}{t / own:7.1f}" for t in map(sum, zip(*peers, strict=True)))


def together(metrics: list[Metric], case: Case, repeats: int) -> float:
    """The seconds an image of all metrics on one case, which share what they can."""

    def all_of_them() -> None:
        shared = replace(case)
        for metric in metrics:
            metric(shared)

    times = [seconds(all_of_them, case.images.device) for _ in range(repeats * 5)]
    return min(times) / len(case)


def quantus_times(case: Case, python: str) -> dict[str, list[float]]:
    """Quantus' seconds an image by our metric's name, as it comes and tuned; none if not there."""
    if not python:
        print("Quantus is left out: no environment with it was given (--quantus PYTHON)")
        return {}
    if shutil.which(python) is None:
        print(f"Quantus is left out: got --quantus {python}; allowed: the path of a Python")
        return {}
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "case.npz", Path(folder) / "times.json"
        parts = case.parts if case.parts is not None else torch.zeros(len(case), 1, 64, 64)
        np.savez(
            given,
            images=case.images.cpu().numpy(),
            targets=case.targets.cpu().numpy(),
            heatmaps=case.heatmaps.cpu().numpy(),
            masks=(parts.sum(1) > 0).cpu().numpy(),
        )
        found_by: list[dict[str, float]] = []
        for kind in ("plain", "tuned"):
            command = [python, "-m", "benchmarks.quantus_times", str(given), str(found), kind]
            done = subprocess.run(command, capture_output=True, text=True, cwd=_CONF.parent)
            if done.returncode:
                print(f"Quantus is left out: {(done.stderr.splitlines() or ['it failed'])[-1]}")
                return {}
            found_by.append(json.loads(found.read_text())["seconds"])
        return {name: [times[name] for times in found_by] for name in found_by[0]}


def tiny_case(count: int, device: torch.device) -> Case:
    """Random images, heatmaps and masks around the default CNN."""
    source = torch.Generator().manual_seed(0)
    model = CNN().build(1, (64, 64), 10).eval().to(device)
    parts = torch.zeros(count, 2, 64, 64)
    parts[:, 0, 8:24, 8:24] = parts[:, 1, 40:60, 30:50] = 1
    return Case(
        model=model,
        images=torch.rand(count, 1, 64, 64, generator=source).to(device),
        targets=(torch.arange(count) % 10).to(device),
        heatmaps=torch.randn(count, 64, 64, generator=source).to(device),
        explain=lambda model, images, targets: images.sum(1),  # noqa: ARG005
        parts=parts.to(device),
        generator=torch.Generator().manual_seed(0),
    )


def metrics(names: list[str]) -> dict[str, Metric]:
    """The metrics or presets of these names."""
    absent = [f"~{group}" for group in ("dataset", "model", "trainer", "explainer", "tracking")]
    with initialize_config_dir(str(_CONF), version_base=None):
        config: Any = compose(
            "config", [*absent, f"metric=[{','.join(names)}]", "imputer=constant"]
        ).metric
        return {name: instantiate(config[name], _convert_="all") for name in config}


def row(name: str, metric: Metric, case: Case, repeats: int) -> tuple[str, float, dict[str, float]]:
    """One line of the table, the seconds an image, and the numbers that are kept."""
    passes = images_through(case, metric)
    way = best_way(case)
    own, forward = [], [forward_time(case, way, passes)]
    fast = passes <= len(case) + 1
    for _ in range(repeats * (5 if fast else 1)):
        own.append(seconds(lambda: metric(replace(case)), case.images.device))
        forward.append(forward_time(case, way, passes))
    per_image = min(own) / len(case)
    floor = min(forward) / len(case)
    middle = median(
        2 * spent / max(1e-9, before + after)
        for spent, before, after in zip(own, forward[:-1], forward[1:], strict=True)
    )
    asks = passes > len(case) + 1
    ratio = f"{middle:7.3f}" if asks else f"{'-':>7}"
    numbers = f"{passes / len(case):8.1f}{per_image * 1e3:10.3f}{floor * 1e3:8.2f}{ratio}"
    kept = {"ms an image": per_image * 1e3, **({"ratio": middle} if asks else {})}
    return f"{name:36}{numbers}", per_image, kept


def images_through(case: Case, metric: Metric) -> int:
    """How many images the metric sends through the model."""
    seen: list[int] = []
    hook = case.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    metric(replace(case))
    hook.remove()
    return sum(seen)


Way = tuple[nn.Module, int]  # a network, and how many images it takes at once


def best_way(case: Case) -> Way:
    """The fastest forward pass: the model as it is or in fewer steps, and its batch size."""
    models = (case.model, streamlined(case.model, case.images[:1]))
    ways = [(model, size) for model in models for size in _BATCHES]
    return min(ways, key=lambda way: forward_time(case, way, 1024))


@torch.no_grad()
def forward_time(case: Case, way: Way, passes: int) -> float:
    """How long so many images take in a network, a batch at a time."""
    model, size = way
    copies: Tensor = case.images.repeat(-(-size // len(case)), 1, 1, 1)[:size].contiguous()
    calls = max(1, round(passes / size)) if passes else 0
    spent = seconds(lambda: run(model, copies, calls), copies.device)
    return spent * passes / max(1, calls * size)


def run(model: nn.Module, images: Tensor, calls: int) -> None:
    """So many forward passes."""
    for _ in range(calls):
        model(images)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes: the processor's own time, or on a GPU with the device's queue."""
    if device.type != "cuda":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
