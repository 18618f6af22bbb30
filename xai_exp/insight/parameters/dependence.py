"""How the answers go with one parameter or two: partial dependence, single scenes, boundaries."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from sklearn.inspection import partial_dependence

from xai_exp.config import InputError, Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.insight.parameters.rendered import RenderedNetwork, grid, rendered, titled
from xai_exp.insight.parameters.space import chosen
from xai_exp.report.figures import ink

Answer = Literal["probability", "value"]
Steps = Annotated[int, Range(2, 101)]
Scenes = Annotated[int, Range(2)]
_LINES = 5  # classes that are drawn as lines; more become the rows of a map
_SINGLE = 40  # scenes whose own curves are drawn


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What is answered as one parameter goes: (class, scene, step), and the values tried."""

    name: str
    title: str
    values: np.ndarray
    single: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The partial dependence (class, step)."""
        return self.single.mean(1)

    @property
    def spread(self) -> float:
        """The largest standard deviation over values of a class's mean: Greenwell et al. 2018."""
        return float(self.mean.std(1).max())


@configured
class PartialDependence:
    r"""Partial dependence (Friedman 2001) and its single curves (Goldstein et al. 2015).

    $\mathrm{PD}_j(v) = \frac1n \sum_i f(x_i \text{ with parameter } j = v)$ for every class, each
    scene being drawn again with the value; exact, since nothing else of the scene changes (objects
    that no longer fit are placed anew). In units of the answer. The number kept of a parameter is
    its importance, the standard deviation of PD over the values (Greenwell et al. 2018).

    Args:
        images: scenes, the first of the test split.
        parameters: their names; null: all whose values have an order.
        steps: values of a parameter, quantiles of those that occur (of whole ones: all).
        answer: probability of each class, or value: that of the setting `value`, unbounded.
    """

    shows: ClassVar[str] = "what is answered on average as a parameter goes, and of single scenes"
    images: Scenes = 100
    parameters: tuple[str, ...] | None = None
    steps: Steps = 11
    answer: Answer = "probability"

    def __call__(self, subject: Subject) -> Finding:
        """The curves of every parameter."""
        model = rendered(subject, self.images, self.answer)
        curves = [curve(model, one, self.steps) for one in chosen(model.space, self.parameters)]
        order = sorted(curves, key=lambda one: -one.spread)
        targets = model.predict(model.space.table()).argmax(1)
        classes = subject.data.classes
        rows = [
            {"parameter": one.name, "value": v, "class": name, "answer": one.mean[k, step]}
            for one in curves
            for step, v in enumerate(one.values)
            for k, name in enumerate(classes)
        ]
        return Finding(
            figures={"partial_dependence": partial(_drawn, order, classes, targets, self.answer)},
            tables={"partial_dependence": pd.DataFrame(rows)},
            numbers={one.name.replace(" ", "_"): one.spread for one in curves},
            lines=(f"the answer goes most with {order[0].name}",),
        )


def curve(model: RenderedNetwork, column: int, steps: int) -> Curve:
    """The answers along one parameter."""
    space, table = model.space, model.space.table()
    parameter = space.parameters[column]
    values = grid(table[:, column], steps, whole=parameter.whole)
    found = partial_dependence(
        model, table, [column], kind="both", method="brute", custom_values={column: values}
    )
    (title,) = titled([parameter.name], [parameter.unit])
    return Curve(name=parameter.name, title=title, values=values, single=found["individual"])


def _drawn(
    curves: list[Curve], classes: tuple[str, ...], targets: np.ndarray, answer: str
) -> Figure:
    figure = Figure(figsize=(7.2, 1.9 * len(curves) + 0.4), dpi=150, layout="constrained")
    for row, (left, right) in enumerate(figure.subplots(len(curves), 2, squeeze=False)):
        one = curves[row]
        if len(classes) <= _LINES:
            _lines(left, one, classes, answer)
        else:
            _classes(figure, left, one, classes, answer)
        own = one.single[targets, np.arange(len(targets))]
        right.plot(one.values, own[:_SINGLE].T, color=ink.SOFT, linewidth=0.5, alpha=0.6)
        right.plot(one.values, own.mean(0), color=ink.RED, linewidth=2)
        right.set(xlabel=one.title, ylabel=f"{answer}\nof its own class")
        ink.plain(right)
        left.set_xlabel(one.title)
        ink.plain(left, grid="x")
    return figure


def _lines(axes: Axes, one: Curve, classes: tuple[str, ...], answer: str) -> None:
    for place, name in enumerate(classes):
        axes.plot(one.values, one.mean[place], label=name, **ink.series(place))
    axes.set_ylabel(f"mean {answer}")
    axes.legend(frameon=False, fontsize=ink.SIZE)


def _classes(figure: Figure, axes: Axes, one: Curve, classes: tuple[str, ...], answer: str) -> None:
    """A row a class: ten lines of probabilities would hide one another."""
    colours = "Blues" if answer == "probability" else "RdBu_r"
    rows = np.arange(len(classes))
    drawn = axes.pcolormesh(one.values, rows, one.mean, shading="nearest", cmap=colours)
    step = max(1, len(classes) // 10)
    axes.set_yticks(range(0, len(classes), step), classes[::step])
    axes.set_ylabel("class")
    bar = figure.colorbar(drawn, ax=axes)
    bar.set_label(f"mean {answer}", fontsize=ink.SIZE)
    bar.ax.tick_params(labelsize=ink.SIZE)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """What is answered over a grid of two parameters: (scene, first, second, class)."""

    names: tuple[str, str]
    titles: tuple[str, str]
    values: tuple[np.ndarray, np.ndarray]
    single: np.ndarray


def plane(model: RenderedNetwork, columns: tuple[int, int], steps: int) -> Plane:
    """The answers over a grid of two parameters."""
    space, table = model.space, model.space.table()
    both = [space.parameters[one] for one in columns]
    axes = [
        grid(table[:, column], steps, whole=one.whole)
        for column, one in zip(columns, both, strict=True)
    ]
    custom = dict(zip(columns, axes, strict=True))
    found = partial_dependence(
        model, table, list(columns), kind="individual", method="brute", custom_values=custom
    )
    titles = titled([one.name for one in both], [one.unit for one in both])
    return Plane(
        names=(both[0].name, both[1].name),
        titles=(titles[0], titles[1]),
        values=(axes[0], axes[1]),
        single=np.moveaxis(found["individual"], 0, -1),
    )


def _pair(model: RenderedNetwork, names: tuple[str, ...] | None, probe: int = 5) -> tuple[int, int]:
    """The columns of two parameters; None: the two that answers go most with.

    Raises:
        InputError: for other than two, or where there are not two.
    """
    if names is not None and len(names) != 2:
        raise InputError(f"parameters: got {len(names)}; allowed: two, or null")
    columns = chosen(model.space, names)
    if len(columns) < 2:
        raise InputError(
            f"parameters: got scenes with {len(columns)} that differ; allowed: two or more"
        )
    if names is None:
        columns = sorted(columns, key=lambda one: -curve(model, one, probe).spread)[:2]
    return columns[0], columns[1]


@configured
class PartialDependence2:
    r"""Partial dependence on two parameters, and how far they act together.

    $\mathrm{PD}_{jk}$ as `partial_dependence` has it, of the class whose answer moves most. The
    number is $H^2_{jk}$ (Friedman and Popescu 2008, eq. 44): the share of the variance of
    $\mathrm{PD}_{jk}$ over the grid that is no sum of a function of each; 0..1, HIGHER means more
    interaction. Here over the grid of values, not over the scenes.

    Args:
        images: scenes, the first of the test split.
        parameters: two names; null: the two with the largest spread.
        steps: values of each.
        answer: probability, or value: that of the setting `value`.
    """

    shows: ClassVar[str] = "what is answered on average as two parameters go"
    images: Scenes = 50
    parameters: tuple[str, ...] | None = None
    steps: Steps = 9
    answer: Answer = "probability"

    def __call__(self, subject: Subject) -> Finding:
        """The plane and its interaction."""
        model = rendered(subject, self.images, self.answer)
        found = plane(model, _pair(model, self.parameters), self.steps)
        mean = found.single.mean(0)
        most = int(mean.std((0, 1)).argmax())
        share = interaction(mean[..., most])
        name = subject.data.classes[most]
        title = f"mean {self.answer} of class {name}"
        rows = pd.DataFrame(mean[..., most], index=found.values[0], columns=found.values[1])
        words = f"{found.names[0]} and {found.names[1]}"
        return Finding(
            figures={"partial_dependence_2": partial(_heat, found, mean[..., most], title)},
            tables={"partial_dependence_2": rows.reset_index(names=found.names[0])},
            numbers={"interaction": share},
            lines=(f"{words}: {100 * share:.0f} % of what they do for class {name} is together",),
        )


def interaction(plane: np.ndarray) -> float:
    """The share of a plane's variance that is no sum of its rows' and columns' means, in 0..1.

    >>> interaction(np.array([[0.0, 1.0], [2.0, 3.0]])), interaction(np.array([[0.0, 1], [1, 0]]))
    (0.0, 1.0)
    """
    centred = plane - plane.mean()
    rest = centred - centred.mean(0, keepdims=True) - centred.mean(1, keepdims=True)
    total = float((centred**2).sum())
    return float((rest**2).sum()) / total if total > 0 else float("nan")


def _heat(found: Plane, mean: np.ndarray, title: str) -> Figure:
    figure, axes = ink.canvas(3.0)
    drawn = axes.pcolormesh(*found.values, mean.T, shading="nearest", cmap="viridis")
    axes.set(xlabel=found.titles[0], ylabel=found.titles[1])
    axes.set_title(title, fontsize=ink.SIZE)
    figure.colorbar(drawn, ax=axes).ax.tick_params(labelsize=ink.SIZE)
    ink.plain(axes)
    axes.grid(visible=False)
    return figure


@configured
class DecisionBoundary:
    """Which class is answered over two parameters: the most frequent one over the scenes.

    Pale where the scenes do not agree. The number is the mean share of scenes that say the most
    frequent class, 1 / classes to 1: near 1 where these two parameters decide.

    Args:
        images: scenes, the first of the test split.
        parameters: two names; null: the two that answers go most with.
        steps: values of each.
    """

    shows: ClassVar[str] = "which class is answered as two parameters go"
    images: Scenes = 30
    parameters: tuple[str, ...] | None = None
    steps: Steps = 15

    def __call__(self, subject: Subject) -> Finding:
        """The regions and how sure they are."""
        model = rendered(subject, self.images)
        found = plane(model, _pair(model, self.parameters), self.steps)
        said = found.single.argmax(-1)
        classes = subject.data.classes
        counts = np.stack([(said == k).mean(0) for k in range(len(classes))], -1)
        winner, share = counts.argmax(-1), counts.max(-1)
        names = np.array(classes)
        rows = pd.DataFrame(names[winner], index=found.values[0], columns=found.values[1])
        return Finding(
            figures={"decision_boundary": partial(_regions, found, winner, share, classes)},
            tables={"decision_boundary": rows.reset_index(names=found.names[0])},
            numbers={"agreement": float(share.mean())},
            lines=(f"{' and '.join(found.names)} decide {100 * share.mean():.0f} % of answers",),
        )


def _regions(
    found: Plane, winner: np.ndarray, share: np.ndarray, classes: tuple[str, ...]
) -> Figure:
    figure, axes = ink.canvas(3.3)
    palette = colormaps["tab10" if len(classes) <= 10 else "turbo"].resampled(len(classes))
    colours = palette(np.arange(len(classes)))[:, :3]
    mixed = 1 - share.T[..., None] * (1 - colours[winner.T])
    extent = _edges(found.values)
    axes.imshow(mixed, origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    axes.set(xlabel=found.titles[0], ylabel=found.titles[1])
    seen = np.unique(winner)
    patches = [Patch(color=tuple(colours[k]), label=classes[k]) for k in seen[:20]]
    figure.legend(
        handles=patches, loc="outside right upper", frameon=False, fontsize=ink.SIZE, title="class"
    )
    ink.plain(axes)
    axes.grid(visible=False)
    return figure


def _edges(values: tuple[np.ndarray, np.ndarray]) -> tuple[float, float, float, float]:
    """Where the outermost cells end."""
    found: list[float] = []
    for one in values:
        step = (one[-1] - one[0]) / max(1, len(one) - 1) or 1.0
        found += [float(one[0] - step / 2), float(one[-1] + step / 2)]
    return found[0], found[1], found[2], found[3]
