"""Means of scores of which some images say more than others.

A skill is a ratio: what is left of the distance of a map that knows nothing. The skill of a set of
images is the ratio of the means (Murphy 1988, eq. 4), which is the mean of the images' skills,
weighted by the distances below the line; the plain mean of ratios is moved at will by an image
whose denominator is next to nothing.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def evened(scores: pd.DataFrame, by: Sequence[str] = ()) -> pd.Series:
    r"""Scores whose plain mean is the weighted mean, and whose spread is that of the ratio.

    With weights w_i of mean W and the weighted mean m = sum(w_i s_i) / sum(w_i), each score becomes
    m + w_i (s_i - m) / W: the linearised ratio of means (Cochran 1977, section 6.3), so that
    intervals of plain means hold for it. Equal weights leave scores as they are.

    >>> scores = pd.DataFrame({"score": [1.0, -8.0], "weight": [0.9, 0.1]})
    >>> evened(scores).round(3).tolist()
    [1.72, -1.52]

    Args:
        scores: rows with `score` and, unless all weigh alike, `weight` of 0 or more.
        by: the columns that tell apart what is averaged by itself, such as the network.

    Returns:
        A number a row; NaN where the score is missing.
    """
    values = scores["score"].to_numpy(float)
    if "weight" not in scores or scores.empty:
        return pd.Series(values, index=scores.index)
    weights = scores["weight"].to_numpy(float)
    weights = np.where(np.isnan(weights), 1.0, weights)  # of runs from before there were any
    if by:
        groups = scores.groupby(list(by), sort=False, dropna=False).ngroup().to_numpy()
    else:
        groups = np.zeros(len(scores), int)
    known = ~np.isnan(values)
    total = np.bincount(groups, np.where(known, weights, 0))
    sums = np.bincount(groups, np.where(known, weights * values, 0))
    count = np.bincount(groups, known)
    uneven = np.bincount(groups, weights != 1) > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        means, scale = (sums / total)[groups], (count / total)[groups]
    changed = (uneven & (total > 0))[groups]
    evened = means + weights * scale * (values - means)
    return pd.Series(np.where(changed, evened, values), index=scores.index)
