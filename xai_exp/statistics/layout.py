r"""The two-way layout of networks and images: how well the mean of such a table is known.

Network m's score on image i is taken as $\mu + a_m + b_i + e_{mi}$ with independent terms. From the
mean squares of the layout (M networks, N images),

    var(mean) = (MS_networks + MS_images - MS_rest) / (M N),

with Satterthwaite's degrees of freedom for Student's t (Searle, Casella and McCulloch 1992,
sections 4.3 and 4.6). Where few networks happen to lie near one another these degrees of freedom
are too many, so an interval is never narrower than that of networks as units, images nested:
MS_networks / (M N) with M - 1 degrees of freedom. docs/coverage.md holds how often that covers.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[Any]


class Known(NamedTuple):
    """How well a mean over networks and images is known.

    Attributes:
        mean: over all cells, missing ones filled in.
        errors: standard errors, the widest of whose intervals counts; empty where nothing varies or
            there are too few scores to say.
        freedom: the degrees of freedom of each.
        networks: how many.
        images: how many of them have a score.
        n: scores.
    """

    mean: float
    errors: tuple[float, ...]
    freedom: tuple[float, ...]
    networks: int
    images: int
    n: int

    def reach(self, level: float = 0.05) -> float:
        """Half the width of the interval at 1 - `level`; NaN without a standard error."""
        return max(
            (
                -float(special.stdtrit(freedom, level / 2)) * error
                for error, freedom in zip(self.errors, self.freedom, strict=True)
            ),
            default=float("nan"),
        )

    def p(self) -> float:
        """Two-sided, of a mean of 0; NaN without a standard error."""
        return max(
            (
                float(2 * special.stdtr(freedom, -abs(self.mean) / error))
                for error, freedom in zip(self.errors, self.freedom, strict=True)
            ),
            default=float("nan"),
        )

    def widest(self, level: float = 0.05) -> tuple[float, float]:
        """The standard error that decides at this level, and its degrees of freedom.

        Raises:
            ValueError: when there is none.
        """
        pairs = zip(self.errors, self.freedom, strict=True)
        return max(pairs, key=lambda one: -float(special.stdtrit(one[1], level / 2)) * one[0])


def known(scores: Array) -> Known:
    """How well the mean of (networks, images) scores is known; NaN is missing.

    One network, or one image: Student's t over the scores that there are.

    >>> known(np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 5.0]])).networks
    2
    """
    table = there(np.atleast_2d(np.asarray(scores, dtype=np.float64)))
    count = int((~np.isnan(table)).sum())
    if not count:
        return Known(float("nan"), (), (), 0, 0, 0)
    networks, images = table.shape
    values = table[~np.isnan(table)]
    if np.ptp(values) == 0:
        return Known(float(values[0]), (), (), networks, images, count)
    if 1 in table.shape:
        error = float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
        errors, freedom = ((error,), (count - 1.0,)) if error > 0 else ((), ())
        return Known(float(values.mean()), errors, freedom, networks, images, count)
    missing = table.size - count
    table = filled(table)
    rows, columns, rest = terms(table)
    freedom = np.array(
        [networks - 1, images - 1, max(1, (networks - 1) * (images - 1) - missing)], dtype=float
    )
    squares = np.array([images * (rows**2).sum(), networks * (columns**2).sum(), (rest**2).sum()])
    parts = squares / freedom / table.size
    variance = parts[0] + parts[1] - parts[2]
    if variance <= parts[2]:  # neither networks nor images differ beyond chance
        both = (float(parts[2]), freedom[2])
    else:
        both = (float(variance), variance**2 / (parts**2 / freedom).sum())
    found = [one for one in (both, (float(parts[0]), freedom[0])) if one[0] > 0]
    return Known(
        float(table.mean()),
        tuple(float(np.sqrt(one)) for one, _ in found),
        tuple(float(degrees) for _, degrees in found),
        networks,
        images,
        count,
    )


def there(table: Array) -> Array:
    """The networks and images that have a score."""
    known_cells = ~np.isnan(table)
    return table[known_cells.any(1)][:, known_cells.any(0)]


def terms(table: Array) -> tuple[Array, Array, Array]:
    """What rows, columns and single cells add to the mean."""
    mean = table.mean()
    rows, columns = table.mean(1) - mean, table.mean(0) - mean
    return rows, columns, table - mean - rows[:, None] - columns


def filled(table: Array, rounds: int = 100) -> Array:
    """Missing cells by row mean + column mean - mean, until they no longer move (Yates 1933)."""
    gaps = np.isnan(table)
    if not gaps.any():
        return table
    full = np.where(gaps, np.nanmean(table), table)
    for _ in range(rounds):
        fit = full.mean(1, keepdims=True) + full.mean(0) - full.mean()
        moved = float(np.abs(fit - full)[gaps].max())
        full = np.where(gaps, fit, table)
        if moved < 1e-12 * max(1.0, float(np.abs(fit).max())):
            break
    return full
