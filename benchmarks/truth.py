"""python -m benchmarks.truth [--images 64] [--threads 1] [--device cpu] [--repeats 3].

The cost of exact truth over its floor, for images of 64x64 with k discs: the floor is 2^k images
through the bare model at the best time of one image, over several batch sizes (the ratio can be
below 1: passes take fewer steps, see xai_exp/compute/streamline.py). Rendering is part of the cost:
each part is drawn once, each subset is a sum of parts. Times are the best of the repeats, taken in
turns with the floor's.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.metrics import best_size, forward_time, seconds, tiny_case
from xai_exp.compute import machine
from xai_exp.data.counting import Counting
from xai_exp.truth import games as truth
from xai_exp.types import Scenes

_COUNTS = (1, 2, 4, 6, 9)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--objects", type=int, nargs="*", default=_COUNTS)
    options = parser.parse_args()
    machine.tune_allocator()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    print(f"{options.images} images of 64x64, {options.device}, {options.threads} thread(s)")
    print(f"{'objects':>8}{'passes':>8}{'ms/image':>10}{'floor':>8}{'ratio':>7}")
    for line in table(options.objects, options.images, options.repeats, device):
        print(line)
    print("the same by how parts are drawn, over the cost of passes alone")
    for name, overlap, division in WAYS:
        print(f"{name:>24}: {way(overlap, division, options.images, options.repeats, device):.3f}")


def table(objects: Sequence[int], count: int, repeats: int, device: torch.device) -> list[str]:
    """A line for each number of objects."""
    return [row(number, count, repeats, device) for number in objects]


WAYS = (
    ("layers (disjoint)", 0.0, "objects"),
    ("painted (overlapping)", 0.4, "objects"),
    ("patches of a 3x3 grid", 0.0, "grid"),
)


def way(overlap: float, division: str, count: int, repeats: int, device: torch.device) -> float:
    """The time of exact truth, with drawing, over that of the same passes without."""
    case = tiny_case(count, device)
    data = Counting(count=10 * count, min_objects=6, max_objects=6, overlap=overlap)
    drawn = data.test.scenes(torch.arange(count))
    assert drawn is not None
    scenes = drawn.to(device).divided(division, cells=3)
    passes = int((2 ** scenes.present.sum(1)).sum())
    own, forward = [], []
    for _ in range(repeats):
        own.append(seconds(lambda: truth.attribute(case.model, scenes, case.targets), device))
        forward.append(forward_time(case, best_size(case), passes))
    return min(own) / min(forward)


def row(objects: int, count: int, repeats: int, device: torch.device) -> str:
    """One line of the table."""
    case = tiny_case(count, device)
    scenes = discs(objects, count).to(device)
    model: nn.Module = case.model
    passes, size = 2**objects * count, best_size(case)
    own, forward = [], []
    for _ in range(repeats):
        own.append(seconds(lambda: truth.attribute(model, scenes, case.targets), device))
        forward.append(forward_time(case, size, passes))
    per_image, floor = min(own) / count, min(forward) / count
    times = f"{per_image * 1e3:10.3f}{floor * 1e3:8.2f}{per_image / floor:7.3f}"
    return f"{objects:8}{2**objects:8}{times}"


def discs(objects: int, count: int) -> Scenes:
    """Scenes with equally many discs."""
    radius = 6.0 if objects < 10 else 4.0
    data = Counting(
        count=10 * count,
        min_objects=objects,
        max_objects=objects,
        max_radius=radius,
        min_radius=3.0,
    )
    found = data.test.scenes(torch.arange(count))
    assert found is not None
    return found


if __name__ == "__main__":
    main()
