"""A small run whose numbers are stored, and what threads do to bits and seconds.

`python -m scripts.reliability.reference` stores both anew; the tests compute the run again and
compare it with what is stored.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from xai_exp import pipeline, scoring
from xai_exp.build import experiment
from xai_exp.compute import machine, ops
from xai_exp.notebook.composing import composed

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "tests" / "golden" / "reference.npz"
THREADS = Path(__file__).resolve().parent / "threads.json"
BOUND = 1e-4  # of each array's largest value: plain kernels (make elsewhere) differ by 6e-7
RUN = (
    *("dataset=digits", "explainer=[gradient,deeplift,lrp,rise]", "images=4"),
    *("metric=[sparseness,pixel_flipping]", "trainer.max_epochs=2", "model.width=4"),
    "trainer.precision=32",  # not bfloat16, wherever that is fast
)
LARGER = (
    *("dataset=counting_small", "dataset.count=300", "explainer=[gradient,lrp]", "images=8"),
    *("metric=sparseness", "trainer.max_epochs=2", "trainer.target_accuracy=1"),
)


def computed(words: Sequence[str], *, deterministic: bool) -> dict[str, np.ndarray]:
    """Weights, logits, heatmaps and scores of a run that is kept nowhere, by name."""
    with tempfile.TemporaryDirectory() as folder:
        given = (*words, "tracking=off", "device=cpu", f"models={folder}")
        made = experiment(composed(*given, f"deterministic={str(deterministic).lower()}"))
        job = pipeline.Job(
            experiment=made,
            tracker=made.tracking.open(),
            device=torch.device("cpu"),
            console=Console(file=StringIO()),
        )
        with machine.settled(deterministic=deterministic):
            return _numbers(job)


def _numbers(job: pipeline.Job) -> dict[str, np.ndarray]:
    trained = pipeline.train_or_reuse(job)
    sample = scoring.sample(job.experiment.dataset, job.experiment.settings.images, job.device)
    with ops.evaluating(trained.network), torch.no_grad():
        found = {"logits": trained.network(sample.images).numpy()}
    weights = [one.detach().flatten() for one in trained.network.parameters()]
    found["weights"] = torch.cat(weights).numpy()
    for name in job.experiment.explainers:
        one = pipeline.explain_or_reuse(job, name, trained, sample)
        if one is None or one.fresh is None:
            raise RuntimeError(f"explainer {name} gave nothing")
        found[f"{name} heatmaps"] = one.fresh.heatmaps.numpy()
        found[f"{name} scores"] = one.scores["score"].to_numpy(dtype=float)
    return found


def apart(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The largest difference of each array, as a share of the largest value."""
    return {
        name: float(np.abs(one[name] - other[name]).max() / np.abs(other[name]).max())
        for name in other
    }


def stored() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The numbers of the stored run, and the machine that made them."""
    with np.load(STORED) as arrays:
        made = json.loads(str(arrays["machine"]))
        return {name: arrays[name] for name in arrays.files if name != "machine"}, made


def main() -> None:
    """Store both anew."""
    with machine.settled(deterministic=True):
        made = json.dumps(machine.fingerprint())
    arrays: dict[str, Any] = {"machine": np.array(made), **computed(RUN, deterministic=True)}
    np.savez_compressed(STORED, **arrays)
    THREADS.write_text(json.dumps(list(_compared()), indent=1) + "\n")


def _compared() -> list[dict[str, Any]]:
    """The larger run with one thread and with two, each against the one with one thread."""
    rows, first = [], {}
    for deterministic in (False, True):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found, seconds = _fastest(deterministic)
            first = found if threads == 1 else first
            most = max(apart(found, first).values())
            row = {"deterministic": deterministic, "threads": threads, "apart": most}
            rows.append(row | {"seconds": round(seconds, 1)})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _fastest(deterministic: bool) -> tuple[dict[str, np.ndarray], float]:
    """The larger run's numbers and the fewest seconds of three, as others use the machine too."""
    seconds, found = [], {}
    for _ in range(3):
        start = time.perf_counter()
        found = computed(LARGER, deterministic=deterministic)
        seconds.append(time.perf_counter() - start)
    return found, min(seconds)


if __name__ == "__main__":
    main()
