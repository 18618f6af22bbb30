"""The plots of a study: ranks of explainers, agreement of metrics, curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xai_exp.report.tables import words
from xai_exp.statistics import Array, Ranking

_WIDE = 7.2  # inches, as the page has it
_DPI = 110
_FEW = 18  # metrics whose correlations are written into their cells


def critical_difference(ranking: Ranking, names: Sequence[str]) -> Figure:
    """Mean ranks on a line; a bar joins methods that do not differ (Demsar 2006, figure 1).

    Args:
        ranking: as `statistics.friedman` gives it.
        names: the methods, in the ranking's order.
    """
    order = np.argsort(ranking.ranks, kind="stable")
    ranks = ranking.ranks[order]
    half = (len(order) + 1) // 2
    bars = _bars(ranks, ranking.critical)
    depth = 0.30 * len(bars)
    figure = Figure(
        figsize=(_WIDE, 0.9 + 0.26 * half + 0.16 * len(bars)), dpi=_DPI, layout="constrained"
    )
    axes = figure.subplots()
    low = np.floor(ranks.min())
    high = max(np.ceil(ranks.max()), low + 1)  # all may be tied, and an axis has some length
    axes.plot([low, high], [0, 0], color="black", linewidth=1)
    for tick in np.arange(low, high + 1):
        axes.plot([tick, tick], [0, 0.18], color="black", linewidth=1)
        axes.text(tick, 0.3, f"{tick:g}", ha="center", fontsize=8)
    for place, (first, last) in enumerate(bars):
        y = -0.25 - 0.3 * place
        axes.plot([ranks[first], ranks[last]], [y, y], color="#b2182b", linewidth=3)
    for place, rank in enumerate(ranks):
        left = place < half
        row = place if left else len(ranks) - 1 - place
        y, end = -0.6 - depth - 0.55 * row, (low - 0.1 if left else high + 0.1)
        axes.plot([rank, rank, end], [0, y, y], color="0.5", linewidth=0.8)
        label = f"{words(names[order[place]])}  {rank:.2f}"
        axes.text(end, y, label, ha="right" if left else "left", va="center", fontsize=8)
    axes.plot([low, low + ranking.critical], [0.95, 0.95], color="black", linewidth=1.5)
    axes.text(
        low + ranking.critical / 2,
        1.05,
        f"critical difference {ranking.critical:.2f}",
        ha="center",
        va="bottom",
        fontsize=8,
    )
    room = 0.62 * (high - low + 0.2)
    axes.set(xlim=(low - room, high + room), ylim=(-0.9 - depth - 0.55 * half, 1.7))
    axes.axis("off")
    return figure


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
    few = len(names) <= _FEW
    side = 1.6 + 0.36 * len(names) if few else _WIDE - 0.4 + 0.02 * len(names)
    figure = Figure(figsize=(side + 1.4, side), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(table, vmin=-1, vmax=1, cmap="RdBu")
    labels = [words(name) for name in names]
    turn, end, size = (45, "right", 8) if few else (90, "center", 6)
    axes.set_xticks(range(len(names)), labels, rotation=turn, ha=end, fontsize=size)
    axes.set_yticks(range(len(names)), labels, fontsize=size)
    for row, column in np.ndindex(table.shape) if few else ():
        value = table[row, column]
        colour = "white" if abs(value) > 0.6 else "black"
        text = f"{value:.1f}".replace("-0.0", "0.0") if np.isfinite(value) else "-"
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.7)
    bar.set_label("Spearman correlation", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    axes.spines[:].set_visible(False)
    return figure


def curves(x: Array, drawn: Mapping[str, Array], *, title: str) -> Figure:
    """The model's output as pixels go, the most relevant first, for every explainer.

    Args:
        x: share of what was taken away.
        drawn: mean curves by explainer.
        title: a line above.
    """
    figure = Figure(figsize=(_WIDE, 3.2 + 0.06 * len(drawn)), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    colours = _colours(len(drawn))
    for place, (name, values) in enumerate(drawn.items()):
        line = "-" if place % 2 == 0 else "--"
        axes.plot(x, values, line, color=colours[place], linewidth=1.5, label=words(name))
    axes.set(xlabel="share taken away, the most relevant first", ylabel="output for the target")
    axes.set_title(title, fontsize=10, loc="left")
    axes.xaxis.set_major_formatter("{x:.0%}")
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8)
    return _quiet(figure, axes)


def against(x: Mapping[str, Array], y: Mapping[str, Array], *, names: tuple[str, str]) -> Figure:
    """One score against another: a point a model, a line for every explainer.

    Args:
        x: each explainer's mean scores by the first metric, over models.
        y: by the second metric, for the same models.
        names: the metrics.
    """
    figure = Figure(figsize=(_WIDE, 3.8 + 0.06 * len(x)), dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    ends = [min(np.nanmin(one) for one in x.values()), max(np.nanmax(one) for one in x.values())]
    axes.plot(ends, ends, color="0.6", linewidth=1, linestyle=":", label="equal")
    for place, (name, colour) in enumerate(zip(x, _colours(len(x)), strict=True)):
        order, line = np.argsort(x[name]), "-" if place % 2 == 0 else "--"
        xs, ys = x[name][order], y[name][order]
        axes.plot(xs, ys, line, marker="o", ms=3.5, color=colour, linewidth=1, label=words(name))
    axes.set(xlabel=words(names[0]), ylabel=words(names[1]))
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8)
    return _quiet(figure, axes)


def _colours(count: int) -> list[tuple[float, float, float]]:
    from matplotlib import colormaps

    return [colormaps["tab20"](place % 20)[:3] for place in range(count)]


def _quiet(figure: Figure, axes: Axes) -> Figure:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25, linewidth=0.5)
    return figure
