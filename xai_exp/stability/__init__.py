r"""How alike the heatmaps of different models are: pure statistics on arrays.

Everything here starts from heatmaps of the SAME images by several models, shape (models, images,
height, width), one explainer at a time. Similarities between two heatmaps of one image, all HIGHER
for more alike:

- spearman: rank correlation over pixels, -1..1, ties by mean ranks;
- cosine: -1..1;
- ssim: structural similarity (Wang et al. 2004, eq. 13) of heatmaps divided by their largest
  absolute value, windows of 7 pixels, -1..1;
- top: the share of the tenth of the pixels with most relevance that both have in common, 0..1 (0.1
  is chance); equal pixels count in the order of reading;
- parts: 1 - the distance of the signed shares of relevance among the parts
  (`xai_exp.truth.shares`), 0..1; missing for images with fewer than two parts.

A heatmap that is constant has no order and no direction: its spearman and cosine are NaN.
"""

from xai_exp.stability.likeness import (
    MEASURES,
    apart,
    shares_of_parts,
    shares_of_worth,
    similarities,
)
from xai_exp.stability.pairs import (
    Tracking,
    against_accuracy,
    explained_variance,
    kinds,
    pair_interval,
    tracking,
)

__all__ = [
    "MEASURES",
    "Tracking",
    "against_accuracy",
    "apart",
    "explained_variance",
    "kinds",
    "pair_interval",
    "shares_of_parts",
    "shares_of_worth",
    "similarities",
    "tracking",
]
