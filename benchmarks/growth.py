"""python -m benchmarks.growth [--repeats 3] [--threads 1].

How cost grows over two to three decades: CPU seconds by the number of images, the pixels of a side,
the steps of a path, the masks of an occlusion and the parts of a scene, each with all else as it
is, and the power of the number that they grow by at the end (the slope of the last decade on two
logarithmic axes).
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log

import torch

from benchmarks.kept import keep
from benchmarks.metrics import seconds, tiny_case
from benchmarks.truth import discs
from xai_exp.compute import machine
from xai_exp.explainers.gradients import Gradient, IntegratedGradients
from xai_exp.explainers.lrp import LRP
from xai_exp.explainers.perturbation import RISE
from xai_exp.metrics.faithfulness import PixelFlipping
from xai_exp.models.cnn import CNN
from xai_exp.removal import Constant
from xai_exp.truth import games

CPU = torch.device("cpu")
GREY = Constant(value=0.5)
Work = Callable[[], object]


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    machine.tune_allocator()
    torch.set_num_threads(options.threads)
    rows: dict[str, float] = {}
    for what, works in {
        "LRP by images": {count: _lrp(count) for count in (4, 16, 64, 256, 1024)},
        "pixel flipping by images": {count: _flipping(count) for count in (4, 16, 64, 256)},
        "gradient by pixels of a side": {side: _gradient(side) for side in (16, 32, 64, 128, 256)},
        "integrated gradients by steps": {steps: _path(steps) for steps in (2, 8, 32, 128, 512)},
        "RISE by masks": {masks: _masks(masks) for masks in (8, 32, 128, 512, 2048)},
        "exact truth by parts": {parts: _truth(parts) for parts in (1, 2, 4, 6, 8, 10)},
    }.items():
        found = {number: _best(work, options.repeats) for number, work in works.items()}
        told = "  ".join(f"{number}: {1e3 * one:.3g} ms" for number, one in found.items())
        power = _power(found)
        print(f"{what}: {told}  (power {power:.2f})", flush=True)
        rows |= {f"{what}, {number}, CPU s": one for number, one in found.items()}
        rows[f"{what}, power"] = power
    keep("growth", rows)


def _best(work: Work, repeats: int) -> float:
    work()
    return min(seconds(work, CPU) for _ in range(repeats))


def _power(found: Mapping[int, float]) -> float:
    """The slope between the last number and the one nearest to a tenth of it."""
    last = max(found)
    first = min((one for one in found if one != last), key=lambda one: abs(log(last / one / 10)))
    return log(found[last] / found[first]) / log(last / first)


def _lrp(count: int) -> Work:
    case = tiny_case(count, CPU)
    return lambda: LRP(rule="epsilon_plus")(case.model, case.images, case.targets)


def _flipping(count: int) -> Work:
    case = tiny_case(count, CPU)
    return lambda: PixelFlipping(imputer=GREY)(replace(case))


def _gradient(side: int) -> Work:
    network = CNN().build(1, (side, side), 10).eval()
    images, targets = torch.rand(8, 1, side, side), torch.arange(8)
    return lambda: Gradient()(network, images, targets)


def _path(steps: int) -> Work:
    case = tiny_case(8, CPU)
    explainer = IntegratedGradients(steps=steps, most=None)
    return lambda: explainer(case.model, case.images, case.targets)


def _masks(masks: int) -> Work:
    case = tiny_case(4, CPU)
    explainer = RISE(imputer=GREY, masks=masks)
    return lambda: explainer(case.model, case.images, case.targets)


def _truth(parts: int) -> Work:
    case, scenes = tiny_case(8, CPU), discs(parts, 8)
    return lambda: games.attribute(case.model, scenes, case.targets)


if __name__ == "__main__":
    main()
