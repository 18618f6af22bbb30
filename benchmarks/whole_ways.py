"""python -m benchmarks.whole_ways own|tutorials|tuned IMAGES: run where Quantus is installed.

For each file name that it reads it explains and scores all over again, and writes what came of it
and the processor's seconds there.
"""

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import xai_exp as xe
from benchmarks.explainers import peers
from benchmarks.metrics import tiny_case
from benchmarks.quantus_times import measures
from benchmarks.whole import ALIKE, EXPLAINERS, METRICS
from xai_exp.compute import machine
from xai_exp.types import Case


def main() -> None:
    """All of it as often as asked."""
    way, count = sys.argv[1], int(sys.argv[2])
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    case = tiny_case(count, torch.device("cpu"))
    if way == "tutorials":
        case.model.to(memory_format=torch.contiguous_format)  # pyright: ignore
    else:
        machine.tune_allocator()
    batch = count if way == "tutorials" else 32
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()):
            found = own(case) if way == "own" else theirs(case, batch)
        np.savez(line.strip(), **found)
        print("done", flush=True)


def own(case: Case) -> dict[str, np.ndarray]:
    """By this project's Python API."""
    start = time.process_time()
    heatmaps = xe.explain(
        case.model,
        case.images,
        list(EXPLAINERS),
        targets=case.targets,
        value="logit",
        integrated_gradients={"most": None},
        occlusion={"imputer": "constant"},
    )
    explained = time.process_time()
    scores = xe.score(heatmaps, list(METRICS), masks=case.parts, imputer="constant")
    scored = time.process_time()
    found = {name: heatmaps[name].numpy() for name in EXPLAINERS}
    by = scores.set_index(["explainer", "metric"]).sort_index()["score"]
    found |= {f"{name} {metric}": by.loc[name, metric].to_numpy() for name, metric in ALIKE}
    return found | {"seconds": np.array([explained - start, scored - explained])}


def theirs(case: Case, batch: int) -> dict[str, np.ndarray]:
    """By captum, zennit and Quantus."""
    methods, metrics = peers(), measures()
    methods["lrp_epsilon_plus_flat"] = methods["lrp.epsilon_plus_flat"]
    start = time.process_time()
    maps = {name: in_batches(methods[name][1], case, batch) for name in EXPLAINERS}
    explained = time.process_time()
    scores = {
        (name, metric): scored(metrics[metric], case, maps[name], batch)
        for name in EXPLAINERS
        for metric in METRICS
    }
    taken = np.array([explained - start, time.process_time() - explained])
    found = {name: one[:, 0] for name, one in maps.items()} | {"seconds": taken}
    alike = {f"{name} {metric}": scores[name, metric] for name, metric in ALIKE}
    return found | {name: np.asarray(values, float) for name, values in alike.items()}


def in_batches(method: Callable[..., torch.Tensor], case: Case, size: int) -> np.ndarray:
    """The heatmaps of a peer, enlarged to the images where it leaves them in a layer's size."""
    pairs = zip(case.images.split(size), case.targets.split(size), strict=True)
    maps = torch.cat([method(case.model, some.clone(), of).detach() for some, of in pairs])
    if maps.shape[-2:] != case.images.shape[-2:]:
        maps = torch.nn.functional.interpolate(maps, case.images.shape[-2:])
    return maps.numpy()


def scored(metric: Callable[..., Any], case: Case, heatmaps: np.ndarray, size: int) -> object:
    """What Quantus says of the heatmaps."""
    assert case.parts is not None
    return metric(
        model=case.model,
        x_batch=case.images.numpy().copy(),
        y_batch=case.targets.numpy(),
        a_batch=heatmaps.copy(),
        s_batch=(case.parts.sum(1) > 0).numpy()[:, None],
        channel_first=True,
        device="cpu",
        batch_size=size,
    )


if __name__ == "__main__":
    main()
