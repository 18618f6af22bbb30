r"""Intervals of many differences that hold together, by the largest t (max-t).

Each difference has a mean, standard errors and degrees of freedom from its own two-way layout of
networks and images. Differences of one group share networks and images, so they go together: their
correlation is read off the networks' and the images' means and drawn towards 0, since few networks
make differences look more alike than they are. The distribution of the smallest p value
of all, were all differences 0, is drawn from normal samples of that correlation, each divided by a
standard deviation of its own degrees of freedom (the parametric form of Westfall and Young 1993,
section 2.3). Its 5 % quantile is the level of each interval; it lies between 5 % and Bonferroni's.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from xai_exp.statistics.differences import effect, point
from xai_exp.statistics.layout import Array, Known, filled, known, terms, there

_POWER = 0.8
_LARGEST = 30  # degrees of freedom, beyond which Student's t is drawn as if it had these


class Held(NamedTuple):
    """A difference whose interval holds together with all others.

    Attributes:
        difference: the mean over networks and images.
        low: lower end of the simultaneous interval; NaN where the spread is not known.
        high: upper end.
        effect: rank-biserial correlation over images, -1..1.
        p: adjusted: below the level if and only if the interval does not hold 0.
        detectable: the smallest true difference that would be found with a probability of 80 % by
            as many networks and images, at this level.
        networks: how many have a score.
        n: images.
    """

    difference: float
    low: float
    high: float
    effect: float
    p: float
    detectable: float
    networks: int
    n: int


def simultaneous(
    tables: Sequence[Array],
    groups: Sequence[Hashable] | None = None,
    level: float = 0.05,
    draws: int = 5000,
    seed: int = 0,
) -> list[Held]:
    """The means of many tables of differences, with intervals that hold together.

    Args:
        tables: (networks, images) each; NaN is missing.
        groups: which tables have the same networks and images, in the same order.
        level: the chance that any interval misses its mean.
        draws: of the smallest p value.
        seed: of these.

    Returns:
        One for each table. Where three differences or more are all equal, it is a point.
    """
    found = [known(np.asarray(table, float)) for table in tables]
    names = list(groups) if groups is not None else list(range(len(tables)))
    varied = [place for place, one in enumerate(found) if one.errors]
    smallest = np.ones(draws)
    rng = np.random.default_rng(seed)
    for name in dict.fromkeys(names[place] for place in varied):
        mine = [place for place in varied if names[place] == name]
        together = correlation([tables[place] for place in mine])
        freedom = np.array([found[place].widest()[1] for place in mine])
        smallest = np.minimum(smallest, _smallest(together, freedom, draws, rng))
    each = float(np.quantile(smallest, level)) if varied else level
    smallest.sort()
    return [
        _held(one, np.asarray(table, float), each, smallest)
        for one, table in zip(found, tables, strict=True)
    ]


def _held(one: Known, table: Array, level: float, smallest: Array) -> Held:
    size, missing = effect(np.atleast_2d(table)), float("nan")
    if point(table):
        p = float(one.mean == 0)
        return Held(one.mean, one.mean, one.mean, size, p, 0.0, one.networks, one.images)
    if not one.errors:
        return Held(one.mean, missing, missing, size, missing, missing, one.networks, one.images)
    reach, p = one.reach(level), one.p()
    beaten = np.searchsorted(smallest, p, side="right") / len(smallest)
    error, freedom = one.widest(level)
    detectable = reach + float(special.stdtrit(freedom, _POWER)) * error
    ends = (one.mean - reach, one.mean + reach)
    return Held(one.mean, *ends, size, float(max(p, beaten)), detectable, one.networks, one.images)


def correlation(tables: Sequence[Array]) -> Array:
    """How the means of tables with the same networks and images go together, drawn towards 0.

    The weight of what is seen is (M - 1) / (M + J) for M networks and J tables: the more tables for
    each network, the more of what is seen is chance.
    """
    rows = np.zeros((len(tables), np.atleast_2d(tables[0]).shape[0]))
    columns = np.zeros((len(tables), np.atleast_2d(tables[0]).shape[1]))
    for place, given in enumerate(tables):
        table = np.atleast_2d(given)
        cells = ~np.isnan(table)
        mine, images = cells.any(1), cells.any(0)
        of_rows, of_columns, _ = terms(filled(there(table)))
        count, width = len(of_rows), len(of_columns)
        rows[place, mine] = of_rows / np.sqrt(max(1, count - 1) * count)
        columns[place, images] = of_columns / np.sqrt(max(1, width - 1) * width)
    seen = rows @ rows.T + columns @ columns.T
    size = np.sqrt(np.diag(seen))
    seen = np.divide(
        seen, np.outer(size, size), out=np.eye(len(tables)), where=np.outer(size, size) > 0
    )
    networks = rows.shape[1] if rows.shape[1] > 1 else columns.shape[1]
    weight = (networks - 1) / (networks + len(tables))
    return weight * seen + (1 - weight) * np.eye(len(tables))


def _smallest(together: Array, freedom: Array, draws: int, rng: np.random.Generator) -> Array:
    """The smallest p of Student's ts whose numerators and denominators go together."""
    values, vectors = np.linalg.eigh(together)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    degrees = np.clip(np.floor(freedom), 1, _LARGEST)
    squares = np.zeros((draws, len(together)))
    for step in range(int(degrees.max())):
        squares += (rng.standard_normal(squares.shape) @ root.T) ** 2 * (step < degrees)
    largest = np.abs(rng.standard_normal(squares.shape) @ root.T) / np.sqrt(squares / degrees)
    return (2 * special.stdtr(degrees, -largest)).min(1)
