"""Intervals of numbers that each network has once, from images that all networks share."""

import numpy as np
import scipy

from xai_exp.statistics.differences import point
from xai_exp.statistics.intervals import Interval
from xai_exp.statistics.layout import Array


def shared_interval(values: Array, samples: Array, confidence: float = 0.95) -> Interval:
    r"""The mean over networks of a number that is no mean over images, and its interval.

    Each network's number theta_m comes from the same images. With s^2 its variance between
    networks, V the variance of the networks' mean when images are drawn again, the same for all,
    and v the mean variance of one network's number then,

        var(mean) = s^2 / M + V - v / M,

    as in the two-way layout: the first term has the images' part once, the last takes it out.
    Student's t by Satterthwaite's degrees of freedom, never narrower than s^2 / M alone.

    Args:
        values: (networks) the numbers; NaN is missing.
        samples: (networks, resamples) the same for images drawn with replacement, alike for all.
        confidence: the share of such intervals that should cover the mean over networks.

    Returns:
        A point where three networks or more and all draws agree; NaN ends for fewer than two
        networks.
    """
    there = ~np.isnan(values)
    values, samples = np.asarray(values, float)[there], np.asarray(samples, float)[there]
    count, missing = len(values), float("nan")
    mean = float(values.mean()) if count else missing
    if count < 2:
        return Interval(mean, missing, missing, count)
    if point(values) and not np.ptp(samples):
        return Interval(mean, mean, mean, count)
    whole = samples[:, ~np.isnan(samples).any(0)]
    between = float(values.var(ddof=1)) / count
    drawn = float(whole.mean(0).var(ddof=1)) if whole.shape[1] > 1 else 0.0
    own = float(whole.var(1, ddof=1).mean()) / count if whole.shape[1] > 1 else 0.0
    variance = max(between + drawn - own, drawn)
    if variance <= 0:
        return Interval(mean, missing, missing, count)
    freedom = variance**2 / (between**2 / (count - 1)) if between > 0 else np.inf
    tail = (1 + confidence) / 2
    both = float(scipy.stats.t.ppf(tail, max(freedom, count - 1)) * np.sqrt(variance))
    reach = max(both, float(scipy.stats.t.ppf(tail, count - 1) * np.sqrt(between)))
    return Interval(mean, mean - reach, mean + reach, count)
