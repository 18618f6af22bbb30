"""What explainers' heatmaps add up to, and how far they are from those of the original libraries.

Measured on the network, images and heatmaps of tests/golden and stored in measured.json beside
them, each with the configuration that it was measured with.
"""

import importlib.util
import json
from copy import deepcopy
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from xai_exp.compute import ops
from xai_exp.models.vit import ViT

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"
STORED = GOLDEN / "measured.json"
FRESH = GOLDEN / "innvestigate2_fresh.npz"
EXACT, ROUGH = 1e-4, 0.01
_LIBRARIES = {"innvestigate1": "iNNvestigate 1", "innvestigate2": "iNNvestigate 2"}


def stored() -> dict[str, Any]:
    """What was measured before."""
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def updated(configs: dict[str, dict[str, Any]], *, anew: bool = False) -> dict[str, Any]:
    """Measure what is missing or was measured with another configuration, and store it."""
    before = {} if anew else stored()
    torch.set_num_threads(1)
    golden = compared(configs)
    found = {}
    for name, config in sorted(configs.items()):
        kept = before.get(name, {})
        total = kept.get("sum") if kept.get("config") == config else None
        if total is None:
            total = sums_to(instantiate(config, _convert_="all"))
        found[name] = {"config": config, "sum": total, "errors": golden.get(name, {})}
    STORED.write_text(json.dumps(found, indent=1, sort_keys=True, default=str) + "\n")
    return json.loads(STORED.read_text())


def sums_to(explainer: Any) -> str:  # noqa: ANN401
    """What its heatmaps sum to, in words; empty if nothing that is known."""
    if sum(explainer.cost) == 0:
        return ""
    golden = library("innvestigate2")
    images = (golden.images + 1) / 2
    references = (torch.tensor(golden.arrays["fit_x"][:64]) + 1) / 2
    for bias in (True, False):
        network = _network(golden.network, explainer, bias=bias)
        said = _sum(explainer, network, images, golden.targets, references)
        if said:
            return said if bias else f"{said}, no biases"
    return ""


def _network(golden: nn.Module, explainer: Any, *, bias: bool) -> nn.Module:  # noqa: ANN401
    """A network that the explainer can explain, with its biases or without."""
    if getattr(explainer, "requires", "") == "attention":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = ViT(patch=4, depth=2, width=16, heads=2).build(1, (16, 16), 3)
    else:
        network = deepcopy(golden)
    for name, values in network.named_parameters():
        if name.endswith("bias") and not bias:
            values.data.zero_()
    return network.requires_grad_(False).eval()


def _sum(
    explainer: Any,  # noqa: ANN401
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    references: Tensor,
) -> str:
    """The first of the likely values that the sums are equal to, or nothing."""
    bound = explainer.fit(network, references) if hasattr(explainer, "fit") else explainer
    sums = bound(network, images, targets).detach().flatten(1).sum(1)
    likely = dict(_likely(explainer, network, images, targets, references))
    scale = float(likely["f(x)"].abs().max())
    off = {name: float((sums - value).abs().max()) / scale for name, value in likely.items()}
    off["1"] = float((sums - 1).abs().max())
    name = min(off, key=lambda name: off[name])
    if off[name] > ROUGH:
        return ""
    return f"{'' if off[name] <= EXACT else 'about '}{name} ({off[name]:.0e})"


def _likely(
    explainer: Any,  # noqa: ANN401
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    references: Tensor,
) -> list[tuple[str, Tensor]]:
    """Names and values of what heatmaps may sum to."""

    def logit(pixels: Tensor) -> Tensor:
        return ops.pick(ops.logits(network, pixels), targets)

    value = logit(images)
    mean = ops.logits(network, references).mean(0)[targets]
    found = [
        ("f(x)", value),
        ("max(f(x), 0)", value.clamp(min=0)),
        ("f(x) - f(black)", value - logit(torch.zeros_like(images))),
        ("f(x) - f(references)", value - mean),
    ]
    imputer = getattr(explainer, "imputer", None)
    if imputer is not None:
        removal = imputer(images, None, ops.image_keys(images))
        gone = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.bool)
        found.append(("f(x) - f(imputed)", value - logit(removal(slice(0, len(images)), gone))))
    return found


def compared(configs: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For each explainer the errors against the golden heatmaps, by LIBRARY: HEATMAP."""
    golden = tests()
    explainers = {name: instantiate(one, _convert_="all") for name, one in configs.items()}
    found: dict[str, dict[str, float]] = {}
    fresh = library("innvestigate2")
    fresh.arrays |= {f"heatmap/{n}": v for n, v in np.load(FRESH).items()}
    cases = [(library(case.values[0]), *case.values) for case in golden.EVERY]
    cases += [(fresh, "innvestigate2", name, one) for name, one in golden.FRESH.items()]
    for theirs, tool, heatmap, explainer in cases:
        name = nearest(explainer, explainers)
        if name:
            maps = theirs.explained(explainer)
            label = f"{_LIBRARIES.get(tool, 'DeepExplain')}: {heatmap}"
            found.setdefault(name, {})[label] = float(f"{theirs.error(heatmap, maps):.1e}")
    return found


def nearest(explainer: Any, explainers: dict[str, Any]) -> str:  # noqa: ANN401
    """The choice that `explainer` is with other settings: no other rule, the fewest differences."""
    best, least = "", 99
    for name, other in explainers.items():
        if type(other) is not type(explainer):
            continue
        differ = [
            field.name
            for field in fields(other)
            if getattr(other, field.name) != getattr(explainer, field.name)
        ]
        if "rule" not in differ and len(differ) < least:
            best, least = name, len(differ)
    return best


def library(name: str) -> Any:  # noqa: ANN401
    """Network, images and heatmaps of one of the original libraries, as the golden tests have."""
    return tests().Golden(name, _module("conftest").network_of)


def tests() -> ModuleType:
    """The module of the golden tests, which says which explainer should equal which heatmap."""
    return _module("test_explainers")


@cache
def _module(name: str) -> ModuleType:
    """A module of tests/golden."""
    spec = importlib.util.spec_from_file_location(f"golden_{name}", GOLDEN / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
