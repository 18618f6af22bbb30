"""python -m benchmarks.rendering [--images 2048] [--batch 256] [--rounds 5] [--device cpu].

Images a second of the batched rasteriser over those of a Python loop that draws the same scenes
with scikit-image, and over the time that writing the images takes. scikit-image draws without
anti-aliasing (`draw.polygon`, `draw.disk`), or with it by drawing at four times the size and
averaging; the rasteriser's coverage is exact. One thread; rounds take turns, so that a busy machine
slows all, and the best of each counts. Sampling the scenes is timed apart: it happens once.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from skimage import draw

from benchmarks.kept import keep
from xai_exp.compute import machine
from xai_exp.data.counting import Counting
from xai_exp.data.loading import SceneSplit
from xai_exp.data.scenes.polygons import DISC, circumradius, regular_polygon
from xai_exp.data.scenes.scene import Scene
from xai_exp.data.triangles_squares import TrianglesSquares

SMOOTH = 4  # by how much the anti-aliased drawing of scikit-image is larger


def main() -> None:
    """Print images a second and ratios for each rendered dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    machine.tune_allocator()
    torch.set_num_threads(1)
    device = machine.device(options.device)
    data = {
        "triangles_squares": TrianglesSquares(),
        "triangles_squares_64": TrianglesSquares(
            pixels=64, min_radius=6.0, max_radius=16.0, move=True
        ),
        "counting": Counting(),
        "counting, mixed shapes": Counting(shape="mixed"),
    }
    print(f"images a second, batches of {options.batch}, {device}, one thread")
    print("in brackets: the time that an image takes over the rasteriser's")
    rows: dict[str, float] = {}
    for name, dataset in data.items():
        start = clock(device)
        split = dataset.train
        sampling = clock(device) - start
        print(f"{name} ({dataset.size[0]}x{dataset.size[1]})")
        found = report(split, options, device)
        rows |= {f"{name}, {way}": value for way, value in found.items()}
        print(f"  sampling, once: {len(split) / sampling:,.0f} scenes a second")
    if options.device == "cpu":
        keep("rendering", rows)


def report(
    split: SceneSplit, options: argparse.Namespace, device: torch.device
) -> dict[str, float]:
    """Time the ways of drawing the same images, print them, and what is kept of them."""
    count = min(options.images, len(split))
    batches = torch.arange(count, device=device).split(options.batch)
    few = split.everything[: count // 16]
    empty = torch.zeros(options.batch, 1, *few.size, device=device)
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "rasteriser": (count, lambda: [split.images(index) for index in batches]),
        "masks alone": (count, lambda: [split.parts(index) for index in batches]),
        "writing alone": (count, lambda: [empty.clone() for _ in batches]),
        "skimage loop": (len(few), lambda: [loop(few, i, 1) for i in range(len(few))]),
        "skimage loop, smooth": (len(few), lambda: [loop(few, i, SMOOTH) for i in range(len(few))]),
    }
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(options.rounds):
        for way, (number, work) in ways.items():
            start = clock(device)
            work()
            seconds[way] = min(seconds[way], (clock(device) - start) / number)
    for way, each in seconds.items():
        print(f"  {way:22s}{1 / each:12,.0f}  ({each / seconds['rasteriser']:.2f})")
    own = seconds["rasteriser"]
    return {
        "images a second": 1 / own,
        "ratio to writing": own / seconds["writing alone"],
        "times faster than a loop": seconds["skimage loop, smooth"] / own,
    }


def clock(device: torch.device) -> float:
    """Seconds of this process's work, or of the wall on a GPU."""
    if device.type == "cpu":
        return time.process_time()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def loop(scenes: Scene, index: int, scale: int) -> np.ndarray:
    """One image by scikit-image, drawn `scale` times as large and averaged."""
    height, width = scenes.size
    large = (height * scale, width * scale)
    image = np.full(large, float(scenes.background[index]), np.float32)
    for item in range(scenes.sides.shape[1]):
        if kind := int(scenes.sides[index, item]):
            rows, columns = pixels(scenes, index, item, kind, scale)
            image[rows, columns] = float(scenes.levels[index, item])
    return image.reshape(height, scale, width, scale).mean((1, 3))


def pixels(
    scenes: Scene, index: int, item: int, kind: int, scale: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns that one object fills."""
    shape = (scenes.size[0] * scale, scenes.size[1] * scale)
    x, y = (scenes.centres[index, item] * scale).tolist()
    radius = float(scenes.radii[index, item]) * scale
    if kind == DISC:
        return draw.disk((y - 0.5, x - 0.5), radius, shape=shape)
    reach = torch.tensor([radius * circumradius(kind)])
    angle = scenes.angles[index, item, None]
    outline = regular_polygon(torch.tensor([[x, y]]), reach, angle, kind)[0].numpy()
    return draw.polygon(outline[:, 1] - 0.5, outline[:, 0] - 0.5, shape)


if __name__ == "__main__":
    main()
