"""python -m benchmarks.training [--steps 60] [--rounds 3] [--threads 1 2] [--device cpu].

The cost of one step of the Trainer over one step of a bare loop that does the same arithmetic
(same network, batches, optimizer and schedule). Both fetch each batch from a split that notes the
time, so a step is what passes between two fetches; rounds of the two take turns, so that a busy
machine slows both, and the medians are compared. Milliseconds of the wall: with two threads those
of the processor count the waiting of one for the other. The bare loop takes torch's own batch norm.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.kept import keep
from xai_exp.compute import machine
from xai_exp.data.loading import TensorSplit
from xai_exp.models.cnn import CNN
from xai_exp.training import Trainer
from xai_exp.types import Images, Positions


@dataclass(frozen=True, kw_only=True)
class Timed(TensorSplit):
    """Images in memory; notes when each batch was asked for."""

    times: list[float] = field(default_factory=list)

    def images(self, index: Positions) -> Images:
        """The images at `index`."""
        if isinstance(index, Tensor) and index.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())
        return super().images(index)


@dataclass(frozen=True, kw_only=True)
class Random:
    """Random images as a dataset."""

    train: Timed
    validation: Timed
    test: Timed
    classes: tuple[str, ...] = tuple("0123456789")
    channels: int = 1
    size: tuple[int, int] = (64, 64)


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="*", default=(1, 2))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    machine.tune_allocator()
    device = machine.device(options.device)
    print(f"a step of {Trainer().batch_size} images of 64x64, {device}")
    rows: dict[str, float] = {}
    for threads in options.threads:
        torch.set_num_threads(threads)
        trainer, bare = [], []
        for _ in range(options.rounds):
            trainer += by_trainer(options.steps, device)
            bare += by_loop(options.steps, device)
        took, floor = median(trainer), median(bare)
        print(
            f"{threads} thread(s): bare loop {floor * 1e3:.2f} ms, Trainer {took * 1e3:.2f} ms, "
            f"ratio {took / floor:.3f}"
        )
        rows |= {f"{threads} threads, ms": took * 1e3, f"{threads} threads, ratio": took / floor}
    if options.device == "cpu":
        keep("training", rows)


def random_data(steps: int, device: torch.device) -> Random:
    """As many batches as there are steps, on the device."""

    def split(count: int) -> Timed:
        images = torch.randint(256, (count, 1, 64, 64), dtype=torch.uint8, device=device)
        return Timed(pixels=images, labels=torch.randint(10, (count,), device=device))

    return Random(train=split(steps * Trainer().batch_size), validation=split(64), test=split(64))


def by_trainer(steps: int, device: torch.device) -> list[float]:
    """Seconds of each step of the Trainer."""
    data = random_data(steps, device)
    network = CNN().build(1, (64, 64), 10)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(max_epochs=1, precision="32").fit(
            data, network, seed=0, folder=Path(folder), device=device, progress=False
        )
    return between(data.train.times)


def by_loop(steps: int, device: torch.device) -> list[float]:
    """Seconds of each step of a loop without any framework."""
    config, data = Trainer(), random_data(steps, device)
    network: nn.Module = CNN().build(1, (64, 64), 10).to(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, steps)
    for index in torch.randperm(len(data.train), device=device).split(config.batch_size):
        images = data.train.images(index).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        functional.cross_entropy(network(images), data.train.labels[index]).backward()
        nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip or float("inf"))
        optimizer.step()
        schedule.step()
    return between(data.train.times)


def between(times: list[float]) -> list[float]:
    """The time from each fetch to the next, the first few left out as warm-up."""
    return [after - before for before, after in pairwise(times[5:])]


if __name__ == "__main__":
    main()
