"""How often the project's intervals hold what they should, by simulation: writes docs/coverage.md.

    python scripts/coverage.py [--draws 2400]

Scores are drawn as sums of normal effects of networks, images and single cells, or as metrics
beside a truth, at the numbers of networks that studies use. `--draws` is the number of simulated
studies for each number (half of it for validity and for intervals that hold together).
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from xai_exp.statistics import Array, crossed_interval, simultaneous
from xai_exp.studies.validity import Beside, correlation_of_means, correlation_within

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "coverage.md"
NETWORKS = (3, 5, 10, 15)
IMAGES = 24
SPREADS = {
    "networks, images and cells alike": (1.0, 1.0, 1.0),
    "networks differ little": (0.3, 1.0, 1.0),
    "networks differ most": (1.0, 0.3, 0.3),
    "networks do not differ": (0.0, 1.0, 1.0),
}
TOGETHER = 12  # comparisons
EXPLAINERS = 8
HEAD = """# How often the intervals hold the truth

Written by `python scripts/coverage.py`: {draws} simulated studies of {images} images for each
number (half of them for validity and for intervals that hold together), so that a number is
known to about {error:.1f} points (half as much again there). All should be 95; more is too wide,
less too narrow. Validity: a metric follows the truth by a factor of 0.8 in the mean that differs
between networks by a standard deviation of 0.15 or of 0.5. In the second case it misleads in some
networks; the validities are then so skewed that three to fifteen networks do not show it, and
intervals are too narrow: read one validity a network there.

"""


def main() -> int:
    """Simulate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2400)
    draws = parser.parse_args().draws
    error = 100 * math.sqrt(0.05 * 0.95 / draws)
    text = HEAD.format(draws=draws, images=IMAGES, error=error) + "\n".join(page(draws))
    PAGE.write_text(text + "\n")
    print(PAGE.relative_to(ROOT))
    return 0


def page(draws: int) -> Iterator[str]:
    """The lines of the table, in per cent."""
    yield "| intervals | " + " | ".join(f"{count} networks" for count in NETWORKS) + " |"
    yield "| --- |" + " --- |" * len(NETWORKS)
    for name, spread in SPREADS.items():
        yield _row(f"one mean; {name}", lambda m, s=spread: mean_held(m, s, draws))
    for name, load in (("unrelated", 0.0), ("alike", 0.9)):
        yield _row(
            f"{TOGETHER} differences, all at once; {name}",
            lambda m, part=load: all_held(m, part, draws // 2),
        )
    for kind in ("within", "means"):
        for name, apart in (("networks differ little", 0.15), ("networks differ most", 0.5)):
            yield _row(
                f"validity, {kind}; {name}",
                lambda m, k=kind, by=apart: validity_held(m, k, by, draws // 2),
            )


def _row(name: str, held: Callable[[int], float]) -> str:
    numbers = [100 * held(count) for count in NETWORKS]
    print(name, [f"{one:.1f}" for one in numbers], flush=True)
    return f"| {name} | " + " | ".join(f"{one:.1f}" for one in numbers) + " |"


def scores(rng: np.random.Generator, networks: int, spread: tuple[float, float, float]) -> Array:
    """(networks, images) scores whose true mean is 0."""
    shapes = ((networks, 1), (1, IMAGES), (networks, IMAGES))
    effects = [size * rng.standard_normal(one) for size, one in zip(spread, shapes, strict=True)]
    return effects[0] + effects[1] + effects[2]


def mean_held(networks: int, spread: tuple[float, float, float], draws: int) -> float:
    """How often the interval of one mean holds it."""
    rng = np.random.default_rng(networks)
    found = (crossed_interval(scores(rng, networks, spread)) for _ in range(draws))
    return float(np.mean([one.low <= 0 <= one.high for one in found]))


def all_held(networks: int, load: float, draws: int) -> float:
    """How often all intervals of a family hold their means: one minus its false positives."""
    rng, held = np.random.default_rng(networks), 0
    for _ in range(draws):
        common = scores(rng, networks, (1.0, 1.0, 1.0))
        own = [scores(rng, networks, (1.0, 1.0, 1.0)) for _ in range(TOGETHER)]
        tables = [load * common + math.sqrt(1 - load**2) * one for one in own]
        found = simultaneous(tables, [0] * TOGETHER, draws=1000)
        held += all(one.low <= 0 <= one.high for one in found)
    return held / draws


def beside(rng: np.random.Generator, networks: int, apart: float) -> Beside:
    """A metric beside a truth, over explainers: networks differ in how far the two agree."""
    quality = np.linspace(-1, 1, EXPLAINERS)
    agreeing = 0.8 + apart * rng.standard_normal((networks, 1, 1))
    shared = rng.standard_normal((1, IMAGES, EXPLAINERS))
    true = quality + shared + 0.5 * rng.standard_normal((networks, IMAGES, EXPLAINERS))
    noise = rng.standard_normal((networks, IMAGES, EXPLAINERS))
    mine = agreeing * true + rng.standard_normal((1, IMAGES, EXPLAINERS)) + noise
    names = [str(place) for place in range(EXPLAINERS)]
    return Beside(mine, true, names, np.ones(mine.shape[:2]))


@cache
def true_validity(kind: str, apart: float, draws: int = 1500) -> float:
    """The mean over many networks, two to a set of images."""
    many = np.random.default_rng(99)
    drawn = (beside(many, 2, apart) for _ in range(draws))
    if kind == "within":
        return float(np.mean([one.rhos().mean() for one in drawn]))
    return float(np.mean([correlation_of_means({"": one}, samples=2).mean for one in drawn]))


def validity_held(networks: int, kind: str, apart: float, draws: int) -> float:
    """How often the interval of a validity holds its mean over networks and sets of images."""
    rng = np.random.default_rng(networks)
    interval = correlation_within if kind == "within" else correlation_of_means
    wanted = true_validity(kind, apart)
    found = (interval({"": beside(rng, networks, apart)}) for _ in range(draws))
    return float(np.mean([one.low <= wanted <= one.high for one in found]))


if __name__ == "__main__":
    sys.exit(main())
