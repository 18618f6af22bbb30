"""Write tests/golden/quantus.json and .npz: what Quantus 0.6 says of small fixed heatmaps.

It runs in an environment of its own, since Quantus brings much that this project does not need:

    python -m venv ENV
    ENV/bin/pip install "quantus==0.6.*" torch
    ENV/bin/python scripts/golden/from_quantus.py

Network, images and heatmaps are those of tests/golden/innvestigate2_maxpool.npz. A little ripple is
laid over the heatmaps, so that no two pixels are equal and no order is left to chance. Quantus
normalises the heatmaps of one call by their common maximum, so each image is given alone, unless a
measure compares images. What Quantus raises is written down as its score.
"""

import functools
import json
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch
from torch import nn

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
NAMES = {"gradient": "gradient", "epsilon": "lrp.epsilon", "positive": "lrp.z_plus"}
BASELINE = 0.0
GRID = 4
SAMPLES = 2000
Array = Any


def main() -> None:
    """Score every heatmap with every measure."""
    warnings.simplefilter("ignore")
    arrays = dict(np.load(GOLDEN / "innvestigate2_maxpool.npz"))
    model = network(arrays)
    images, targets = arrays["x"], arrays["target"].astype(np.int64)
    heatmaps = {name: rippled(arrays[f"heatmap/{there}"]) for name, there in NAMES.items()}
    masks = np.abs(images[:, 0] - np.median(images, (1, 2, 3))[:, None, None]) > 0.3
    given = {"heatmap/" + name: maps for name, maps in heatmaps.items()}
    np.savez_compressed(GOLDEN / "quantus.npz", masks=masks, boxes=boxes(masks), **given)
    scores: dict[str, Any] = {}
    for measure, run in measures().items():
        scores[measure] = {
            name: [
                tried(run, model, images[[i]], targets[[i]], maps[[i]], masks[[i]])
                for i in range(len(images))
            ]
            for name, maps in heatmaps.items()
        }
    for measure, run in together().items():
        scores[measure] = {
            name: tried(run, model, images, targets, maps, masks) for name, maps in heatmaps.items()
        }
    versions = {"quantus": quantus.__version__, "numpy": np.__version__}
    versions["python"] = platform.python_version()
    text = json.dumps({"versions": versions, "scores": scores}, indent=0, sort_keys=True)
    (GOLDEN / "quantus.json").write_text(text + "\n")
    print(f"{len(scores)} measures, {len(text)} characters")


def network(arrays: dict[str, Array]) -> nn.Module:
    """The small network that the golden files share."""
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3), nn.Linear(72, 16)]
    layers.append(nn.Linear(16, 3))
    for layer, name in zip(layers, ("conv1", "conv2", "fc1", "fc2"), strict=True):
        layer.weight.data = torch.tensor(arrays[f"{name}_weight"])
        layer.bias.data = torch.tensor(arrays[f"{name}_bias"])
    first, second, third, last = layers
    convolutions = (first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*convolutions, nn.Flatten(), third, nn.ReLU(), last).eval()


def rippled(maps: Array) -> Array:
    """Heatmaps of magnitude 1 with a ripple that makes all pixels differ, also in magnitude."""
    flat = maps.sum(1).reshape(len(maps), -1).astype(np.float64)
    ripple = 1e-3 * (1 + np.modf(np.arange(1, flat.shape[1] + 1) * 0.6180339887)[0])
    flat = flat / np.abs(flat).max(1, keepdims=True) + ripple
    flat = (flat / np.abs(flat).max(1, keepdims=True)).astype(np.float32)
    assert all(len(np.unique(np.abs(row))) == len(row) for row in flat)
    return flat.reshape(len(maps), *maps.shape[2:])


def boxes(masks: Array) -> Array:
    """The upright rectangles around the masks."""
    found = np.zeros_like(masks)
    for box, mask in zip(found, masks, strict=True):
        rows, columns = np.nonzero(mask)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return found


def tried(run: Callable[..., Any], *given: Any) -> Any:
    """What a measure gives, rounded to nine digits, or what it raises."""
    np.random.seed(0)
    try:
        return rounded(run(*given))
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def rounded(value: Any) -> Any:
    """Plain numbers and lists; a list of one score is that score."""
    if isinstance(value, dict):
        return {str(key): rounded(member) for key, member in value.items()}
    plain = np.asarray(value, dtype=np.float64)
    plain = plain[0] if plain.ndim and plain.shape[0] == 1 else plain
    return json.loads(json.dumps(np.vectorize(lambda x: float(f"{x:.9g}"))(plain).tolist()))


def call(metric: Any, *given: Any, box: bool = False, softmax: bool = False, **more: Any) -> Any:
    """One metric on (model, images, targets, heatmaps, masks)."""
    model, images, targets, maps, masks = given
    shown = boxes(masks) if box else masks
    return metric(
        model=model,
        x_batch=images.copy(),
        y_batch=targets,
        a_batch=maps[:, None].copy(),
        s_batch=shown[:, None],
        channel_first=True,
        softmax=softmax,
        **more,
    )


def measures() -> dict[str, Callable[..., Any]]:
    """Every measure that takes an image by itself."""
    quiet = {"disable_warnings": True, "display_progressbar": False}
    constant = {"perturb_baseline": BASELINE, "normalise": False, **quiet}
    each = {"return_aggregate": False}
    metrics: dict[str, tuple[Any, dict[str, Any]]] = {
        "pointing_game": (quantus.PointingGame(**quiet), {}),
        "pointing_game_weighted": (quantus.PointingGame(weighted=True, **quiet), {}),
        "relevance_mass": (quantus.RelevanceMassAccuracy(**quiet), {}),
        "relevance_mass_absolute": (quantus.RelevanceMassAccuracy(abs=True, **quiet), {}),
        "relevance_rank": (quantus.RelevanceRankAccuracy(**quiet), {}),
        "top_k": (quantus.TopKIntersection(k=20, **quiet), {}),
        "top_k_concept": (quantus.TopKIntersection(k=20, concept_influence=True, **quiet), {}),
        "attribution_localisation": (
            quantus.AttributionLocalisation(abs=False, positive_attributions=True, **quiet),
            {"box": True},
        ),
        "attribution_localisation_weighted": (
            quantus.AttributionLocalisation(
                abs=False, positive_attributions=True, weighted=True, **quiet
            ),
            {"box": True},
        ),
        "auc": (quantus.AUC(**quiet), {}),
        "sparseness": (quantus.Sparseness(**quiet), {}),
        "complexity": (quantus.Complexity(**quiet), {}),
        "effective_complexity": (quantus.EffectiveComplexity(eps=0.1, **quiet), {}),
        "pixel_flipping": (quantus.PixelFlipping(features_in_step=16, **constant), {}),
        "pixel_flipping_softmax": (
            quantus.PixelFlipping(features_in_step=16, **constant),
            {"softmax": True},
        ),
        "region_perturbation": (quantus.RegionPerturbation(patch_size=GRID, **constant), {}),
        "region_perturbation_lerf": (
            quantus.RegionPerturbation(patch_size=GRID, order="lerf", **constant),
            {},
        ),
        "selectivity": (quantus.Selectivity(patch_size=GRID, **constant), {}),
        "faithfulness_correlation": (
            quantus.FaithfulnessCorrelation(nr_runs=SAMPLES, subset_size=32, **each, **constant),
            {},
        ),
        "faithfulness_estimate": (quantus.FaithfulnessEstimate(features_in_step=4, **constant), {}),
        "monotonicity": (quantus.Monotonicity(features_in_step=16, **constant), {}),
        "monotonicity_correlation": (
            quantus.MonotonicityCorrelation(features_in_step=4, nr_samples=1, **constant),
            {},
        ),
        "infidelity": (
            quantus.Infidelity(perturb_patch_sizes=[GRID], n_perturb_samples=1, **constant),
            {},
        ),
        "irof": (quantus.IROF(**each, **constant), {}),
        "road": (road(noise=0.0), {}),
        "completeness": (quantus.Completeness(**constant), {}),
        "non_sensitivity": (quantus.NonSensitivity(eps=1e-6, **constant), {}),
    }
    return {name: functools.partial(call, metric, **how) for name, (metric, how) in metrics.items()}


def together() -> dict[str, Callable[..., Any]]:
    """The measures that compare images, and one that should not but does."""
    quiet = {"disable_warnings": True, "display_progressbar": False}
    constant = {"perturb_baseline": BASELINE, "normalise": False, **quiet}
    metrics = {
        "sensitivity_n": quantus.SensitivityN(
            features_in_step=16, return_aggregate=False, **constant
        ),
        "sufficiency": quantus.Sufficiency(threshold=0.9, abs=False, **quiet),
        "attribution_localisation_batch": quantus.AttributionLocalisation(
            abs=False, positive_attributions=True, weighted=True, **quiet
        ),
        "road_batch": road(noise=0.0),
        "road_batch_of_three": road(noise=0.0),
    }
    made = {name: functools.partial(call, metric) for name, metric in metrics.items()}
    made["road_batch_of_three"] = functools.partial(
        call, metrics["road_batch_of_three"], batch_size=3
    )
    made["effective_complexity_scaled"] = scaled
    made["irof_grid"] = irof_on_a_grid
    made["focus"] = functools.partial(
        call, quantus.Focus(**quiet), custom_batch=[(1, 1, 0, 0), (0, 1, 0, 1), (1, 0, 0, 1)] * 2
    )
    made["pointing_game_empty"] = empty_mask
    made["completeness_of_the_exact_sum"] = functools.partial(exact_sum, normalise=False)
    made["completeness_of_the_exact_sum_normalised"] = functools.partial(exact_sum, normalise=True)
    return made


def road(noise: float) -> Any:
    """ROAD at five shares of the pixels."""
    return quantus.ROAD(
        percentages=[10, 30, 50, 70, 90],
        noise=noise,
        normalise=False,
        disable_warnings=True,
        display_progressbar=False,
    )


def irof_on_a_grid(*given: Any) -> Any:
    """IROF with the missing numpy function put back and a grid of cells for superpixels."""
    height, width = given[1].shape[2:]
    rows, columns = np.arange(height) // GRID, np.arange(width) // GRID
    cells = rows[:, None] * (width // GRID) + columns
    utils = quantus.helpers.utils
    kept = utils.get_superpixel_segments
    utils.get_superpixel_segments = lambda img, segmentation_method: cells  # noqa: ARG005
    np.trapz = np.trapezoid
    try:
        metric = quantus.IROF(
            perturb_baseline=BASELINE,
            normalise=False,
            return_aggregate=False,
            disable_warnings=True,
            display_progressbar=False,
        )
        return call(metric, *given, softmax=True)
    finally:
        del np.trapz
        utils.get_superpixel_segments = kept


def exact_sum(*given: Any, normalise: bool) -> Any:
    """Completeness of a heatmap that is 0 but for one pixel, which holds the whole difference."""
    model, images, targets, maps, masks = given
    with torch.no_grad():
        logits = [model(torch.tensor(x)).numpy() for x in (images, np.full_like(images, BASELINE))]
    rows = np.arange(len(images))
    spike = np.zeros_like(maps)
    spike[:, 0, 0] = logits[0][rows, targets] - logits[1][rows, targets]
    metric = quantus.Completeness(
        perturb_baseline=BASELINE,
        normalise=normalise,
        disable_warnings=True,
        display_progressbar=False,
    )
    return call(metric, model, images, targets, spike, masks)


def scaled(*given: Any) -> Any:
    """Effective complexity with every image's heatmap times its number, in one call."""
    model, images, targets, maps, masks = given
    factors = np.arange(1, len(maps) + 1, dtype=maps.dtype)[:, None, None]
    metric = quantus.EffectiveComplexity(eps=0.1, disable_warnings=True, display_progressbar=False)
    return call(metric, model, images, targets, maps * factors, masks)


def empty_mask(*given: Any) -> Any:
    """The pointing game without anything to point at."""
    *most, masks = given
    metric = quantus.PointingGame(disable_warnings=True, display_progressbar=False)
    return call(metric, *most, np.zeros_like(masks))


if __name__ == "__main__":
    main()
