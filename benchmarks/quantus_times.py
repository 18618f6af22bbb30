"""python -m benchmarks.quantus_times IN OUT plain|tuned: run in an environment that has Quantus.

Reads images, targets, heatmaps and masks from a file of benchmarks/metrics.py and writes how long
Quantus takes, processor seconds an image, for the same work: the better of two runs. "plain" is
how it comes, "tuned" has our layout of the weights and our allocator.
"""

import contextlib
import io
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch

from xai_exp.compute import machine
from xai_exp.models.cnn import CNN


def main() -> None:
    """Time every measure that both have."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    source, target, tuned = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "tuned"
    given = dict(np.load(source))
    model = CNN().build(1, (64, 64), 10).eval()
    if tuned:
        machine.tune_allocator()
    else:
        model = model.to(memory_format=torch.contiguous_format)  # pyright: ignore
    seconds = {}
    for name, metric in measures().items():
        best = min(timed(metric, model, given) for _ in range(2))
        seconds[name] = best / len(given["images"])
    target.write_text(json.dumps({"version": quantus.__version__, "seconds": seconds}))


def timed(metric: Callable[..., Any], model: torch.nn.Module, given: dict[str, Any]) -> float:
    """The processor's time of one call."""
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        metric(
            model=model,
            x_batch=given["images"].copy(),
            y_batch=given["targets"],
            a_batch=given["heatmaps"][:, None].copy(),
            s_batch=given["masks"][:, None],
            channel_first=True,
            device="cpu",
            batch_size=32,
        )
    return time.process_time() - start


def measures() -> dict[str, Callable[..., Any]]:
    """Quantus' measures by the names that they have here, with as many forward passes."""
    quiet = {"disable_warnings": True, "display_progressbar": False}
    black = {"perturb_baseline": "black", "normalise": False, **quiet}
    return {
        "pixel_flipping": quantus.PixelFlipping(features_in_step=64, **black),
        "region_perturbation": quantus.RegionPerturbation(
            patch_size=8, regions_evaluation=64, **black
        ),
        "selectivity": quantus.Selectivity(patch_size=8, **black),
        "faithfulness_estimate": quantus.FaithfulnessEstimate(features_in_step=64, **black),
        "road": quantus.ROAD(percentages=list(range(10, 100, 10)), normalise=False, **quiet),
        "pointing_game": quantus.PointingGame(**quiet),
        "relevance_mass": quantus.RelevanceMassAccuracy(**quiet),
        "relevance_rank": quantus.RelevanceRankAccuracy(**quiet),
        "top_k_intersection": quantus.TopKIntersection(k=100, **quiet),
        "attribution_localisation": quantus.AttributionLocalisation(
            abs=False, positive_attributions=True, **quiet
        ),
        "auc": quantus.AUC(**quiet),
        "sparseness": quantus.Sparseness(**quiet),
        "complexity": quantus.Complexity(**quiet),
    }


if __name__ == "__main__":
    main()
