"""Stability as plots."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from xai_exp import stability

Array = NDArray[Any]
_COLOURS = (
    *("#2166ac", "#b2182b", "#1b7837", "#762a83", "#e08214", "#4d4d4d"),
    *("#66bd63", "#de77ae", "#8c510a", "#35978f", "#9e9ac8", "#000000"),
)
_MARKERS = "osD^vPX*"
_ACROSS = 4  # panels in a row
_LABELS = 40  # models in a panel whose numbers can still be read
_MOST = 12  # models side by side
_POINTS = 2000  # in a panel


def figures(maps: Any, found: Any) -> dict[str, Figure]:  # noqa: ANN401
    """All plots of the report by name, of what `xai_exp.stability_tables` read and found."""
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
    size = 5.5 if len(names) <= 24 else 4
    every = -(-len(names) // _LABELS)
    rows = -(-len(found) // columns)
    extent = (side * columns + 0.9, (side + 0.3) * rows + 0.5)
    figure = Figure(figsize=extent, dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    numbers = {name: place for place, name in enumerate(dict.fromkeys(names), 1)}
    shown = None
    for axes in panels[len(found) :]:
        axes.set_visible(False)
    for axes, (name, matrix) in zip(panels, found.items(), strict=False):
        order = clustered(matrix)
        shown = axes.imshow(matrix[np.ix_(order, order)], vmin=-1, vmax=1, cmap="RdBu_r")
        words = [str(numbers[names[place]]) for place in order]
        ticks = range(0, len(order), every)
        axes.set_xticks(ticks, words[::every], fontsize=size, rotation=90)
        axes.set_yticks(ticks, words[::every], fontsize=size)
        axes.tick_params(length=2, pad=1)
        axes.set_title(name.replace("_", " "), fontsize=9)
    figure.supxlabel("architecture (a number twice: another seed)", fontsize=8)
    if shown is not None:
        bar = figure.colorbar(shown, ax=list(panels), shrink=0.6, aspect=30)
        bar.set_label("Spearman correlation", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure


def against_accuracy(likeness: Any, accuracy: Array) -> Figure:  # noqa: ANN401
    """Each model's mean similarity to the others against its accuracy."""
    figure = Figure(figsize=(7.2, 3.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    for place, (name, values) in enumerate(likeness.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        how = {"color": colour, "label": name.replace("_", " "), "alpha": 0.8}
        axes.plot(100 * accuracy, values, _MARKERS[place % len(_MARKERS)], ms=4, **how)
    axes.set(xlabel="test accuracy (%)", ylabel="Spearman correlation\nwith the other models")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def variance(table: Any) -> Figure:  # noqa: ANN401
    """The share of differences that each choice explains; the tick is what chance explains."""
    names = list(dict.fromkeys(table["explainer"]))
    choices = list(table.groupby("choice")["share"].mean().sort_values().index)
    figure = Figure(figsize=(7.2, 1.6 + 0.45 * len(choices)), dpi=110, layout="constrained")
    axes = figure.subplots()
    thick = 0.8 / len(names)
    for place, name in enumerate(names):
        part = table[table["explainer"] == name].set_index("choice").reindex(choices)
        at = np.arange(len(choices)) + 0.4 - thick * (place + 0.5)
        colour = _COLOURS[place % len(_COLOURS)]
        axes.barh(at, part["share"], thick, color=colour, label=name.replace("_", " "))
        axes.plot(part["expected"], at, "|", color="black", ms=6)
        for height, (share, p) in zip(at, part[["share", "p"]].to_numpy(), strict=True):
            if p <= 0.05:
                axes.text(share, height, " *", va="center", fontsize=8)
    axes.set_yticks(range(len(choices)), [str(one).replace("_", " ") for one in choices])
    axes.set(xlabel="share of squared distances explained  (|: by chance, *: p <= 0.05)")
    axes.set_xlim(0, max(0.05, 1.12 * float(table["share"].max())))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def tracking(maps: Any, table: Any) -> Figure:  # noqa: ANN401
    """Distance of heatmaps' part shares over that of exact part values, a panel an explainer."""
    lines = table[table["distance"] == "parts"].set_index("explainer")
    columns = min(_ACROSS, len(lines))
    rows = -(-len(lines) // columns)
    figure = Figure(figsize=(2.4 * columns + 0.6, 2.4 * rows + 0.6), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    true = stability.apart(stability.shares_of_worth(maps.worth))
    upper = np.triu_indices(len(true), 1)
    x = true[upper].ravel()
    chosen = np.random.default_rng(0).permutation(len(x))[:_POINTS]
    for axes, (name, line) in zip(panels.flat, lines.iterrows(), strict=False):
        shown = stability.apart(stability.shares_of_worth(maps.shown[name]))[upper].ravel()
        axes.plot(x[chosen], shown[chosen], ".", ms=2, alpha=0.3, color=_COLOURS[0])
        ends = np.array([0, np.nanmax(x)])
        axes.plot(ends, line["intercept"] + line["slope"] * ends, color=_COLOURS[1], linewidth=1.5)
        axes.plot(ends, ends, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_title(str(name).replace("_", " "), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels.flat[len(lines) :]:
        axes.set_visible(False)
    figure.supxlabel("distance of two networks' exact part values", fontsize=9)
    figure.supylabel("distance of their heatmaps' part shares", fontsize=9)
    return figure


def side_by_side(maps: Any, image: int = 0) -> Figure:  # noqa: ANN401
    """One image explained by all models (the twelve most accurate if there are more)."""
    best = np.sort(np.argsort(-maps.models["accuracy"].to_numpy(), kind="stable")[:_MOST])
    names = list(maps.heatmaps)
    numbers = {
        name: place for place, name in enumerate(dict.fromkeys(maps.models["architecture"]), 1)
    }
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
    for axes, model in zip(panels[0, 1:], best, strict=True):
        one = maps.models.iloc[int(model)]
        number, seed = numbers[one["architecture"]], one["seed"]
        axes.set_title(f"{number}, seed {seed}\n{100 * one['accuracy']:.1f} %", fontsize=8.5)
    return figure
