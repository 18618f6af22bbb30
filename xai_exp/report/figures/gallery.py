"""Heatmaps beside their images: what an explainer says, at a glance."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from textwrap import fill
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
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
_PAD = 0.04  # inches between a cell and its words


class _Column(NamedTuple):
    """A heading, what to draw for the image at an index, and the lines under the cells."""

    name: str
    draw: Callable[["_Cell", int], None]
    captions: Sequence[str]


class _Cell(NamedTuple):
    """A place of the figure, in inches: axes of its own for each would take most of the time."""

    axes: Axes
    left: float
    bottom: float
    right: float
    top: float

    def show(
        self,
        pixels: np.ndarray,
        cmap: str | Colormap | None = None,
        ends: tuple[float, float] = (0, 1),
    ) -> None:
        """Fill it with a picture, the first row at the top."""
        extent = self.left, self.right, self.bottom, self.top
        image = AxesImage(self.axes, cmap=cmap, interpolation="nearest", extent=extent)
        image.set_data(pixels)
        image.set_clim(*ends)
        self.axes.add_image(image)

    def edge(self, mask: np.ndarray) -> None:
        """The line around a mask."""
        tall, wide = mask.shape
        columns = self.left + (np.arange(wide) + 0.5) / wide * (self.right - self.left)
        rows = self.top - (np.arange(tall) + 0.5) / tall * (self.top - self.bottom)
        self.axes.contour(columns, rows, mask, levels=[0.5], colors="0.2", linewidths=0.4)

    def frame(self, heading: str, caption: str) -> None:
        """A thin frame, so that white maps still have an edge, and its words.

        Names of classes and explainers are words, whatever `$` and `_` are in them.
        """
        sides = self.right - self.left, self.top - self.bottom
        style = {"linewidth": 0.5, "edgecolor": "0.6", "facecolor": "none"}
        self.axes.add_patch(Rectangle((self.left, self.bottom), *sides, **style))
        middle, words = (self.left + self.right) / 2, {"ha": "center", "parse_math": False}
        if heading:
            above = self.top + _PAD
            self.axes.text(middle, above, heading, fontsize=8, va="baseline", **words)
        if caption:
            below = self.bottom - _PAD
            self.axes.text(middle, below, caption, fontsize=6.5, va="top", **words)


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
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    top = height
    for band, names, head in zip(bands, heads, tall, strict=True):
        for index, (place, column) in product(range(count), enumerate(band)):
            block, row = divmod(index, rows)
            bottom = top - head - (row + 1) * high + caption
            left = block * width / blocks + 1.5 * _GAP + place * (_CELL + _GAP)
            cell = _Cell(axes, left, bottom, left + _CELL, bottom + _CELL * aspect)
            column.draw(cell, index)
            cell.frame(
                names[place] if row == 0 else "", column.captions[index] if column.captions else ""
            )
        top -= head + rows * high
    below = "\n".join(foot)
    figure.text(0.5, 0.08 / height, below, fontsize=6.5, ha="center", parse_math=False)
    return figure


def _wrapped(caption: str) -> str:
    """A caption no wider than its cell."""
    return "\n".join(fill(line, _CHARACTERS) for line in caption.splitlines())


def _image(images: Images, cell: _Cell, index: int) -> None:
    cell.show(_pixels(images[index]))


def _mask(masks: Heatmaps, cell: _Cell, index: int) -> None:
    cell.show(_array(masks[index]), "gray")


def _heatmap(maps: Heatmaps, masks: Heatmaps | None, cell: _Cell, index: int) -> None:
    end = limit(maps[index])
    cell.show(_array(maps[index]), _RELEVANCE, (-end, end))
    if masks is not None and masks[index].min() < 0.5 < masks[index].max():
        cell.edge(_array(masks[index]))


def _overlay(images: Images, maps: Heatmaps, cell: _Cell, index: int) -> None:
    """The image in pale grey, painted red or blue the denser the stronger the relevance."""
    values = np.nan_to_num(_array(maps[index])) / limit(maps[index])
    pale = 0.4 + 0.6 * _pixels(images[index]).mean(2, keepdims=True)
    paint = np.where((values > 0)[..., None], to_rgb(_FOR), to_rgb(_AGAINST))
    weight = np.abs(values).clip(0, 1)[..., None]
    cell.show((weight * paint + (1 - weight) * pale).clip(0, 1))


def _pixels(image: Tensor) -> np.ndarray:
    """Height x width x 3: RGB, the first three of more bands, or the first of fewer as grey."""
    pixels = np.moveaxis(_array(image), 0, -1).clip(0, 1)
    return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1].repeat(3, axis=-1)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
