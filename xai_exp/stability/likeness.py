"""How alike two heatmaps of one image are, or two shares over its parts."""

from typing import Any

import numpy as np
import scipy
from scipy.ndimage import uniform_filter

from xai_exp.statistics import Array
from xai_exp.truth.shares import share_distance, shares

MEASURES = ("spearman", "cosine", "ssim", "top", "parts")
_TOP = 0.1
_WINDOW = 7


def similarities(first: Array, second: Array, parts: Array | None = None) -> dict[str, Array]:
    """Every similarity between all models of `first` and all of `second`.

    Args:
        first: (models, images, height, width) heatmaps.
        second: (others, images, height, width) heatmaps of the same images.
        parts: (images, parts, height, width) coverage in 0..1; None: no similarity of parts.

    Returns:
        (models, others, images) for each measure.
    """
    one, other = (
        np.asarray(maps, np.float64).reshape(*maps.shape[:2], -1) for maps in (first, second)
    )
    found = {
        "spearman": _cosine(_centred_ranks(one), _centred_ranks(other)),
        "cosine": _cosine(one, other),
        "ssim": _ssim(np.asarray(first, np.float64), np.asarray(second, np.float64)),
        "top": _overlap(_top(one), _top(other)),
    }
    if parts is not None:
        one, other = (shares_of_parts(maps, parts) for maps in (first, second))
        found["parts"] = 1 - share_distance(one[:, None], other[None])
    return found


def shares_of_parts(maps: Array, parts: Array) -> Array:
    """Signed shares of the relevance on each part, (models, images, parts).

    NaN for images with fewer than two parts: there is nothing to share out.
    """
    covered = np.asarray(parts, np.float64)
    inside = np.einsum("mihw,iphw->mip", np.asarray(maps, np.float64), covered)
    several = (covered.sum((2, 3)) > 0).sum(1) >= 2
    return np.where(several[None, :, None], shares(inside), np.nan)


def shares_of_worth(values: Array) -> Array:
    """Signed shares of exact part values (models, images, parts).

    NaN for images of which fewer than two parts are worth anything to any model.
    """
    several = (values != 0).any(0).sum(-1) >= 2
    return np.where(several[None, :, None], shares(values), np.nan)


def apart(given: Array) -> Array:
    """Total variation distance between every two models, (models, models, images).

    Args:
        given: (models, images, parts), as `xai_exp.truth.shares` has them.
    """
    return share_distance(given[:, None], given[None])


def _centred_ranks(maps: Array) -> Array:
    ranks = scipy.stats.rankdata(maps, axis=2)
    return ranks - ranks.mean(2, keepdims=True)


def _cosine(one: Array, other: Array) -> Array:
    products = np.einsum("aip,bip->abi", one, other, optimize=True)
    lengths = np.linalg.norm(one, axis=2)[:, None] * np.linalg.norm(other, axis=2)[None]
    return np.divide(products, lengths, out=np.full_like(products, np.nan), where=lengths > 0)


def _top(maps: Array) -> Array:
    """The most relevant tenth of the pixels, at least one, as 0 and 1."""
    count = max(1, round(_TOP * maps.shape[2]))
    order = np.argsort(-maps, axis=2, kind="stable")[..., :count]
    chosen = np.zeros_like(maps)
    np.put_along_axis(chosen, order, 1.0, axis=2)
    return chosen


def _overlap(one: Array, other: Array) -> Array:
    return np.einsum("aip,bip->abi", one, other, optimize=True) / one[0, 0].sum()


def _ssim(first: Array, second: Array) -> Array:
    one, other = (_scaled(maps) for maps in (first, second))
    size: Any = (0, 0, _WINDOW, _WINDOW)  # along height and width alone
    mean_b, square_b = uniform_filter(other, size), uniform_filter(other * other, size)
    found = np.empty((len(one), len(other), one.shape[1]))
    low, contrast = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # of maps in -1..1
    for place, maps in enumerate(one):
        mean_a, square_a = uniform_filter(maps[None], size), uniform_filter(maps[None] ** 2, size)
        together = uniform_filter(maps[None] * other, size) - mean_a * mean_b
        spread = square_a - mean_a**2 + square_b - mean_b**2
        likeness = (2 * mean_a * mean_b + low) * (2 * together + contrast)
        likeness /= (mean_a**2 + mean_b**2 + low) * (spread + contrast)
        found[place] = likeness.mean((2, 3))
    return found


def _scaled(maps: Array) -> Array:
    largest = np.abs(maps).max((2, 3), keepdims=True)
    return np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
