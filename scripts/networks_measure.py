"""What each method does on one classifier of torchvision, for networks_table.py.

Run in a process of its own, `networks_measure.py NETWORK METHOD,METHOD,...` prints a line of JSON
for each method: its guards, or the line by which it was refused. A sum that is off in float32 is
measured again in float64, image and network: whether rounding took it, or the method.
"""

import hashlib
import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZES = (64, 96, 128, 224, 300, 384)
SECONDS, MEMORY = 180, 10 << 30
CLASSES = 10
LEFT_OUT = ("random", "tied", "image", "sobel", "laplacian", "constant")
LEFT_OUT += ("exact_mask", "inverted_mask", "equal_shares")
FEW = {"samples": 16, "steps": 16, "most": 64, "masks": 8, "permutations": 1, "evaluations": 16}
FEW |= {"references": 2, "segments": 16, "iterations": 2, "maps": 8, "anchors": 0}
SUM = "completeness_gap"
WAYS = ("integrated_gradients", "guided_ig", "blur_ig")  # off by how few their points are


def method_keys() -> dict[str, str]:
    """What each method's results depend on: its class, version and settings."""
    from xai_exp.config import identity

    return {
        name: hashlib.sha1(json.dumps(identity(one), default=str).encode()).hexdigest()[:12]
        for name, one in explainers().items()
    }


class SlowError(Exception):
    """A method took longer than it may."""


def one(name: str, methods: list[str]) -> Iterator[dict[str, Any]]:
    """The network's size, then each method's result on it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ.setdefault("MPLBACKEND", "Agg")
    import torch

    torch.set_num_threads(1)
    keys, every = method_keys(), explainers()
    network, size = built(name)
    yield {"size": size, "parameters": sum(value.numel() for value in network.parameters())}
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    references = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        targets = network(images).argmax(1)
    for method in methods:
        result = measured(method, every[method], network, images, targets, references)
        yield {"methods": {method: result | {"key": keys[method]}}}


def measured(method: str, *given: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a method did, in float64, too, where its sum is off: `given` as in `explained`."""
    with warnings.catch_warnings(action="ignore"):
        result = explained(*given)
        if is_off(method, result):
            result["exact"] = exact(*given)
    return result


def built(name: str) -> Any:  # noqa: ANN401
    """The network with seeded weights at the smallest size that it takes, in evaluation mode."""
    from xai_exp.config import InputError
    from xai_exp.models.torchvision import Torchvision

    def made(size: int) -> Any:  # noqa: ANN401
        return Torchvision(name=name).build(3, (size, size), CLASSES)

    ways = ((size, partial(made, size)) for size in SIZES)
    return fitting(ways, (InputError, RuntimeError, ValueError, AssertionError))


def fitting(ways: Iterable[tuple[int, Callable[[], Any]]], refusals: Any) -> Any:  # noqa: ANN401
    """The first network that takes images of its size, with seeded weights, and that size."""
    import torch

    refused: Exception | None = None
    for size, made in ways:
        try:
            torch.manual_seed(0)
            network = made()
            _wake(network)
            _see_noise(network, size)
            with torch.no_grad():
                network.eval()(torch.rand(1, 3, size, size))
        except refusals as error:
            if "memory" in str(error).lower():
                raise
            refused = error
            continue
        return network, size
    raise RuntimeError(f"no number of pixels fits: {refused}")


def _wake(network: Any) -> None:  # noqa: ANN401
    """Give layers that begin with weights of zero (the head of transformers) some."""
    from torch import nn

    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)


def _see_noise(network: Any, size: int) -> None:  # noqa: ANN401
    """Give batch norms the statistics of noise: untouched ones let values grow or vanish."""
    import torch

    network.train()
    with torch.no_grad():
        for number in range(3):
            source = torch.Generator().manual_seed(number)
            network(torch.rand(4, 3, size, size, generator=source))


def explainers() -> dict[str, Any]:
    """Every method of conf/explainer by its name, perturbation ones with few samples."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    left = [f"~{group}" for group in ("dataset", "model", "trainer", "metric", "tracking")]
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        config = compose("config", [*left, "explainer=all"]).explainer
    found = {}
    for name, fields in config.items():
        if name in LEFT_OUT:
            continue
        for field, most in FEW.items():
            if isinstance(fields.get(field), int):
                fields[field] = min(fields[field], most)
        if name == "occlusion":
            fields["size"] = fields["stride"] = 32
        found[str(name)] = instantiate(fields, _convert_="all")
    return found


def explained(
    explainer: Any,  # noqa: ANN401
    network: Any,  # noqa: ANN401
    images: Any,  # noqa: ANN401
    targets: Any,  # noqa: ANN401
    references: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """One method on one network: its guards, or the line by which it is refused."""
    from xai_exp.config import InputError
    from xai_exp.explainers.promises import BOUNDS, guards, sums_only

    signal.signal(signal.SIGPROF, _too_slow)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        bound = explainer.fit(network, references) if hasattr(explainer, "fit") else explainer
        heatmaps = bound(network, images[:1], targets[:1]).detach()
        with sums_only():
            kept = guards(bound, network, images[:1], targets[:1], heatmaps)
        layer = _layer(explainer, network, images)
    except SlowError:
        return {"refused": f"took more than {SECONDS} s on one core"}
    except InputError as error:
        return {"refused": " ".join(str(error).split())}
    except Exception as error:
        if "memory" in str(error).lower():
            return {"refused": f"took more than {MEMORY >> 30} GiB of memory"}
        return {"crashed": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    told = {name: float(values[0]) for name, values in kept.items() if name in BOUNDS}
    return {"finite": bool(heatmaps.isfinite().all()), "guards": told, **layer}


def is_off(method: str, result: Mapping[str, Any]) -> bool:
    """Whether a sum that does not depend on the number of points is not what was promised."""
    from xai_exp.explainers.promises import BOUNDS

    guards = result.get("guards", {})
    return method not in WAYS and SUM in guards and not guards[SUM] <= BOUNDS[SUM].most


def exact(explainer: Any, network: Any, images: Any, targets: Any, references: Any) -> float | None:  # noqa: ANN401
    """The gap of the sum where all is calculated in float64; None if it can't be."""
    from xai_exp.explainers.backward.precision import in_double

    given = images.double(), targets, references.double()
    return explained(explainer, in_double(network), *given).get("guards", {}).get(SUM)


def _too_slow(_signal: int, _frame: object) -> None:
    raise SlowError


def _layer(explainer: Any, network: Any, images: Any) -> dict[str, str]:  # noqa: ANN401
    """The layer that an activation map took."""
    from xai_exp.explainers.activation.feature_map import layer_of

    if not hasattr(explainer, "layer"):
        return {}
    return {"layer": layer_of(network, images, explainer.layer)}


if __name__ == "__main__":
    for told in one(sys.argv[1], sys.argv[2].split(",")):
        print(json.dumps(told), flush=True)
