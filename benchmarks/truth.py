"""python -m benchmarks.truth [--images 64] [--threads 1] [--device cpu] [--repeats 3].

The cost of exact truth over its floor, for images of 64x64 with k discs: the floor is 2^k images
through the model in the fastest way that benchmarks.metrics knows. Rendering is part of the cost:
each part is drawn once, each subset is a sum of parts. Times are the best of the repeats, taken in
turns with the floor's.
"""

import argparse

import torch
from torch import nn

from benchmarks.kept import keep
from benchmarks.metrics import best_way, forward_time, seconds, tiny_case
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
    rows: dict[str, float] = {}
    for number in options.objects:
        each, floor = times(number, options.images, options.repeats, device)
        print(f"{number:8}{2**number:8}{each * 1e3:10.3f}{floor * 1e3:8.2f}{each / floor:7.3f}")
        rows |= {f"{number} objects, ms an image": each * 1e3}
        rows |= {f"{number} objects, ratio": each / floor}
    print("the same by how parts are drawn, over the cost of passes alone")
    for name, overlap, division in WAYS:
        ratio = drawn_in(overlap, division, options.images, options.repeats, device)
        print(f"{name:>24}: {ratio:.3f}")
        rows[f"{name}, ratio"] = ratio
    if options.device == "cpu" and options.objects == _COUNTS:
        keep("truth", rows)


WAYS = (
    ("layers (disjoint)", 0.0, "objects"),
    ("painted (overlapping)", 0.4, "objects"),
    ("patches of a 3x3 grid", 0.0, "grid"),
)


def drawn_in(
    overlap: float, division: str, count: int, repeats: int, device: torch.device
) -> float:
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
        forward.append(forward_time(case, best_way(case), passes))
    return min(own) / min(forward)


def times(objects: int, count: int, repeats: int, device: torch.device) -> tuple[float, float]:
    """Seconds an image of exact truth, and of its passes alone."""
    case = tiny_case(count, device)
    scenes = discs(objects, count).to(device)
    model: nn.Module = case.model
    passes, way = 2**objects * count, best_way(case)
    own, forward = [], []
    for _ in range(repeats):
        own.append(seconds(lambda: truth.attribute(model, scenes, case.targets), device))
        forward.append(forward_time(case, way, passes))
    return min(own) / count, min(forward) / count


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
