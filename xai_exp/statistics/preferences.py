r"""Which of several things people prefer, from answers about two at a time.

The model of Bradley and Terry (1952): a is preferred to b with probability
$p_{ab} = 1 / (1 + e^{b_b - b_a})$ for strengths b that sum to 0.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import special
from scipy.sparse.csgraph import connected_components

from xai_exp.config import InputError
from xai_exp.statistics.intervals import Interval
from xai_exp.statistics.layout import Array

FEWEST_RATERS = 5  # of whom it can be told how they differ
_STEPS, _LONGEST, _EXACT = 500, 1.0, 1e-11


class Preferences(NamedTuple):
    """Strengths and how well they are known.

    Attributes:
        strengths: (things) log-strengths, their sum is 0; higher is preferred.
        independent: (things, things) their covariance if all answers are independent.
        clustered: the same by the raters' own scores (sandwich estimator, corrected by
            G / (G - 1)); None for fewer than five raters.
        raters: how many.
        finite: whether the likelihood has a maximum. It has none where some things never lost to
            any of the others (Ford 1957); then the strengths are those of Firth's penalty.
    """

    strengths: Array
    independent: Array
    clustered: Array | None
    raters: int
    finite: bool

    def interval(self, contrast: Any, confidence: float = 0.95) -> Interval:  # noqa: ANN401
        """A sum of strengths, such as (1, -1, 0) for a difference, and its interval.

        The wider of two: the normal one of independent answers, and Student's t with as many
        degrees of freedom as there are raters but one, if there are five.
        """
        weights = np.asarray(contrast, dtype=np.float64)
        mean, tail = float(weights @ self.strengths), (1 + confidence) / 2
        reach = float(special.ndtri(tail)) * _deviation(weights, self.independent)
        if self.clustered is not None:
            apart = float(special.stdtrit(self.raters - 1, tail))
            reach = max(reach, apart * _deviation(weights, self.clustered))
        return Interval(mean, mean - reach, mean + reach, self.raters)

    def strength(self, thing: int) -> Interval:
        """One strength, against the mean of all."""
        return self.interval(np.eye(len(self.strengths))[thing])

    def lead(self, first: int, second: int) -> Interval:
        """By how much one strength is above another."""
        unit = np.eye(len(self.strengths))
        return self.interval(unit[first] - unit[second])


def bradley_terry(preferred: Any, other: Any, raters: Any, things: int) -> Preferences:  # noqa: ANN401
    r"""Strengths by maximum likelihood (Bradley and Terry 1952), with Newton's method.

    Where the likelihood has no maximum, by Firth's penalty of half the logarithm of the
    information's determinant (Firth 1993), which always has one.

    Args:
        preferred: (answers) what was preferred, 0 to things - 1.
        other: (answers) what it was preferred to.
        raters: (answers) who answered, any numbers.
        things: how many there are, each of them compared.

    Raises:
        InputError: when answers do not compare all things, directly or by way of others.
    """
    first, second, who = (np.asarray(one, dtype=np.int64) for one in (preferred, other, raters))
    wins = np.zeros((things, things))
    np.add.at(wins, (first, second), 1)
    if connected_components(wins + wins.T, directed=False)[0] > 1:
        raise InputError(
            f"Bradley-Terry: got {len(first)} answers that do not compare all of {things} things; "
            "allowed: answers in which each is compared with others, and these with the rest"
        )
    finite = bool(connected_components(wins, directed=True, connection="strong")[0] == 1)
    strengths = _strongest(wins, penalised=not finite)
    inverse = _inverse(_weights(strengths, wins + wins.T))
    surprise = 1 - special.expit(strengths[first] - strengths[second])
    people = np.unique(who, return_inverse=True)[1]
    count = int(people.max()) + 1
    scores = np.zeros((count, things))
    np.add.at(scores, (people, first), surprise)
    np.add.at(scores, (people, second), -surprise)
    spread = inverse @ scores.T @ scores @ inverse * (count / max(count - 1, 1))
    return Preferences(
        strengths, inverse, spread if count >= FEWEST_RATERS else None, count, finite
    )


def _strongest(wins: Array, *, penalised: bool) -> Array:
    """Newton's steps, none longer than 1, until they are over."""
    strengths, asked = np.zeros(len(wins)), wins + wins.T
    for _ in range(_STEPS):
        weights = _weights(strengths, asked)
        inverse, extra = _inverse(weights), np.zeros_like(wins)
        if penalised:
            spread = np.diag(inverse)
            extra = weights * (spread[:, None] + spread - 2 * inverse)
        chance = special.expit(strengths[:, None] - strengths)
        step = inverse @ (wins + extra / 2 - (asked + extra) * chance).sum(1)
        strengths = strengths + step * min(1.0, _LONGEST / max(abs(step).max(), _EXACT))
        if abs(step).max() < _EXACT:
            break
    return strengths - strengths.mean()


def _weights(strengths: Array, asked: Array) -> Array:
    """N p (1 - p) of every two things."""
    chance = special.expit(strengths[:, None] - strengths)
    return asked * chance * (1 - chance)


def _inverse(weights: Array) -> Array:
    """The inverse of the information among strengths that sum to 0."""
    level = np.full_like(weights, 1 / len(weights))
    return np.linalg.inv(np.diag(weights.sum(1)) - weights + level) - level


def _deviation(weights: Array, covariance: Array) -> float:
    return float(np.sqrt(max(0.0, weights @ covariance @ weights)))
