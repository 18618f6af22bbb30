"""python -m benchmarks.whole [--images 64] [--rounds 3] [--python PYTHON].

Ten explainers by twelve metrics from the Python API, against captum, zennit and Quantus for the
same: as their tutorials write it (one batch, torch's layout of weights, the C library's allocator)
and tuned (batches of our size, our layout, our allocator). The network is the default one, images
are 64x64, pixels are removed to a constant by all, with as many passes.

PYTHON is of an environment that has this project with its extra `quantus`; all ways run in it, each
in a process that stays up, and take turns within a round, on one thread. Numbers are CPU seconds
and the medians of the rounds' ratios; a first round warms up and is left out. `apart` is the most
that a heatmap or score differs from theirs, over their largest; where definitions differ nothing
stands there: maps that they leave in the size of a layer or spread over windows otherwise, scores
whose steps or clipping are others.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.kept import environment, keep

WAYS = ("own", "tutorials", "tuned")
EXPLAINERS = (
    *("gradient", "sensitivity", "input_x_gradient", "integrated_gradients", "deconvnet"),
    *("guided_backprop", "grad_cam", "guided_grad_cam", "occlusion", "lrp_epsilon_plus_flat"),
)
METRICS = (
    *("pixel_flipping", "region_perturbation", "selectivity", "faithfulness_estimate", "road"),
    *("pointing_game", "relevance_mass", "relevance_rank", "attribution_localisation", "auc"),
    *("sparseness", "complexity"),
)
SAME_MAPS = (*EXPLAINERS[:6], "lrp_epsilon_plus_flat")  # defined alike by both
_SAME_SCORES = ("pointing_game", "relevance_rank", "auc", "sparseness", "complexity")
ALIKE = tuple(("gradient", metric) for metric in _SAME_SCORES)
Done = Mapping[str, np.ndarray]


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=os.environ.get("XAI_EXP_QUANTUS", sys.executable))
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in the processes, which is noted of the machine
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(way, options, Path(folder)) for way in WAYS]
        rounds = []
        for number in range(options.rounds + 1):
            order = workers[number % 3 :] + workers[: number % 3]
            done = {worker.way: worker.done() for worker in order}
            rounds.append(done)
            print(f"round {number} of {options.rounds}", flush=True)
        for worker in workers:
            worker.end()
    apart(rounds[0]["own"], rounds[0]["tuned"])
    keep("whole", table(rounds[1:], options.images))


def table(rounds: Sequence[Mapping[str, Done]], images: int) -> dict[str, float]:
    """Of explaining, scoring and both: our time, and theirs over it."""
    rows: dict[str, float] = {}
    print(f"{'':14}{'ms/image':>10}{'tutorials':>11}{'tuned':>8}")
    for name, of in {"explaining": [0], "scoring": [1], "both": [0, 1]}.items():
        spent = [{way: one["seconds"][of].sum() for way, one in done.items()} for done in rounds]
        own = median(one["own"] for one in spent) / images * 1e3
        ratios = {way: median(one[way] / one["own"] for one in spent) for way in WAYS[1:]}
        print(f"{name:14}{own:10.2f}{ratios['tutorials']:11.2f}{ratios['tuned']:8.2f}")
        rows[f"{name}, ms an image"] = own
        rows |= {f"{name}, times faster than {way}": ratio for way, ratio in ratios.items()}
    return rows


def apart(own: Done, theirs: Done) -> None:
    """How far ours are from theirs where they are defined alike."""
    for name in (*SAME_MAPS, *map(" ".join, ALIKE)):
        most = np.abs(own[name] - theirs[name]).max() / np.abs(theirs[name]).max()
        print(f"{name:32}{most:8.0e} apart")


class Worker:
    """A process that does all of it in one way when it is told to."""

    def __init__(self, way: str, options: argparse.Namespace, folder: Path) -> None:
        self.way, self.at = way, folder / f"{way}.npz"
        command = [options.python, "-m", "benchmarks.whole_ways", way, str(options.images)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=environment(), stdin=pipe, stdout=pipe, text=True, bufsize=1
        )

    def done(self) -> Done:
        """Heatmaps, scores, and the seconds that explaining and scoring took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.at}\n")
        if not self.process.stdout.readline():
            raise SystemExit(f"{self.way}: ended; --python needs this project's extra quantus")
        return dict(np.load(self.at))

    def end(self) -> None:
        """Let the process go."""
        self.process.kill()


if __name__ == "__main__":
    main()
