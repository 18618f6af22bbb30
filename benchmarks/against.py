"""python -m benchmarks.against CHECKOUT [--seconds 10] [--images 64] [--explainers NAME ...].

Every explainer of this checkout against the same one of another checkout (say a git worktree of an
older commit with the same environment): the ratio of their times, the median of the rounds. Two
processes stay up, one in each checkout, and take turns within a round, so that a busy machine slows
both; a round's ratio is of neighbours. Times are the processor's own, on one thread, of the case
that `benchmarks.explainers` measures; the first round warms up and is left out. There are as many
rounds as fit the seconds that are given to one explainer, 3 to 41. `low` and `high` are the
quartiles of the ratios.
"""

import argparse
import importlib
import subprocess
import sys
import time
import warnings
from math import isnan
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="for one explainer")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--explainers", nargs="*", default=[], help="only these")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.checkout, options.model, options.images)
        return
    here, other = (Worker(one, options) for one in (HERE, options.checkout.resolve()))
    try:
        compare(here, other, options)
    finally:
        here.end()
        other.end()


def compare(here: "Worker", other: "Worker", options: argparse.Namespace) -> None:
    """A line for each explainer that both checkouts have."""
    names = [name for name in here.names if name in other.names]
    print(f"{'explainer':34}{'ms/image':>10}{'rounds':>8}{'ratio':>7}{'low':>7}{'high':>7}")
    for name in names:
        if options.explainers and name not in options.explainers:
            continue
        pairs = in_turns(here, other, name, options.seconds)
        if not pairs:
            print(f"{name:34}refused")
            continue
        low, middle, high = quantiles([own / before for own, before in pairs], n=4)
        own = median(own for own, _ in pairs) / options.images * 1e3
        spread = f"{middle:7.3f}{low:7.3f}{high:7.3f}"
        print(f"{name:34}{own:10.3f}{len(pairs):8}{spread}", flush=True)
    new = [name for name in here.names if name not in other.names]
    print(f"only here: {', '.join(new) or 'none'}")


def in_turns(here: "Worker", other: "Worker", name: str, seconds: float) -> list[tuple[float, ...]]:
    """The times of one explainer in both checkouts, round by round, in alternating order."""
    for one in (here, other):
        one.seconds(name)
    once = here.seconds(name) + other.seconds(name)
    if isnan(once):
        return []
    pairs = []
    for number in range(min(41, max(3, int(seconds / once)))):
        order = (here, other) if number % 2 else (other, here)
        times = {one: one.seconds(name) for one in order}
        pairs.append((times[here], times[other]))
    return pairs


class Worker:
    """A process in a checkout, that explains when it is told to and says how long it took."""

    def __init__(self, checkout: Path, options: argparse.Namespace) -> None:
        given = [str(checkout), "--serve", "--model", options.model, "--images", options.images]
        # By its path: an older checkout does not hold this module.
        command = [sys.executable, __file__, *map(str, given)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, cwd=checkout, stdin=pipe, stdout=pipe, text=True, bufsize=1
        )
        self.names = self._answer().split()

    def seconds(self, name: str) -> float:
        """How long one explanation of all images takes."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name}\n")
        return float(self._answer())

    def end(self) -> None:
        """Let the process go."""
        self.process.kill()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args}: ended")
        return line


def serve(checkout: Path, model: str, images: int) -> None:
    """Explain by each name that is read, and print the time."""
    sys.path[:0] = [str(checkout)]
    measured: Any = importlib.import_module("benchmarks.explainers")
    assert Path(measured.__file__).is_relative_to(checkout), measured.__file__
    measured.machine.tune_allocator()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = measured.made(model, images, 1, torch.device("cpu"))
    every = measured.explainers()
    print(*every, flush=True)
    bound: dict[str, Any] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in bound:
            fit = getattr(every[name], "fit", None)
            bound[name] = fit(case.model, case.images) if fit else every[name]
        start = time.process_time()
        try:
            bound[name](*case)
        except ValueError as error:  # what a user got wrong is one in either checkout
            print("nan", flush=True)
            print(f"{name}: {error}", file=sys.stderr)
        else:
            print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
