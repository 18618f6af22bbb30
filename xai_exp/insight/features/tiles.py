"""Optimised images side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from xai_exp.report.figures import ink
from xai_exp.types import Images


def shown(axes: Axes, image: Tensor, words: str = "") -> None:
    """One image (channel, height, width) in its own pixels."""
    pixels = image.detach().cpu().clamp(0, 1)
    if len(pixels) == 3:
        axes.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
    else:
        axes.imshow(pixels.mean(0).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    if words:
        axes.set_title(words, fontsize=ink.SIZE)


def tiles(
    images: Images, names: Sequence[str], title: str = "", beside: Images | None = None
) -> Figure:
    """Images with what each is of; `beside` stands above, such as the originals."""
    columns = min(len(images), 8)
    rows = -(-len(images) // columns) * (1 if beside is None else 2)
    size = (1.15 * columns, 1.35 * rows + (0.3 if title else 0))
    figure = Figure(figsize=(max(2.5, size[0]), size[1]), dpi=150, layout="constrained")
    grid: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place in range(len(images)):
        row, column = divmod(place, columns)
        if beside is None:
            shown(grid[row, column], images[place], names[place])
            continue
        shown(grid[2 * row, column], beside[place], f"image {place}")
        shown(grid[2 * row + 1, column], images[place], names[place].split()[0])
    if title:
        figure.suptitle(title, fontsize=ink.SIZE + 1)
    return figure
