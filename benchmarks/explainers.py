"""python -m benchmarks.explainers [--model cnn] [--images 64] [--threads 1] [--device cpu].

Every explainer of conf/explainer and every rule of LRP: its time over that of the forward and
backward passes which it says it needs (`cost`), and the time of captum or zennit for the same
heatmaps in the same run. A backward pass goes to the pixels only; passes are those of the model as
it is or in fewer steps, whichever is faster, in chunks as the explainers make them. Times are the
best of the repeats, taken in turns with the floor's and the peer's so that a busy machine slows
all. Images are 64x64.

`floor` is the ratio to the stated cost, `once` the ratio to one forward and backward pass, `gain`
the peer's time over ours (on the peer's best terms: batches of the same size, frozen weights).
"""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from captum import attr
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from zennit import composites, rules
from zennit.attribution import Gradient as ZennitGradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.torchvision import ResNetCanonizer
from zennit.types import Linear

from benchmarks.kept import keep
from xai_exp.compute import machine, ops
from xai_exp.compute.streamline import streamlined
from xai_exp.config import InputError
from xai_exp.explainers.cost import Cost
from xai_exp.explainers.lrp.lrp import LRP
from xai_exp.explainers.promises import Integral

_CONF = Path(__file__).parents[1] / "conf"
Work = Callable[[], object]


class Case(NamedTuple):
    """What is explained."""

    model: nn.Module
    images: Tensor
    targets: Tensor


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cnn", help="a choice of conf/model")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--explainers", nargs="*", default=[], help="only these")
    options = parser.parse_args()
    machine.tune_allocator()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    case = made(options.model, options.images, options.channels, torch.device(options.device))
    print(
        f"{options.model}, {options.images} images of 64x64, {options.device}, "
        f"{options.threads} thread(s)"
    )
    print(f"{'explainer':34}{'passes':>9}{'ms/image':>10}{'floor':>7}{'once':>7}{'gain':>7}  peer")
    rows: dict[str, float] = {}
    for name, explainer in explainers().items():
        if options.explainers and name not in options.explainers:
            continue
        try:
            line, numbers = row(name, explainer, case, options.repeats)
        except InputError as error:
            print(f"{name:34}{error}")
            continue
        print(line)
        rows |= {f"{name}, {key}": value for key, value in numbers.items()}
    if options.device == "cpu" and options.model == "cnn" and not options.explainers:
        keep("explainers", rows)


def made(model: str, count: int, channels: int, device: torch.device) -> Case:
    """Random images and an untrained network with batch norms that are not identities."""
    source = torch.Generator().manual_seed(0)
    others = ("dataset", "trainer", "explainer", "metric", "tracking")
    with initialize_config_dir(str(_CONF), version_base=None):
        config: Any = compose("config", [*(f"~{name}" for name in others), f"model={model}"])
    network = instantiate(config.model).build(channels, (64, 64), 10).eval().to(device)
    images = torch.rand(count, channels, 64, 64, generator=source).to(device)
    return Case(network, images, (torch.arange(count) % 10).to(device))


def explainers() -> dict[str, Any]:
    """All that cost passes, LRP once for every rule, ways with as many points as they state."""
    others = ("dataset", "model", "trainer", "metric", "tracking")
    with initialize_config_dir(str(_CONF), version_base=None):
        config: Any = compose("config", [*(f"~{name}" for name in others), "explainer=all"])
    chosen: dict[str, Any] = {
        name: instantiate(config.explainer[name], _convert_="all")
        for name in config.explainer
        if not name.startswith("lrp_")
    }
    lrp, deeplift = chosen.pop("lrp"), chosen["deeplift"]
    # As captum has it, without a rule for max pooling and so without the sum.
    chosen["deeplift.as_captum"] = replace(deeplift, pooling="gradient", baseline=0.0)
    for rule in LRP.__annotations__["rule"].__args__:
        chosen[f"lrp.{rule}"] = replace(lrp, rule=rule)
    # Points that are doubled until a sum holds are beyond the stated cost, and beyond the peer's.
    fixed = {n: replace(chosen[n], most=None) for n in chosen if isinstance(chosen[n], Integral)}
    return {name: one for name, one in (chosen | fixed).items() if one.cost != (0, 0)}


def row(
    name: str,
    explainer: Any,  # noqa: ANN401
    case: Case,
    repeats: int,
) -> tuple[str, dict[str, float]]:
    """One line of the table, and the numbers that are kept."""
    peer, theirs = peers().get(name, ("-", None))
    if hasattr(explainer, "fit"):
        explainer = explainer.fit(case.model, case.images)
    short = case._replace(model=streamlined(case.model, case.images[:1]))
    work: dict[str, Work] = {
        "own": lambda: explainer(*case),
        "forward as it is": lambda: ops.logits(case.model, case.images),
        "forward in fewer steps": lambda: ops.logits(short.model, short.images),
        "once as it is": lambda: bare(case),
        "once in fewer steps": lambda: bare(short),
    }
    if theirs is not None:
        work["peer"] = lambda: in_batches(theirs, case)
    best = best_times(work, repeats, case.images.device)
    cost: Cost = explainer.cost
    forward = min(best["forward as it is"], best["forward in fewer steps"])
    once = min(best["once as it is"], best["once in fewer steps"])
    floor = cost.forward * forward + cost.backward * (once - forward)
    passes = f"{cost.forward:g}+{cost.backward:g}"
    gain = f"{best['peer'] / best['own']:7.2f}" if "peer" in best else f"{'-':>7}"
    each = best["own"] / len(case.images) * 1e3
    line = (
        f"{name:34}{passes:>9}{each:10.3f}"
        f"{best['own'] / floor:7.2f}{best['own'] / once:7.2f}{gain}  {peer}"
    )
    numbers = {"ms an image": each, "ratio": best["own"] / floor}
    if "peer" in best:
        numbers["times faster than its peer"] = best["peer"] / best["own"]
    return line, numbers


def best_times(work: dict[str, Work], repeats: int, device: torch.device) -> dict[str, float]:
    """The best time of each, taken in turns."""
    for one in work.values():
        one()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, one in work.items():
            times[name].append(seconds(one, device))
    return {name: min(spent) for name, spent in times.items()}


def bare(case: Case) -> Tensor:
    """One forward and one backward pass to the pixels, in chunks, and nothing else."""
    with ops.evaluating(case.model):

        def chunk(images: Tensor, targets: Tensor) -> Tensor:
            pixels = images.clone().requires_grad_()
            chosen = ops.pick(case.model(pixels), targets)
            return torch.autograd.grad(chosen.sum(), pixels)[0]

        return ops.in_chunks(chunk, case.images, case.targets)


def in_batches(method: Callable[[nn.Module, Tensor, Tensor], Tensor], case: Case) -> Tensor:
    """A peer's method in batches of the size that ours makes."""
    with ops.evaluating(case.model):

        def chunk(images: Tensor, targets: Tensor) -> Tensor:
            return method(case.model, images.clone(), targets).detach()

        return ops.in_chunks(chunk, case.images, case.targets)


def peers() -> dict[str, tuple[str, Callable[[nn.Module, Tensor, Tensor], Tensor]]]:
    """The same work in captum and zennit."""
    found: dict[str, tuple[str, Any]] = {
        "gradient": captum(attr.Saliency, abs=False),
        "sensitivity": captum(attr.Saliency),
        "input_x_gradient": captum(attr.InputXGradient),
        "deconvnet": captum(attr.Deconvolution),
        "guided_backprop": captum(attr.GuidedBackprop),
        "integrated_gradients": captum(
            attr.IntegratedGradients, n_steps=32, internal_batch_size=32
        ),
        "excitation_backprop": zennit(
            "", lambda **given: composites.ExcitationBackprop(zero_params="bias", **given)
        ),
        "deeplift.as_captum": captum(attr.DeepLift),
        "grad_cam": captum_at_maps(attr.LayerGradCam),
        "guided_grad_cam": captum_at_maps(attr.GuidedGradCam),
        "beta_smooth": zennit("", composites.BetaSmooth),
        "lrp.epsilon": zennit("Epsilon", everywhere(rules.Epsilon)),
        "lrp.gamma": zennit("Gamma", everywhere(rules.Gamma)),
        "lrp.alpha_beta": zennit("AlphaBeta", everywhere(rules.AlphaBeta)),
        "lrp.z_plus": zennit("ZPlus", everywhere(rules.ZPlus)),
        "lrp.flat": zennit("Flat", everywhere(rules.Flat)),
        "lrp.w_square": zennit("WSquare", everywhere(rules.WSquare)),
    }
    found |= removing_peers()
    for name, kind in {
        "epsilon_plus": composites.EpsilonPlus,
        "epsilon_plus_flat": composites.EpsilonPlusFlat,
        "epsilon_alpha2_beta1": composites.EpsilonAlpha2Beta1,
        "epsilon_alpha2_beta1_flat": composites.EpsilonAlpha2Beta1Flat,
        "epsilon_gamma_box": lambda **given: composites.EpsilonGammaBox(0.0, 1.0, **given),
    }.items():
        found[f"lrp.{name}"] = zennit("", kind)
    return found


def captum(kind: Any, **options: object) -> tuple[str, Any]:  # noqa: ANN401
    """A method of captum."""

    def method(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        explain = kind(model)
        return explain.attribute(images.requires_grad_(), target=targets, **options)

    return f"captum {kind.__name__}", method


def captum_at_maps(kind: Any) -> tuple[str, Any]:  # noqa: ANN401
    """A method of captum that is told the layer whose maps ours finds."""

    def method(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        found = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ReLU)]
        convolution = max(i for i, m in enumerate(found) if isinstance(m, nn.Conv2d))
        explain = kind(model, found[convolution + 1])
        return explain.attribute(images.requires_grad_(), target=targets)

    return f"captum {kind.__name__}", method


def removing_peers() -> dict[str, tuple[str, Any]]:
    """Captum's methods by removal: 64 square segments, as many passes as ours have by default.

    It explains one image at a time by Lime and KernelShap, whose samples fill the batches.
    """
    grid = (torch.arange(64)[:, None] // 8 * 8 + torch.arange(64) // 8)[None, None]

    def one_by_one(kind: Any, count: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:  # noqa: ANN401
        def method(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
            options = {"feature_mask": grid.to(images.device), "perturbations_per_eval": 32}
            found = [
                kind(model).attribute(
                    images[i : i + 1], 0.5, targets[i : i + 1], n_samples=count, **options
                )
                for i in range(len(images))
            ]
            return torch.cat(found)

        return method

    def windows(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        channels, explain = images.shape[1], attr.Occlusion(model)
        return explain.attribute(images, (channels, 8, 8), (channels, 4, 4), 0.5, targets)

    def orders(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        explain, mask = attr.ShapleyValueSampling(model), grid.to(images.device)
        return explain.attribute(images, 0.5, targets, feature_mask=mask, n_samples=8)

    return {
        "occlusion": ("captum Occlusion", windows),
        "lime": ("captum Lime", one_by_one(attr.Lime, 256)),
        "kernel_shap": ("captum KernelShap", one_by_one(attr.KernelShap, 510)),
        "shapley_sampling": ("captum ShapleyValueSampling", orders),
    }


def zennit(name: str, composite: Callable[..., Any]) -> tuple[str, Any]:
    """A composite of zennit."""

    def method(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        residual = type(model).__name__ == "ResNet"
        canonizer = ResNetCanonizer() if residual else SequentialMergeBatchNorm()
        rows = torch.arange(len(images), device=images.device)

        def start(logits: Tensor) -> Tensor:
            given = torch.zeros_like(logits)
            given[rows, targets] = logits.detach()[rows, targets]
            return given

        with ZennitGradient(model, composite(canonizers=[canonizer])) as attributor:
            found: Any = attributor(images, start)
        return found[1]

    return f"zennit {name}".strip(), method


def everywhere(rule: Callable[[], Any]) -> Callable[..., Any]:
    """A composite of one rule."""
    return lambda canonizers: composites.LayerMapComposite(
        [*composites.layer_map_base(), (Linear, rule())], canonizers=canonizers
    )


def seconds(work: Work, device: torch.device) -> float:
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
