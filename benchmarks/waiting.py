"""python -m benchmarks.waiting [--repeats 3].

What a user waits for beside the network's passes, in CPU seconds of a whole process, over the
floor of what has to be loaded for it. The floor of a refusal and of --help is Hydra; that of a job
is torch, MLflow with its store, and SciPy's statistics, as Python loads them, garbage collection
included, which a command does without: it can be under 1. Floor and command take turns, and the
least of each counts, as other work only adds. Intervals of means are timed against SciPy's
bootstrap, one score after another, and a known image's scene against a search by distance.
"""

import argparse
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats

from benchmarks.kept import cpu_seconds, keep
from xai_exp.compute import ops
from xai_exp.statistics import mean_interval

_PLAIN = ["-c", "import os, hydra, yaml; os._exit(0)"]  # as commands end
_JOB = [
    "-c",
    "import os, hydra, torch, scipy.stats, mlflow.store.tracking.sqlalchemy_store; os._exit(0)",
]
_SMALL = ["dataset=digits", "trainer=quick", "trainer.samples=2000", "images=8"]
_SEEDS = 4
COMMANDS = {
    "--help": (["--help"], _PLAIN),
    "a wrong type": (["images=abc"], _PLAIN),
    "a folder that is not there": (["dataset=image_folder", "dataset.root=/nowhere"], _PLAIN),
    "a job that is found finished": (_SMALL, _JOB),
}


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    rows: dict[str, float] = {}
    print(f"{'what':34}{'CPU s':>8}{'floor':>8}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        _seconds(["-m", "xai_exp", *_SMALL], folder)
        _seconds(["-m", "xai_exp", "-m", *_SMALL, f"seed=range({_SEEDS})"], folder)
        for name, (command, floor) in COMMANDS.items():
            taken = [
                (_seconds(["-m", "xai_exp", *command], folder), _seconds(floor, folder))
                for _ in range(repeats)
            ]
            ours, least = (min(one) for one in zip(*taken, strict=True))
            rows |= {f"{name}, CPU s": ours, f"{name}, ratio": ours / least}
            print(f"{name:34}{ours:8.2f}{least:8.2f}{ours / least:7.2f}")
        several = [f"seed=range({_SEEDS})", "seed=0"]
        taken = [
            [_seconds(["-m", "xai_exp", "-m", *_SMALL, seeds], folder) for seeds in several]
            for _ in range(repeats)
        ]
        many = min(one for one, _ in taken) - min(one for _, one in taken)
        rows["a further job of -m, CPU s"] = many / (_SEEDS - 1)
        print(f"{'a further job of -m':34}{rows['a further job of -m, CPU s']:8.2f}")
    for name, (ours, theirs) in {"intervals": intervals(), "a known image": known()}.items():
        rows |= {f"{name}, CPU s": ours, f"{name}, ratio": theirs / ours}
        print(f"{name:34}{ours:8.3f}{theirs:8.3f}{theirs / ours:7.1f} times faster")
    keep("waiting", rows)


def intervals(images: int = 2000, scores: int = 20) -> tuple[float, float]:
    """CPU seconds of the intervals of as many scores of as many images: ours and SciPy's."""
    made = np.random.default_rng(0).gamma(1.0, size=(scores, images))
    mean_interval(made[0])

    def theirs() -> None:
        for one in made:
            stats.bootstrap((one,), np.mean, n_resamples=9999, batch=2**24 // images, method="BCa")

    return _taken(lambda: [mean_interval(one) for one in made]), _taken(theirs)


def known(images: int = 2048, asked: int = 64) -> tuple[float, float]:
    """CPU seconds to find images among as many: by key, and by distance."""
    others = torch.rand(images, 1, 64, 64)
    mine = others[:asked]
    ops.nearest(mine, others)
    by_distance = _taken(lambda: torch.cdist(mine.flatten(1), others.flatten(1)).argmin(1))
    return _taken(lambda: ops.nearest(mine, others)), by_distance


def _taken(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _seconds(words: list[str], folder: str) -> float:
    """CPU seconds of a process in a folder, whatever it ends with."""
    return cpu_seconds(words, folder, check=False)


if __name__ == "__main__":
    main()
