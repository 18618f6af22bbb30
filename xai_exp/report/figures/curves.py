"""Curves: what a model loses as pixels are taken away, and how it learned."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from xai_exp.types import Curves

_Z = 1.96
_NAMES = {
    "morf": "most relevant first",
    "lerf": "least relevant first",
    "random": "random order",
}
_COLOURS = {"morf": "#b2182b", "lerf": "#2166ac", "random": "0.45"}
_MARKED = 30  # epochs up to which each is marked by a dot


def perturbation(
    curves: Mapping[str, Curves], *, title: str = "", ylabel: str = "output for the target"
) -> Figure:
    """The model's output as pixels are taken away, in every order that was tried.

    Each line is the mean over images and its band the pointwise 95 % interval of that mean
    (normal approximation, 1.96 standard errors). Good heatmaps have a low line for the most
    relevant pixels first and a high one for the least relevant first. Images with a curve that is
    not finite are left out and not counted.

    Args:
        curves: By name, a row an image; `x` is the share of pixels or regions taken away.
        title: A line above.
        ylabel: What the curves measure.
    """
    figure = Figure(figsize=(5.2, 3.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    arrays = {name: rows.double().cpu().numpy() for name, rows in curves.items()}
    known = np.all([np.isfinite(rows).all(1) for rows in arrays.values()], axis=0)
    x = arrays.pop("x")[0]
    for name in sorted(arrays, key=list(_NAMES | arrays).index):
        _band(axes, x, arrays[name][known], name)
    count = int(known.sum())
    axes.set(xlabel="share taken away", ylabel=ylabel, title=title)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    words = f"mean of {count} images with its 95 % interval"
    if count:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8, title=words)
    _quiet(axes)
    return figure


def learning(history: Sequence[Mapping[str, int | float]]) -> Figure:
    """Losses and validation accuracy by epoch.

    Args:
        history: A row an epoch with `epoch`, `train_loss`, `validation_loss` and
            `validation_accuracy`; what a row lacks is left out.
    """
    figure = Figure(figsize=(7.2, 2.8), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    _line(left, history, "train_loss", "training", "#2166ac")
    _line(left, history, "validation_loss", "validation", "#b2182b")
    _line(right, history, "validation_accuracy", "validation", "#b2182b")
    left.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    right.set(xlabel="epoch", ylabel="accuracy")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if axes.lines:
            axes.legend(frameon=False)
        _quiet(axes)
    return figure


def _band(axes: Axes, x: np.ndarray, rows: np.ndarray, name: str) -> None:
    """The mean of the rows and the interval that it is known to."""
    if not len(rows):
        return
    colour = _COLOURS.get(name)
    mean = rows.mean(0)
    (line,) = axes.plot(x, mean, label=_NAMES.get(name, name.replace("_", " ")), color=colour)
    if len(rows) > 1:
        error = _Z * rows.std(0, ddof=1) / np.sqrt(len(rows))
        axes.fill_between(
            x, mean - error, mean + error, color=line.get_color(), alpha=0.2, linewidth=0
        )


def _line(
    axes: Axes, history: Sequence[Mapping[str, int | float]], key: str, label: str, colour: str
) -> None:
    points = [(row["epoch"], row[key]) for row in history if key in row]
    if points:
        marker = "o" if len(points) <= _MARKED else ""
        axes.plot(*zip(*points, strict=True), marker=marker, ms=3, label=label, color=colour)


def _quiet(axes: Axes) -> None:
    """No box, a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.5)
