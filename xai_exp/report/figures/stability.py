"""Stability as plots: for tracking all explainers in one, for the page each by itself."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from xai_exp import stability
from xai_exp.report.figures import ink
from xai_exp.report.tables import words
from xai_exp.statistics import Array
from xai_exp.truth.shares import shares

_POINT = "#4a8fd0"  # points become pixels, so that one colour has to do for the light and the dark
_MARKERS = "osD^vPX*"
_PANEL, _SQUARE = 1.95, 2.9  # inches: two or one beside each other on a phone
_ACROSS = 4  # panels in a row
_ABREAST = 14  # models whose numbers can stand upright below them
_LABELS = 40  # models in a panel whose numbers can still be read
_MOST = 12  # models side by side
_POINTS = 2000  # in a panel


def figures(maps: Any, found: Any) -> dict[str, Figure]:  # noqa: ANN401
    """All plots of the report by name, of what `xai_exp.stability.tables` read and found."""
    drawn = {
        "similarity": matrices(found.matrices, list(maps.models["architecture"])),
        "accuracy": against_accuracy(found.likeness, maps.models["accuracy"].to_numpy()),
        "side_by_side": side_by_side(maps),
    }
    if len(found.variance):
        drawn["variance"] = variance(found.variance)
    if len(found.tracking):
        drawn["tracking"] = tracking(maps, found.tracking)
    return drawn


def clustered(matrix: Array) -> list[int]:
    """The order of models in which those that agree stand side by side (average linkage)."""
    if len(matrix) < 3:
        return list(range(len(matrix)))
    distance = np.clip(1 - np.nan_to_num(matrix), 0, None)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    linked = hierarchy.linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(place) for place in hierarchy.leaves_list(linked)]


def matrices(found: Any, names: list[str]) -> Figure:  # noqa: ANN401
    """The mean similarity of every two models, a panel an explainer, each in its own order."""
    columns = min(_ACROSS - 1, len(found))
    side = min(2.9, 1.2 + 0.07 * len(names))
    size = 5.5 if len(names) <= 24 else 4.0
    rows = -(-len(found) // columns)
    extent = (side * columns + 0.9, (side + 0.3) * rows + 0.5)
    figure = Figure(figsize=extent, dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    shown = None
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    for axes, (name, matrix) in zip(panels, found.items(), strict=False):
        shown = _matrix(axes, matrix, names, size)
        axes.set_title(words(name), fontsize=9)
    figure.supxlabel("architecture (a number twice: another seed)", fontsize=8)
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(panels), shrink=0.6, aspect=30)
        bar.set_label("Spearman correlation", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure


def matrix(found: Array, names: list[str]) -> Figure:
    """The mean similarity of every two models by one explainer."""
    figure, axes = ink.canvas(_SQUARE, wide=_SQUARE)
    _matrix(axes, found, names, 6.5 if len(names) <= 24 else 5.5)
    axes.spines[:].set_visible(False)
    return figure


def _matrix(axes: Axes, found: Array, names: list[str], size: float) -> Any:  # noqa: ANN401
    """Models that agree side by side, as numbers of their architectures."""
    numbers = {name: place for place, name in enumerate(dict.fromkeys(names), 1)}
    every = -(-len(names) // _LABELS)
    order = clustered(found)
    shown = [str(numbers[names[place]]) for place in order]
    ticks = range(0, len(order), every)
    turn = 0 if len(names) <= _ABREAST else 90
    axes.set_xticks(ticks, shown[::every], fontsize=size, rotation=turn)
    axes.set_yticks(ticks, shown[::every], fontsize=size)
    axes.tick_params(length=2, pad=1)
    look = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r", "interpolation": "none"}
    return axes.imshow(found[np.ix_(order, order)], **look)


def against_accuracy(likeness: Any, accuracy: Array) -> Figure:  # noqa: ANN401
    """Each model's mean similarity to the others against its accuracy."""
    figure, axes = ink.canvas(2.8 + 0.09 * len(likeness))
    for place, (name, values) in enumerate(likeness.items()):
        look = {"color": ink.series(place)["color"], "label": words(name), "alpha": 0.8}
        axes.plot(100 * accuracy, values, _MARKERS[place % len(_MARKERS)], ms=4, **look)
    axes.set(xlabel="test accuracy (%)", ylabel="Spearman correlation\nwith the other models")
    ink.plain(axes)
    ink.legend(figure)
    return figure


def variance(table: Any) -> Figure:  # noqa: ANN401
    """The share of differences that each choice explains; the tick is what chance explains."""
    names = list(dict.fromkeys(table["explainer"]))
    choices = list(table.groupby("choice")["share"].mean().sort_values().index)
    thick = 0.8 / len(names)
    high = 0.9 + 0.09 * len(names) + max(0.45, 0.08 * len(names)) * len(choices)
    figure, axes = ink.canvas(high)
    for place, name in enumerate(names):
        part = table[table["explainer"] == name].set_index("choice").reindex(choices)
        at = np.arange(len(choices)) + 0.4 - thick * (place + 0.5)
        colour = ink.series(place)["color"]
        axes.barh(at, part["share"], thick, color=colour, label=words(name))
        axes.plot(part["expected"], at, "|", color=ink.INK, ms=6)
        for height, (share, p) in zip(at, part[["share", "p"]].to_numpy(), strict=True):
            if p <= 0.05:
                axes.text(share, height, " *", va="center", fontsize=8)
    axes.set_yticks(range(len(choices)), [words(one) for one in choices])
    axes.set(xlabel="share of squared distances explained\n(|: by chance, *: p <= 0.05)")
    axes.set_xlim(0, max(0.05, 1.12 * float(table["share"].max())))
    ink.plain(axes, grid="x")
    ink.legend(figure)
    return figure


def tracking(maps: Any, table: Any) -> Figure:  # noqa: ANN401
    """Distance of heatmaps' part shares over that of exact part values, a panel an explainer."""
    lines = _lines(table)
    columns = min(_ACROSS, len(lines))
    rows = -(-len(lines) // columns)
    figure = Figure(figsize=(2.4 * columns + 0.6, 2.4 * rows + 0.6), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    true = _distances(stability.shares_of_worth(maps.worth))
    for axes, (name, line) in zip(panels.flat, lines.iterrows(), strict=False):
        _cloud(axes, true, _distances(shares(maps.shown[name][..., :-1])), line)
        axes.set_title(words(name), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat[len(lines) :]:
        axes.set_visible(False)
    figure.supxlabel("distance of two networks' exact part values", fontsize=9)
    figure.supylabel("distance of their heatmaps' part shares", fontsize=9)
    return figure


def clouds(maps: Any, table: Any) -> dict[str, Figure]:  # noqa: ANN401
    """The panels of `tracking` by explainer, over the same range."""
    made, end, true = {}, 0.0, _distances(stability.shares_of_worth(maps.worth))
    for name, line in _lines(table).iterrows():
        _, axes = made[str(name)] = ink.canvas(1.9, wide=_PANEL)
        _cloud(axes, true, _distances(shares(maps.shown[name][..., :-1])), line)
        ink.plain(axes)
        end = max(end, axes.get_ylim()[1])
    for _, axes in made.values():
        axes.set_ylim(0, end)
    return {name: figure for name, (figure, _) in made.items()}


def _lines(table: Any) -> Any:  # noqa: ANN401
    return table[table["distance"] == "parts"].set_index("explainer")


def _distances(given: Array) -> Array:
    """Of the part shares of every two networks, image by image."""
    found = stability.apart(given)
    return found[np.triu_indices(len(found), 1)].ravel()


def _cloud(axes: Axes, x: Array, y: Array, line: Any) -> None:  # noqa: ANN401
    """One explainer's pairs of networks and the line through them."""
    chosen = np.random.default_rng(0).permutation(len(x))[:_POINTS]
    axes.plot(x[chosen], y[chosen], ".", ms=2, alpha=0.4, color=_POINT, rasterized=True)
    ends = np.array([0, np.nanmax(x)])
    axes.plot(ends, line["intercept"] + line["slope"] * ends, color=ink.RED, linewidth=1.5)
    axes.plot(ends, ends, color=ink.SOFT, linewidth=0.8, linestyle=":")


def side_by_side(maps: Any, image: int = 0) -> Figure:  # noqa: ANN401
    """One image explained by all models (the twelve most accurate if there are more)."""
    best = most_accurate(maps.models)
    names = list(maps.heatmaps)
    columns = len(best) + 1
    wide, high = 0.95 * columns + 0.8, 1.0 * len(names) + 0.45
    figure = Figure(figsize=(wide, high), dpi=150)
    panels = figure.subplots(len(names), columns, squeeze=False)
    edges = (0.75 / wide, 0.05 / high, 1 - 0.05 / wide, 1 - 0.45 / high)
    figure.subplots_adjust(*edges, wspace=0.08, hspace=0.08)
    for row, name in zip(panels, names, strict=True):
        row[0].imshow(maps.images[image].mean(0), cmap="gray", vmin=0, vmax=255)
        row[0].set_ylabel(name.replace("_", "\n"), fontsize=9)
        for axes, model in zip(row[1:], best, strict=True):
            heat = maps.heatmaps[name][model, image]
            largest = float(np.abs(heat).max()) or 1.0
            axes.imshow(heat, cmap="RdBu_r", vmin=-largest, vmax=largest)
        for axes in row:
            axes.set(xticks=[], yticks=[])
    panels[0, 0].set_title("image", fontsize=9)
    for axes, caption in zip(panels[0, 1:], captions(maps.models, best), strict=True):
        axes.set_title(caption, fontsize=8.5)
    return figure


def most_accurate(models: Any) -> Array:  # noqa: ANN401
    """Where the models are that stand side by side."""
    return np.sort(np.argsort(-models["accuracy"].to_numpy(), kind="stable")[:_MOST])


def captions(models: Any, chosen: Array) -> list[str]:  # noqa: ANN401
    """Of each chosen model the number of its architecture, its seed and its accuracy."""
    numbers = {name: place for place, name in enumerate(dict.fromkeys(models["architecture"]), 1)}
    rows = models.iloc[chosen].to_dict("records")
    return [
        f"{numbers[one['architecture']]}, seed {one['seed']}\n{100 * one['accuracy']:.1f} %"
        for one in rows
    ]
