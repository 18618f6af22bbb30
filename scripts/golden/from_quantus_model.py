"""Write tests/golden/quantus_model.json and .npz: the measures of Quantus 0.6 that explain anew.

It runs in the environment of from_quantus.py, whose network and images it takes:

    ENV/bin/python scripts/golden/from_quantus_model.py

The explainer is gradient times input. What is drawn by chance is drawn here and written down, so
that ours can be given the same: the changed images of the robustness measures, the parameters of
the networks with random layers, and the other class of each image.
"""

import json
import warnings
from typing import Any

import numpy as np
import quantus
import torch
from from_quantus import GOLDEN, network, tried
from torch import nn

RADII = {"near": 0.1, "far": 0.5}
SAMPLES = 4
LAYERS = ("9", "7", "3", "0")
QUIET = {"disable_warnings": True, "display_progressbar": False}
PLAIN = {"normalise": False, "abs": False, **QUIET}
Array = Any


def main() -> None:
    """Draw, score and write."""
    warnings.simplefilter("ignore")
    np.NaN = np.nan  # Quantus 0.6 asks for the name that numpy 2 has dropped
    arrays = dict(np.load(GOLDEN / "innvestigate2_maxpool.npz"))
    model = network(arrays)
    images, targets = arrays["x"], arrays["target"].astype(np.int64)
    draws = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, *images.shape)).astype(np.float32)
    scores: dict[str, Any] = {}
    for name, radius in RADII.items():
        for measure, metric in robustness(images, radius * draws).items():
            scores[f"{measure}/{name}"] = tried(scored, metric, model, images, targets)
    asked: list[Array] = []
    for measure, metric in others().items():
        scores[measure] = tried(scored, metric, model, images, targets, asked)
    print({measure: found for measure, found in scores.items() if isinstance(found, str)})
    copies = {f"random/{'/'.join(names)}": value for *names, value in random(model)}
    np.savez_compressed(GOLDEN / "quantus_model.npz", draws=draws, other=asked[-1], **copies)
    text = json.dumps({"radii": RADII, "scores": scores}, indent=0, sort_keys=True)
    (GOLDEN / "quantus_model.json").write_text(text + "\n")


def explain(model: nn.Module, inputs: Array, targets: Array, **_: Any) -> Array:
    """Gradient times input of the targets' logits."""
    given = torch.tensor(np.asarray(inputs, dtype=np.float32), requires_grad=True)
    picked = model(given)[range(len(given)), torch.as_tensor(np.asarray(targets))]
    (gradient,) = torch.autograd.grad(picked.sum(), given)
    return (gradient * given).detach().numpy()


def scored(
    metric: Any, model: nn.Module, images: Array, targets: Array, asked: list[Array] | None = None
) -> Any:
    """One metric's scores; the classes that it asked for last are kept in `asked`."""

    def ask(model: nn.Module, inputs: Array, targets: Array, **more: Any) -> Array:
        if asked is not None:
            asked.append(np.array(targets))
        return explain(model, inputs, targets, **more)

    return metric(
        model=model,
        x_batch=images.copy(),
        y_batch=targets.copy(),
        a_batch=explain(model, images, targets),
        explain_func=ask,
        channel_first=True,
        # EfficientMPRT takes the entropy of the outputs, also where nobody asked for it.
        softmax=isinstance(metric, quantus.EfficientMPRT),
    )


def robustness(images: Array, noises: Array) -> dict[str, Any]:
    """The measures around an image, each given the same changed images in turn."""

    def given() -> Any:
        turn = iter(noises)
        return lambda arr, **_: (images + next(turn)).reshape(arr.shape)

    plain = {"nr_samples": SAMPLES, **PLAIN}
    return {
        "max_sensitivity": quantus.MaxSensitivity(perturb_func=given(), **plain),
        "avg_sensitivity": quantus.AvgSensitivity(perturb_func=given(), **plain),
        "local_lipschitz": quantus.LocalLipschitzEstimate(perturb_func=given(), **plain),
        "input_stability": quantus.RelativeInputStability(perturb_func=given(), **plain),
        "output_stability": quantus.RelativeOutputStability(perturb_func=given(), **plain),
        "representation_stability": quantus.RelativeRepresentationStability(
            perturb_func=given(), layer_names=["8"], **plain
        ),
    }


def others() -> dict[str, Any]:
    """Continuity, consistency and randomisation; random_logit last, for the classes it asks for."""
    orders = {"cascading": "top_down", "independent": "independent"}
    alike = quantus.similarity_func.correlation_spearman
    layers = {
        f"mprt/{name}": quantus.MPRT(layer_order=order, seed=0, similarity_func=alike, **PLAIN)
        for name, order in orders.items()
    }
    return layers | {
        "continuity": quantus.Continuity(nr_steps=32, **PLAIN),
        "consistency": quantus.Consistency(**PLAIN),
        "mprt_average": quantus.MPRT(
            seed=0, similarity_func=alike, return_average_correlation=True, **PLAIN
        ),
        "efficient_mprt": quantus.EfficientMPRT(
            seed=0, complexity_func_kwargs={"n_bins": 100}, **PLAIN
        ),
        "random_logit_ssim": quantus.RandomLogit(num_classes=3, seed=0, **PLAIN),
        "random_logit": quantus.RandomLogit(num_classes=3, seed=0, similarity_func=alike, **PLAIN),
    }


def random(model: nn.Module) -> Any:
    """The parameters of every copy that Quantus makes with seed 0."""
    for name, order in (("cascading", "top_down"), ("independent", "independent")):
        wrapped = quantus.helpers.utils.get_wrapped_model(model, True, False, "cpu")
        found = list(changed(wrapped.get_random_layer_generator(order=order, seed=0)))
        # Bottom first, where layers are taken one by one.
        assert [layer for layer, _ in found] == list(LAYERS)[:: 1 if name == "cascading" else -1]
        for layer, state in found:
            for key, value in state.items():
                if key.startswith(f"{layer}."):
                    yield name, layer, key, value


def changed(copies: Any) -> Any:
    """Each copy's parameters as they are at that moment."""
    for layer, copy in copies:
        yield layer, {key: value.clone().numpy() for key, value in copy.state_dict().items()}


if __name__ == "__main__":
    main()
