"""How the figures of a page look: a phone wide, in few colours that the page's style knows."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDE = 3.9  # inches: drawn this wide, words of `SIZE` can still be read on a phone
SIZE = 8  # points
_DPI = 150  # of what is drawn as pixels within a figure, and of its PNG in tracking
INK, SOFT = "#000000", "#808080"
SERIES = (
    *("#2166ac", "#b2182b", "#1b7837", "#762a83", "#c06000"),
    *("#007f8a", "#d0509a", "#7a4a12", "#77770c", "#5f6670"),
)
BLUE, RED = SERIES[:2]
VARIABLES = {INK: "--ink", SOFT: "--soft"} | {one: f"--s{n}" for n, one in enumerate(SERIES)}
_LINES = ("-", "--", ":", "-.")
_LONG = 19  # characters of a name beside which no second one fits


def canvas(height: float, wide: float = WIDE) -> tuple[Figure, Axes]:
    """A figure of this height in inches, and what to draw on."""
    figure = Figure(figsize=(wide, height), dpi=_DPI, layout="constrained")
    return figure, figure.subplots()


def series(place: int) -> dict[str, Any]:
    """The look of a line among others; twenty can be told apart."""
    line = _LINES[place % 2 + 2 * (place // len(SERIES) % 2)]
    return {"color": SERIES[place % len(SERIES)], "linestyle": line}


def plain(axes: Axes, grid: str = "both") -> None:
    """No box, a faint grid and words of one size."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SIZE)
    axes.xaxis.label.set_fontsize(SIZE)
    axes.yaxis.label.set_fontsize(SIZE)
    axes.grid(axis=grid, color=SOFT, alpha=0.25, linewidth=0.5)  # pyright: ignore[reportArgumentType]


def legend(figure: Figure) -> None:
    """What each line stands for, below, in as many columns as there is room for."""
    names = [str(name) for axes in figure.axes for name in axes.get_legend_handles_labels()[1]]
    columns = 1 if max(map(len, names), default=0) > 2 * _LONG else 2
    figure.legend(loc="outside lower left", ncols=columns, frameon=False, fontsize=SIZE)
