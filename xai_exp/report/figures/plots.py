"""The plots of a study: ranks of explainers, agreement of metrics, curves."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xai_exp.report.figures import ink
from xai_exp.report.tables import words
from xai_exp.statistics import Array, Ranking

_SOME, _FEW = 12, 18  # metrics whose correlations fit into their cells, in letters of two sizes
_BAR = 0.03  # of an axis is what a bar beside it takes
_LINE = 24  # letters of a name that leave room for numbers
_APART = "\u00a0\u00a0"  # a name and its number: of two spaces a page shows one
_ON_DARK, _ON_PALE = "#fefefe", "#111111"  # words on cells, which are the same in the dark


def critical_difference(ranking: Ranking, names: Sequence[str]) -> Figure:
    """Mean ranks, the best above; a bar joins methods that do not differ (Demsar 2006, figure 1).

    Args:
        ranking: as `statistics.friedman` gives it.
        names: the methods, in the ranking's order.
    """
    order = np.argsort(ranking.ranks, kind="stable")
    ranks, places = ranking.ranks[order], np.arange(len(order))
    low = np.floor(ranks.min())
    end = low + ranking.critical
    high = max(np.ceil(ranks.max()), low + 1, end)  # all may be tied, and an axis has some length
    step = _BAR * (high - low)
    figure, axes = ink.canvas(0.65 + 0.185 * len(order))
    axes.hlines(places, low, ranks, color=ink.SOFT, linewidth=0.8)
    axes.plot(ranks, places, "o", color=ink.INK, ms=4)
    axes.plot([low, end], [-1, -1], color=ink.INK, linewidth=2)
    lanes = _lanes(_bars(ranks, ranking.critical))
    for lane, bars in enumerate(lanes, 1):
        for first, last in bars:
            x, ends = high + lane * step, (first - 0.25, last + 0.25)
            axes.plot([x, x], ends, color=ink.RED, linewidth=3, solid_capstyle="butt")
    labels = [f"{words(names[n])}{_APART}{ranking.ranks[n]:.2f}" for n in order]
    critical = f"critical difference{_APART}{ranking.critical:.2f}"
    axes.set_yticks(np.arange(-1, len(order)), [critical, *labels])
    axes.set(xlim=(low - step, high + (len(lanes) + 1) * step), xlabel="mean rank")
    axes.set_ylim(len(order) - 0.4, -1.6)
    ticks = MaxNLocator(integer=True, nbins=4, steps=[1, 2, 5, 10]).tick_values(low, high)
    axes.set_xticks(ticks[(ticks >= low) & (ticks <= high)])
    ink.plain(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    return figure


def _lanes(bars: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Bars that do not meet can stand in one line.

    >>> _lanes([(0, 2), (1, 3), (3, 5)])
    [[(0, 2), (3, 5)], [(1, 3)]]
    """
    found: list[list[tuple[int, int]]] = []
    for bar in bars:
        free = [lane for lane in found if lane[-1][1] < bar[0]]
        if free:
            free[0].append(bar)
        else:
            found.append([bar])
    return found


def _bars(ranks: Array, critical: float) -> list[tuple[int, int]]:
    """The longest stretches of sorted ranks within the critical difference."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = int(np.flatnonzero(ranks <= ranks[first] + critical)[-1])
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def agreement(table: Array, names: Sequence[str]) -> Figure:
    """Rank correlations between metrics, in clustered order.

    Args:
        table: (metric, metric) correlations, already in the order to show; as numbers, too, where
            there is room.
        names: the metrics.
    """
    count = len(names)
    few = count <= _FEW
    figure, axes = ink.canvas(0.8 + (0.3 if few else 0.16) * count)
    colours = colormaps["RdBu"].with_extremes(bad="0.8")
    look = {"vmin": -1, "vmax": 1, "cmap": colours, "aspect": "auto", "interpolation": "none"}
    drawn = axes.imshow(table, **look)
    step = 1 if few else 10
    axes.set_xticks(range(step - 1, count, step), [str(n) for n in range(step, count + 1, step)])
    labels = [f"{words(name)}{_APART}{n}" for n, name in enumerate(names, 1)]
    axes.set_yticks(range(count), [fill(one, _LINE) if few else one for one in labels])
    size = 6 if _SOME < count <= _FEW else ink.SIZE
    axes.tick_params(axis="x", labelsize=size, length=0)
    axes.tick_params(axis="y", labelsize=ink.SIZE, length=0)
    axes.xaxis.tick_top()
    for row, column in np.ndindex(table.shape) if few else ():
        value = float(table[row, column])
        colour = _ON_DARK if abs(value) > 0.6 else _ON_PALE
        look = {"ha": "center", "va": "center", "fontsize": size, "color": colour}
        axes.text(column, row, _tenths(value), **look)
    bar = figure.colorbar(drawn, ax=axes, location="bottom", aspect=40)
    for solid in bar.ax.collections:
        solid.set_rasterized(True)  # else it is hundreds of shapes
    bar.set_label("Spearman correlation", fontsize=ink.SIZE)
    bar.ax.tick_params(labelsize=ink.SIZE)
    axes.spines[:].set_visible(False)
    return figure


def _tenths(value: float) -> str:
    """A correlation in as few signs as can be read.

    >>> [_tenths(one) for one in (0.87, -0.31, -0.02, 1.0, float("nan"))]
    ['.9', '-.3', '0', '1', '-']
    """
    if np.isnan(value):
        return "-"
    return f"{round(value, 1) + 0.0:.1f}".replace("0.", ".").replace(".0", "") or "0"


def curves(x: Array, drawn: Mapping[str, Array]) -> Figure:
    """The model's output as pixels go, the most relevant first, for every explainer.

    Args:
        x: share of what was taken away.
        drawn: mean curves by explainer.
    """
    figure, axes = ink.canvas(3.0 + 0.08 * len(drawn))
    for place, (name, values) in enumerate(drawn.items()):
        axes.plot(x, values, linewidth=1.2, label=words(name), **ink.series(place))
    axes.set(xlabel="share taken away, the most relevant first", ylabel="output for the target")
    axes.xaxis.set_major_formatter("{x:.0%}")
    ink.legend(figure)
    ink.plain(axes, grid="x")
    return figure


def against(x: Mapping[str, Array], y: Mapping[str, Array], *, names: tuple[str, str]) -> Figure:
    """One score against another: a point a model, a line for every explainer.

    Args:
        x: each explainer's mean scores by the first metric, over models.
        y: by the second metric, for the same models.
        names: the metrics.
    """
    figure, axes = ink.canvas(3.1 + 0.08 * len(x))
    ends = [min(np.nanmin(one) for one in x.values()), max(np.nanmax(one) for one in x.values())]
    axes.plot(ends, ends, color=ink.SOFT, linewidth=1, linestyle=":", label="equal")
    for place, name in enumerate(x):
        order, look = np.argsort(x[name]), ink.series(place)
        label = words(name)
        axes.plot(x[name][order], y[name][order], marker="o", ms=3, lw=1, label=label, **look)
    axes.set(xlabel=words(names[0]), ylabel=words(names[1]))
    ink.legend(figure)
    ink.plain(axes, grid="x")
    return figure
