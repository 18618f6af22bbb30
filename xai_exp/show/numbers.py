"""Numbers as precise as they are known."""

import math

_MOST = 6  # decimals


def decimals(half: float) -> int:
    """The decimals at which half an interval's width has two digits.

    >>> decimals(0.103), decimals(7.76), decimals(0.0021), decimals(140.0)
    (2, 1, 4, 0)
    """
    if not half > 0 or math.isinf(half):
        return 3
    return min(_MOST, max(0, 1 - math.floor(math.log10(half))))


def known(mean: float, low: float, high: float) -> str:
    """A mean, rounded to the interval that it is known to.

    >>> known(0.49612, 0.397, 0.603), known(21.1403, 14.338, 29.859), known(0.5, 0.5, 0.5)
    ('0.50', '21.1', '0.500')
    >>> known(-0.01, -1.0, 1.1)
    '0.0'
    """
    return _written(mean, decimals((high - low) / 2))


def spread(low: float, high: float) -> str:
    """The interval, at the same precision.

    >>> spread(0.397, 0.603), spread(float("nan"), float("nan"))
    ('0.40 .. 0.60', 'all equal')
    """
    if math.isnan(low):
        return "all equal"
    places = decimals((high - low) / 2)
    return f"{_written(low, places)} .. {_written(high, places)}"


def half(low: float, high: float) -> str:
    """Half the interval's width, with two digits; empty where it is not known.

    >>> half(0.397, 0.603), half(1.0, 1.0)
    ('0.10', '')
    """
    width = (high - low) / 2
    return _written(width, decimals(width)) if width > 0 else ""


def _written(value: float, places: int) -> str:
    if abs(value) >= 1e6:
        return f"{value:.3g}"
    return f"{round(value, places) + 0.0:.{places}f}"  # never a minus before nothing
