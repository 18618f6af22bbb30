"""python -m benchmarks.passes [--images 64] [--repeats 15].

One forward pass of the default network by the ways there are to run it: as it is, in fewer steps
(`xai_exp.compute.streamline`: what metrics and removing explainers take), compiled by torch
(frozen, which needs a C++ compiler) and exported to onnxruntime, either network. CPU milliseconds
an image, the best of the repeats, taken in turns on one thread; the ratio is to the pass in fewer
steps. `apart` is the most that logits differ from those of the network as it is, over their
largest. Then how near the pass is to the most that this core can multiply: of its convolutions
alone, and of a product of two large matrices, operations a second.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable

import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.explainers import best_times, made
from benchmarks.kept import keep
from xai_exp.compute import machine
from xai_exp.compute.streamline import streamlined
from xai_exp.formats import exporting

CPU = torch.device("cpu")
OURS = "in fewer steps"
COMPILED = "in fewer steps, torch.compile"
_SIDE = 1024  # of the matrices


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    machine.tune_allocator()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    case = made("cnn", options.images, 1, CPU)
    rows: dict[str, float] = {}
    with torch.no_grad():
        short = streamlined(case.model, case.images[:1])
        all_ways = ways(case.model, short, case.images)
        works = {name: (lambda way=way: way(case.images)) for name, way in all_ways.items()}
        rows["compiling, s"] = first_time(works[COMPILED])
        best = best_times(works, options.repeats, CPU)
        logits = {name: way(case.images) for name, way in all_ways.items()}
        rows |= speeds(short, case.images, best[OURS], options.repeats)
    print(f"{'':32}{'ms/image':>10}{'ratio':>8}{'apart':>10}")
    for name, spent in best.items():
        each, ratio = spent / options.images * 1e3, spent / best[OURS]
        expected = logits["as it is"]
        apart = float((logits[name] - expected).abs().max() / expected.abs().max())
        print(f"{name:32}{each:10.4f}{ratio:8.2f}{apart:10.0e}")
        rows |= {f"{name}, ms an image": each, f"{name}, ratio": ratio}
    print(f"compiling: {rows['compiling, s']:.1f} s")
    for name in ("the pass", "its convolutions", "a product of matrices"):
        print(f"{name}: {rows[f'{name}, Gflop/s']:.0f} Gflop/s")
    print(f"convolutions take {rows['convolutions, share']:.0%} of the pass")
    keep("passes", rows)


def first_time(work: Callable[[], object]) -> float:
    """Seconds of a first call, the compiler's processes included, with nothing kept of before."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


def speeds(short: nn.Module, images: Tensor, passing: float, repeats: int) -> dict[str, float]:
    """Operations a second of the pass in fewer steps, of its convolutions and of a product."""
    inputs: dict[nn.Module, Tensor] = {}
    hooks = [
        part.register_forward_pre_hook(lambda part, given: inputs.update({part: given[0]}))
        for part in short.modules()
        if isinstance(part, nn.Conv2d)
    ]
    with FlopCounterMode(display=False) as counted:
        short(images)
    for hook in hooks:
        hook.remove()
    with FlopCounterMode(display=False) as of_convolutions:
        for part, given in inputs.items():
            part(given)
    left, right = torch.rand(_SIDE, _SIDE), torch.rand(_SIDE, _SIDE)
    works = {
        "convolutions": lambda: [part(given) for part, given in inputs.items()],
        "product": lambda: left @ right,
    }
    best = best_times(works, repeats, CPU)
    return {
        "the pass, Gflop/s": counted.get_total_flops() / passing / 1e9,
        "its convolutions, Gflop/s": of_convolutions.get_total_flops() / best["convolutions"] / 1e9,
        "a product of matrices, Gflop/s": 2 * _SIDE**3 / best["product"] / 1e9,
        "convolutions, share": best["convolutions"] / passing,
    }


def ways(
    model: nn.Module, short: nn.Module, images: Tensor
) -> dict[str, Callable[[Tensor], Tensor]]:
    """The network, and the same in fewer steps, by each way to run it."""
    compiler = {"freezing": True, "cpp.threads": 1}
    return {
        "as it is": model,
        OURS: short,
        "torch.compile": torch.compile(model, options=compiler),
        COMPILED: torch.compile(short, options=compiler),
        "onnxruntime": exported(model, images),
        "in fewer steps, onnxruntime": exported(short, images),
    }


def exported(model: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """The network as onnxruntime runs it, on one thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    written = exporting.exported(model, images).model.SerializeToString()
    session = onnxruntime.InferenceSession(written, settings)
    return lambda given: torch.from_numpy(session.run(None, {"images": given.numpy()})[0])


if __name__ == "__main__":
    main()
