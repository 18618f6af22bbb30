r"""The one definition of a part's share, for heatmaps and for the truth alike.

Of values V_p of an image's parts (relevance pooled over the part, or what it is exactly worth) the
share is signed and among the parts alone,

    a_p = V_p / sum over parts q of |V_q|,

so that the magnitudes of an image's shares sum to 1, whatever lies outside of the parts: what does
is a share of its own,

    a_0 = |V_0| / (|V_0| + sum over q of |V_q|).

Two rows of shares are apart by D = 1/2 sum over p of |a_p - s_p|: 0 where they are the same, 1
where one is minus the other or they share no part. Everything here works on arrays of numpy and on
tensors; NaN where nothing is shown or worth anything.
"""

from typing import Any, TypeVar

import numpy as np

T = TypeVar("T", bound=Any)  # an array or a tensor


def shares(values: T) -> T:
    """Signed shares among the parts, along the last axis.

    >>> shares(np.array([[1.0, -3.0]])).tolist()
    [[0.25, -0.75]]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return values / abs(values).sum(-1)[..., None]


def share_outside(values: T, outside: T) -> T:
    """The share of what lies outside of the parts, in 0..1.

    >>> float(share_outside(np.array([1.0, -2.0]), np.array(1.0)))
    0.25
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return abs(outside) / (abs(outside) + abs(values).sum(-1))


def share_distance(first: T, second: T) -> T:
    """How far two rows of shares are apart, in 0..1.

    >>> float(share_distance(np.array([0.5, -0.5]), np.array([0.5, 0.5])))
    0.5
    """
    return abs(first - second).sum(-1) / 2
