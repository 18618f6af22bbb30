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

FEWEST = 3  # raters, or pictures, of which it can be told how they differ
_STEPS, _LONGEST, _EXACT = 500, 1.0, 1e-11


class Clusters(NamedTuple):
    """Answers that belong together: those of a rater, or about a picture.

    Attributes:
        covariance: (things, things) of the strengths if only these were drawn from many: each is
            left out in turn (jackknife in one Newton step, Cameron and Miller 2015, CR3).
        groups: how many there are.
    """

    covariance: Array
    groups: int


class Preferences(NamedTuple):
    """Strengths and how well they are known.

    Attributes:
        strengths: (things) log-strengths, their sum is 0; higher is preferred.
        independent: (things, things) their covariance if all answers are independent.
        by_rater: the same if raters differ; None where that can't be told: for fewer than three,
            or where without one of them not all things are compared.
        by_picture: the same if pictures differ; None likewise, or where none were told.
        single: the part that both of these count: of a rater's answers about one picture.
        raters: how many.
        finite: whether the likelihood has a maximum. It has none where some things never lost to
            any of the others (Ford 1957); then the strengths are those of Firth's penalty.
    """

    strengths: Array
    independent: Array
    by_rater: Clusters | None
    by_picture: Clusters | None
    single: Array
    raters: int
    finite: bool

    def interval(self, contrast: Any, confidence: float = 0.95) -> Interval:  # noqa: ANN401
        """A sum of strengths, such as (1, -1, 0) for a difference, and its interval.

        The widest of: the normal one of independent answers; Student's t of raters, and of
        pictures, with one degree of freedom less than there are; and, where both differ by more
        than single answers do, of both at once (Cameron, Gelbach and Miller 2011) with
        Satterthwaite's degrees of freedom.
        """
        weights = np.asarray(contrast, dtype=np.float64)
        mean, tail = float(weights @ self.strengths), (1 + confidence) / 2
        reach = float(special.ndtri(tail)) * np.sqrt(_variance(weights, self.independent))
        for variance, freedom in self._clustered(weights):
            reach = max(reach, float(special.stdtrit(freedom, tail)) * np.sqrt(variance))
        return Interval(mean, mean - float(reach), mean + float(reach), self.raters)

    def _clustered(self, weights: Array) -> list[tuple[float, float]]:
        """The variances that allow for clusters, and their degrees of freedom."""
        known = [one for one in (self.by_rater, self.by_picture) if one is not None]
        found = [(_variance(weights, one.covariance), one.groups - 1.0) for one in known]
        if len(found) == 2:
            both = sum(one for one, _ in found) - _variance(weights, self.single)
            if both > max(one for one, _ in found):
                parts = sum(one**2 / freedom for one, freedom in found)
                found.append((both, both**2 / parts))
        return found

    def strength(self, thing: int) -> Interval:
        """One strength, against the mean of all."""
        return self.interval(np.eye(len(self.strengths))[thing])

    def lead(self, first: int, second: int, confidence: float = 0.95) -> Interval:
        """By how much one strength is above another."""
        unit = np.eye(len(self.strengths))
        return self.interval(unit[first] - unit[second], confidence)


def bradley_terry(
    preferred: Any,  # noqa: ANN401
    other: Any,  # noqa: ANN401
    raters: Any,  # noqa: ANN401
    things: int,
    pictures: Any = None,  # noqa: ANN401
) -> Preferences:
    r"""Strengths by maximum likelihood (Bradley and Terry 1952), with Newton's method.

    Where the likelihood has no maximum, by Firth's penalty of half the logarithm of the
    information's determinant (Firth 1993), which always has one.

    Args:
        preferred: (answers) what was preferred, 0 to things - 1.
        other: (answers) what it was preferred to.
        raters: (answers) who answered, any numbers.
        things: how many there are, each of them compared.
        pictures: (answers) what the answer is about, any numbers; None takes all as alike.

    Raises:
        InputError: when answers do not compare all things, directly or by way of others.
    """
    first, second = (np.asarray(one, dtype=np.int64) for one in (preferred, other))
    wins = np.zeros((things, things))
    np.add.at(wins, (first, second), 1)
    if not _compared(wins):
        raise InputError(
            f"Bradley-Terry: got {len(first)} answers that do not compare all of {things} things; "
            "allowed: answers in which each is compared with others, and these with the rest"
        )
    finite = bool(connected_components(wins, directed=True, connection="strong")[0] == 1)
    strengths = _strongest(wins, penalised=not finite)
    who = np.unique(np.asarray(raters), return_inverse=True)[1]
    what = np.zeros_like(who)
    if pictures is not None:
        what = np.unique(np.asarray(pictures), return_inverse=True)[1]
    parts = _Parts(strengths, first, second)
    return Preferences(
        strengths,
        _inverse(_weights(strengths, wins + wins.T)),
        parts.clusters(who),
        parts.clusters(what),
        parts.single(who * (what.max() + 1) + what),
        int(who.max()) + 1,
        finite,
    )


class _Parts:
    """What parts of all answers say of the strengths."""

    def __init__(self, strengths: Array, first: Array, second: Array) -> None:
        self.strengths, self.first, self.second = strengths, first, second
        self.surprise = 1 - special.expit(strengths[first] - strengths[second])

    def clusters(self, part: Array) -> Clusters | None:
        """By leaving out each part in turn; None where that can't be done."""
        count = int(part.max()) + 1
        every = self._asked(np.zeros_like(part), 1)[0]
        rests = every - self._asked(part, count)
        if count < FEWEST or not all(_compared(one) for one in rests):
            return None
        moves = np.stack(
            [
                _inverse(_weights(self.strengths, rest)) @ score
                for rest, score in zip(rests, self._scores(part, count), strict=True)
            ]
        )
        return Clusters(moves.T @ moves * (count - 1) / count, count)

    def single(self, part: Array) -> Array:
        """The covariance of many parts, each of which says little (sandwich estimator)."""
        number = np.unique(part, return_inverse=True)[1]
        scores = self._scores(number, int(number.max()) + 1)
        inverse = _inverse(_weights(self.strengths, self._asked(np.zeros_like(part), 1)[0]))
        return inverse @ scores.T @ scores @ inverse

    def _asked(self, part: Array, count: int) -> Array:
        found = np.zeros((count, len(self.strengths), len(self.strengths)))
        np.add.at(found, (part, self.first, self.second), 1)
        return found + found.transpose(0, 2, 1)

    def _scores(self, part: Array, count: int) -> Array:
        found = np.zeros((count, len(self.strengths)))
        np.add.at(found, (part, self.first), self.surprise)
        np.add.at(found, (part, self.second), -self.surprise)
        return found


def _compared(asked: Array) -> bool:
    """Whether each thing is compared with the others, directly or by way of others."""
    return bool(connected_components(asked + asked.T, directed=False)[0] == 1)


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


def _variance(weights: Array, covariance: Array) -> float:
    return max(0.0, float(weights @ covariance @ weights))
