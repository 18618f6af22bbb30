"""python -m scripts.schedule: whether the default network learns to count from fewer images.

Trains it anew with other schedules and writes `schedule.json` beside this file, in a quarter of an
hour on two cores. docs/performance.md says what came of it.
"""

import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from xai_exp.compute import machine
from xai_exp.config import configured
from xai_exp.data.counting import Counting
from xai_exp.models.cnn import CNN
from xai_exp.training import Trainer
from xai_exp.types import Dataset, Images, Labels, Split

STORED = Path(__file__).resolve().with_suffix(".json")
SEEDS = (0, 1)
WHOLE: dict[str, Any] = {"epochs": 4, "batch_size": 64, "learning_rate": 0.005}
HALF = WHOLE | {"epochs": 2}
THREE = WHOLE | {"epochs": 3}
WAYS: tuple[dict[str, Any], ...] = (
    WHOLE,
    THREE,
    THREE | {"batch_size": 32},
    HALF,
    *(HALF | {"learning_rate": rate} for rate in (0.0025, 0.01, 0.02)),
    *(HALF | {"batch_size": size} for size in (16, 32)),
    HALF | {"batch_size": 32, "learning_rate": 0.01},
    HALF | {"batch_size": 32, "turned": True},
)


@configured
class Turning(Trainer):
    """Shows each batch turned by quarters or mirrored: what is counted stays as many."""

    def batch(
        self, split: Split, index: Tensor, generator: torch.Generator
    ) -> tuple[Images, Labels]:
        """The images at `index`, in one of their eight positions, and their labels."""
        images, labels = super().batch(split, index, generator)
        position = int(torch.randint(8, (), generator=generator))
        images = torch.rot90(images, position % 4, (2, 3))
        return (images.flip(3) if position > 3 else images), labels


def main() -> None:
    """Train with every way and seed, and keep what was reached."""
    jobs = [(way, seed) for way in WAYS for seed in SEEDS]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        rows = []
        for row in pool.map(reached, jobs):
            rows.append(row)
            print(row, flush=True)
    STORED.write_text(json.dumps(rows, indent=1) + "\n")


def reached(job: tuple[dict[str, Any], int]) -> dict[str, Any]:
    """The accuracy on the test split, and how long training took on one thread."""
    way, seed = job
    machine.tune_allocator()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    kind = Turning if way.get("turned") else Trainer
    given = {name: way[name] for name in ("batch_size", "learning_rate")}
    config = kind(max_epochs=way["epochs"], target_accuracy=1.0, precision="32", **given)
    network, data = CNN().build(1, (64, 64), 10), cast(Dataset, Counting())
    with tempfile.TemporaryDirectory() as folder:
        found = config.fit(
            data,
            network,
            seed=seed,
            folder=Path(folder),
            device=torch.device("cpu"),
            progress=False,
        )
    return way | {"seed": seed, "accuracy": found.accuracy, "seconds": round(found.seconds, 1)}


if __name__ == "__main__":
    main()
