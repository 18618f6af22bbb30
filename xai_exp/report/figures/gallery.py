"""Heatmaps beside their images: what an explainer says, at a glance."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from textwrap import fill
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from xai_exp.types import Heatmaps, Images

ROWS = 8  # the most images that one gallery shows
_WIDE = 12  # the most columns side by side; more methods go on in bands below, of fewer images
_BAND_ROWS = 3
_QUANTILE = 0.995
_KEY = (
    "red: for the target · blue: against it · white: zero · each heatmap on a scale of its own, "
    f"full colour at the {100 * _QUANTILE:g} % quantile of |relevance|"
)
_AGAINST, _FOR = "#0b4a8f", "#a50f22"
_RELEVANCE = LinearSegmentedColormap.from_list(
    "relevance", [_AGAINST, "#5aa0d0", "white", "#f08a6c", _FOR], N=1025
).with_extremes(bad="gold")  # what is not finite stands out
_CHARACTERS = 24  # of a caption's line that fit under a cell
_CELL, _CAPTION, _LINE, _FOOT, _GAP = 1.25, 0.2, 0.15, 0.3, 0.07  # inches


class _Column(NamedTuple):
    """A heading, what to draw for the image at an index, and the lines under the cells."""

    name: str
    draw: Callable[[Axes, int], None]
    captions: Sequence[str]


def gallery(
    images: Images,
    heatmaps: Mapping[str, Heatmaps],
    captions: Sequence[str],
    *,
    scores: Mapping[str, Sequence[str]] | None = None,
    masks: Heatmaps | None = None,
    overlay: bool = False,
    note: str = "",
) -> Figure:
    """A row an image: the image, its exact mask, then one heatmap a method.

    Zero is the middle of a diverging colour map, so an empty heatmap is white. Every heatmap has a
    symmetric scale of its own that ends at the 99.5 % quantile of its absolute values: a few
    extreme pixels would otherwise wash out the rest. The edge of the mask is a thin line in the
    heatmaps. Pixels that are not finite are yellow. Few columns stand twice side by side; many
    stand in bands, each with the images again, and for the first three images only.

    Args:
        images: The images; the first `ROWS` are shown.
        heatmaps: The heatmaps of these images, by method.
        captions: A line under every image, such as target and prediction.
        scores: For a method, a line under each of its heatmaps.
        masks: How much of each pixel the objects fill, in 0..1, if that is known.
        overlay: Whether each heatmap is shown once more, on top of its image.
        note: A line at the foot, such as the methods that were skipped.
    """
    lead = [_Column("image", partial(_image, images), captions)]
    if masks is not None:
        lead.append(_Column("exact mask", partial(_mask, masks), ()))
    columns: list[_Column] = []
    for name, maps in heatmaps.items():
        lines = (scores or {}).get(name, ())
        columns.append(_Column(name, partial(_heatmap, maps, masks), lines))
        if overlay:
            columns.append(_Column("on the image", partial(_overlay, images, maps), ()))
    bands = _bands(lead, columns)
    count = min(len(images), ROWS if len(bands) == 1 else _BAND_ROWS)
    return _drawn(bands, count, images.shape[-2] / images.shape[-1], note)


def _bands(lead: list[_Column], columns: list[_Column]) -> list[list[_Column]]:
    """The columns in as few bands as are not too wide, all about equally wide."""
    room = _WIDE - len(lead)
    bands = max(1, -(-len(columns) // room))
    width = max(1, -(-len(columns) // bands))
    starts = range(0, max(1, len(columns)), width)
    return [lead + columns[start : start + width] for start in starts]


def limit(heatmap: Tensor) -> float:
    """Where the colour scale of one heatmap ends: its quantile of |relevance|, never zero.

    >>> import torch
    >>> limit(torch.tensor([[0.0, -2.0], [2.0, 2.0]]))
    2.0
    >>> limit(torch.zeros(2, 2))
    1.0
    """
    sizes = heatmap[heatmap.isfinite()].abs().double().cpu().numpy()
    if not sizes.any():
        return 1.0
    return float(np.quantile(sizes, _QUANTILE)) or float(sizes.max())


def _drawn(bands: Sequence[Sequence[_Column]], count: int, aspect: float, note: str) -> Figure:
    """The figure, every length in it set in inches so that no text meets another."""
    most = max(map(len, bands))
    blocks = 2 if len(bands) == 1 and most <= 4 and count > 2 else 1
    rows = -(-count // blocks)
    bands = [[c._replace(captions=[_wrapped(t) for t in c.captions]) for c in b] for b in bands]
    texts = [text for band in bands for column in band for text in column.captions[:count]]
    lines = max((text.count("\n") + 1 for text in texts), default=0)
    caption = _CAPTION + _LINE * 0.75 * max(0, lines - 1)
    high = _CELL * aspect + caption
    heads = [[fill(column.name.replace("_", " "), 16) for column in band] for band in bands]
    tall = [_LINE * (1 + max(name.count("\n") + 1 for name in band)) / 1.2 for band in heads]
    wide = blocks * (most * (_CELL + _GAP) + 2 * _GAP)
    foot = [fill(text, int(18 * wide)) for text in (note, _KEY) if text]
    foot_high = _FOOT + _LINE * 0.75 * (sum(text.count("\n") + 1 for text in foot) - 1)
    figure = Figure(figsize=(wide, sum(tall) + len(bands) * rows * high + foot_high), dpi=150)
    width, height = figure.get_size_inches()
    top = height
    for band, names, head in zip(bands, heads, tall, strict=True):
        for index, (place, column) in product(range(count), enumerate(band)):
            block, row = divmod(index, rows)
            bottom = top - head - (row + 1) * high + caption
            left = block * width / blocks + 1.5 * _GAP + place * (_CELL + _GAP)
            box = (left / width, bottom / height, _CELL / width, _CELL * aspect / height)
            axes = figure.add_axes(box)
            column.draw(axes, index)
            _frame(axes)
            if row == 0:
                axes.set_title(names[place], fontsize=8, pad=3, parse_math=False)
            if column.captions:
                # Names of classes and explainers are words, whatever `$` and `_` are in them.
                words = column.captions[index]
                axes.set_xlabel(words, fontsize=6.5, labelpad=2, parse_math=False)
        top -= head + rows * high
    below = "\n".join(foot)
    figure.text(0.5, 0.08 / height, below, fontsize=6.5, ha="center", parse_math=False)
    return figure


def _wrapped(caption: str) -> str:
    """A caption no wider than its cell."""
    return "\n".join(fill(line, _CHARACTERS) for line in caption.splitlines())


def _frame(axes: Axes) -> None:
    """A thin frame without ticks, so that white maps still have an edge."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="0.6")


def _image(images: Images, axes: Axes, index: int) -> None:
    axes.imshow(_pixels(images[index]), interpolation="nearest")


def _mask(masks: Heatmaps, axes: Axes, index: int) -> None:
    axes.imshow(_array(masks[index]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _heatmap(maps: Heatmaps, masks: Heatmaps | None, axes: Axes, index: int) -> None:
    end = limit(maps[index])
    axes.imshow(_array(maps[index]), cmap=_RELEVANCE, vmin=-end, vmax=end, interpolation="nearest")
    if masks is not None and masks[index].min() < 0.5 < masks[index].max():
        axes.contour(_array(masks[index]), levels=[0.5], colors="0.2", linewidths=0.4)


def _overlay(images: Images, maps: Heatmaps, axes: Axes, index: int) -> None:
    """The image in pale grey, painted red or blue the denser the stronger the relevance."""
    values = np.nan_to_num(_array(maps[index])) / limit(maps[index])
    pale = 0.4 + 0.6 * _pixels(images[index]).mean(2, keepdims=True)
    paint = np.where((values > 0)[..., None], to_rgb(_FOR), to_rgb(_AGAINST))
    weight = np.abs(values).clip(0, 1)[..., None]
    axes.imshow((weight * paint + (1 - weight) * pale).clip(0, 1), interpolation="nearest")


def _pixels(image: Tensor) -> np.ndarray:
    """Height x width x 3: RGB, the first three of more bands, or the first of fewer as grey."""
    pixels = np.moveaxis(_array(image), 0, -1).clip(0, 1)
    return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1].repeat(3, axis=-1)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
