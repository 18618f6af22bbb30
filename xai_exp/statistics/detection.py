"""How many heatmaps must be looked at to find a fault of a network, and whether they foretell."""

from typing import NamedTuple

import numpy as np
import scipy

from xai_exp.statistics.layout import Array


class Needed(NamedTuple):
    """How many heatmaps a test needs.

    Attributes:
        heatmaps: the fewest of one network with which the test has the wanted power; None if not
            even the most that were tried.
        power: the share of faulty networks that it finds with so many, or with the most.
        alarms: the share of sound networks that it takes for faulty, of those that did not set its
            threshold.
    """

    heatmaps: int | None
    power: float
    alarms: float


def heatmaps_needed(
    sound: Array,
    faulty: Array,
    *,
    alarms: float = 0.05,
    power: float = 0.8,
    most: int = 100,
    draws: int = 4000,
    seed: int = 0,
) -> Needed:
    """The fewest heatmaps of a network whose mean tells faulty networks from sound ones.

    The test alarms where the mean of n numbers, one a heatmap, is above the threshold that sound
    networks pass with probability `alarms`. Half of the sound networks set the threshold, the
    others and all faulty ones are tested, then the other way round; a network and then n of its
    heatmaps are drawn with replacement. So networks that differ among themselves count as well:
    where sound networks differ as much from one another as from faulty ones, no number suffices.

    Args:
        sound: (network, image) what each heatmap shows of the fault; NaN is left out.
        faulty: the same of networks that have it.
        alarms: the wanted rate of false alarms, in 0..1.
        power: the wanted rate of found faults, in 0..1.
        most: the most heatmaps that are tried.
        draws: simulated tests.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    shares = np.zeros((2, most))
    for part in (0, 1):
        setting, tested = sound[part::2], sound[1 - part :: 2]
        tops = np.quantile(_means(setting, most, draws, rng), 1 - alarms, axis=0, method="higher")
        for row, networks in enumerate((faulty, tested)):
            shares[row] += (_means(networks, most, draws, rng) > tops).mean(0) / 2
    enough = np.flatnonzero(shares[0] >= power)
    place = int(enough[0]) if len(enough) else most - 1
    found = place + 1 if len(enough) else None
    return Needed(found, float(shares[0, place]), float(shares[1, place]))


def _means(values: Array, most: int, draws: int, rng: np.random.Generator) -> Array:
    """(draw, n) means of the first n numbers of a network that is drawn."""
    known = [row[~np.isnan(row)] for row in values]
    known = [row for row in known if len(row)]
    chosen = rng.integers(len(known), size=draws)
    luck = rng.random((draws, most))
    drawn = np.empty((draws, most))
    for place, row in enumerate(known):
        mine = chosen == place
        drawn[mine] = row[(luck[mine] * len(row)).astype(int)]
    return drawn.cumsum(1) / np.arange(1, most + 1)


def auroc(scores: Array, wrong: Array) -> float:
    """The chance that a wrong answer has a lower score than a right one; ties count half.

    Range 0..1, HIGHER is better, 1/2 is chance: the area under the curve by Mann and Whitney
    (Hanley and McNeil 1982). NaN where all answers are right, or all wrong.

    >>> auroc(np.array([0.1, 0.9, 0.8]), np.array([True, False, False]))
    1.0
    """
    fails, holds = int(wrong.sum()), int((~wrong).sum())
    if not fails or not holds:
        return float("nan")
    ranks = scipy.stats.rankdata(-scores)
    return float((ranks[wrong].sum() - fails * (fails + 1) / 2) / (fails * holds))
