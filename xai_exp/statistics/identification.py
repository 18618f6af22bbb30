"""Which of several mechanisms a network has, told blindly from what its heatmaps say of parts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy

from xai_exp.config import InputError
from xai_exp.statistics.intervals import Interval
from xai_exp.statistics.layout import Array

_OFFSET = 1e-12


class Identified(NamedTuple):
    """How well mechanisms are told, each network by a classifier that never saw it.

    Attributes:
        rate: the share of heatmaps whose network's mechanism is named rightly; 0..1.
        bits: log2 K + the mean log2 of the probability given to the true one of K mechanisms, a
            lower bound of the information that a heatmap has of it; at most log2 K, 0 or less
            where it has none.
        networks: the share of networks that all their heatmaps together name rightly.
        confusion: (true, named) the share of each mechanism's heatmaps.
    """

    rate: Interval
    bits: Interval
    networks: float
    confusion: Array


def described(shown: Array) -> Array:
    """What the evaluator sees of a heatmap: what any sign of the explained value leaves as it was.

    Of shares a_p of parts, last that of the rest, all signed and their magnitudes summing to 1:
    a_p, |a_p| and every product a_p a_q. Shape (..., part) to (..., feature).

    >>> described(np.array([0.5, -0.5])).tolist()
    [0.5, -0.5, 0.5, 0.5, 0.25, -0.25, 0.25]
    """
    first, second = np.triu_indices(shown.shape[-1])
    products = shown[..., first] * shown[..., second]
    return np.concatenate([shown, abs(shown), products], -1)


def identified(shown: Array, mechanisms: Sequence[int], confidence: float = 0.95) -> Identified:
    """Tell mechanisms by a logistic regression on `described` shares.

    Of each mechanism's networks every second one teaches the classifier and the others are told,
    then the other way round, so that each network is told once, by one that never saw it. All
    mechanisms count alike. Intervals are Student's t with networks as units within mechanisms;
    (NaN, NaN) where those of a mechanism never differ.

    Args:
        shown: (network, image, part) shares of relevance, the rest's last; every network has
            explained the same images.
        mechanisms: the number of each network's, 0 to K - 1.
        confidence: of the intervals.

    Raises:
        InputError: for fewer than two mechanisms, or one with fewer than two networks.
    """
    true = np.asarray(mechanisms)
    counts = np.bincount(true)
    if len(counts) < 2 or counts.min() < 2:
        raise InputError(
            f"identification: got {counts.tolist()} networks of each mechanism; allowed: two "
            "mechanisms or more, each with two networks or more"
        )
    half = np.array([(true[:place] == one).sum() % 2 for place, one in enumerate(true)])
    logs = _told(described(shown), true, half)
    named = logs.argmax(2)
    right = (named == true[:, None]).mean(1)
    given = np.take_along_axis(logs, true[:, None, None], 2)[..., 0]
    bits = np.log2(len(counts)) + given.mean(1) / np.log(2)
    whole = logs.sum(1).argmax(1) == true
    shares = [[(named[true == one] == two).mean() for two in set(true)] for one in set(true)]
    return Identified(
        _shares(stratified(right, true, confidence)),
        stratified(bits, true, confidence),
        float(np.mean([whole[true == one].mean() for one in set(true)])),
        np.array(shares),
    )


def _shares(found: Interval) -> Interval:
    """An interval of a share, which ends at 0 and 1."""
    return found._replace(low=max(found.low, 0.0), high=min(found.high, 1.0))


def _told(features: Array, true: Array, half: Array) -> Array:
    """The logarithm of each mechanism's probability: (network, image, mechanism)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    networks, images, width = features.shape
    logs = np.empty((networks, images, true.max() + 1))
    for part in (0, 1):
        taught, asked = half != part, half == part
        model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(features[taught].reshape(-1, width), true[taught].repeat(images))
        found = model.predict_proba(features[asked].reshape(-1, width))
        logs[asked] = np.log(found + _OFFSET).reshape(-1, images, found.shape[1])
    return logs


def stratified(values: Array, strata: Array, confidence: float = 0.95) -> Interval:
    """The mean over strata of their means, with Student's t of the spread within strata.

    >>> stratified(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]))
    Interval(mean=0.5, low=nan, high=nan, n=4)
    """
    groups = [values[strata == one] for one in np.unique(strata)]
    mean = float(np.mean([one.mean() for one in groups]))
    freedom = len(values) - len(groups)
    within = sum(float(((one - one.mean()) ** 2).sum()) for one in groups)
    if freedom < 1 or within == 0:
        return Interval(mean, float("nan"), float("nan"), len(values))
    error = np.sqrt(within / freedom * np.mean([1 / len(one) for one in groups]) / len(groups))
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom) * error)
    return Interval(mean, mean - reach, mean + reach, len(values))
