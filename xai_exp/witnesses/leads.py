"""By how much one explainer is ahead of another, as each witness has it."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from xai_exp.statistics import evened, mean_interval, paired
from xai_exp.witnesses.trial import Trial

FLOOR = -1.0  # a skill below it is none, by how much does not matter
FEWEST_TRIALS = 3  # certified ones, below which plants say nothing


class Lead(NamedTuple):
    """A difference of skills and its 95 % interval; NaN where it is not known.

    Attributes:
        mean: above 0 if the first is better.
        low: lower end.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    @property
    def side(self) -> int:
        """1 if the first is better for certain, -1 if the second is, else 0."""
        return (self.low > 0) - (self.high < 0)


def certified(trials: Sequence[Trial]) -> list[Trial]:
    """Those that say something of explainers."""
    return [one for one in trials if one.certificate.holds]


def planted_skill(trials: Sequence[Trial], explainer: str) -> Lead:
    """The explainer's mean skill on certified plants, and its interval over trials."""
    there = [one for one in certified(trials) if explainer in one.skills]
    means = [float(np.nanmean(_level(one, explainer))) for one in there]
    found = mean_interval(means)
    return Lead(found.mean, found.low, found.high)


def planted_lead(trials: Sequence[Trial], first: str, second: str) -> Lead:
    """By how much the first is ahead on certified plants, over trials and images."""
    there = [one for one in certified(trials) if first in one.skills and second in one.skills]
    if len(there) < FEWEST_TRIALS:
        return Lead(math.nan, math.nan, math.nan)
    ours, theirs = (np.stack([_level(one, name) for one in there]) for name in (first, second))
    found = paired(ours, theirs)
    return Lead(found.difference, found.low, found.high)


def measured_lead(
    scores: Mapping[str, Sequence[float]], first: str, second: str, *, higher_is_better: bool
) -> Lead:
    """By how much the first is ahead by a measure, over the images of the network as it is."""
    if first not in scores or second not in scores:
        return Lead(math.nan, math.nan, math.nan)
    turned = 1 if higher_is_better else -1
    found = paired(turned * np.array(scores[first]), turned * np.array(scores[second]))
    return Lead(found.difference, found.low, found.high)


def weighted(scores: Sequence[float], weights: Sequence[float]) -> np.ndarray:
    """Skills whose plain mean is the ratio of means (`xai_exp.statistics.weights`)."""
    return evened(pd.DataFrame({"score": scores, "weight": weights})).to_numpy(float)


def _level(trial: Trial, explainer: str) -> np.ndarray:
    return weighted(trial.skills[explainer], trial.weights)
