"""Which answers are right: confusions, precision and recall by class, errors, classes' shares."""

from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from xai_exp.config import Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.report.figures import ink

Images = Annotated[int, Range(2)]
_MANY = 20  # classes up to which cells have their numbers


def answered(subject: Subject, count: int) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted classes of the first test images."""
    said = subject.logits(count).argmax(1).cpu().numpy()
    return subject.labels(count).cpu().numpy(), said


@configured
class ConfusionMatrix:
    """How often each class is taken for each other one, over the first `images` test images.

    A row a true class, in numbers of images; colours are shares of the row. The numbers are the
    accuracy (0..1, HIGHER is better) and the largest share of a class that is taken for one other.
    """

    shows: ClassVar[str] = "which class is taken for which"
    images: Images = 2000

    def __call__(self, subject: Subject) -> Finding:
        """The matrix."""
        true, said = answered(subject, self.images)
        classes = subject.data.classes
        counts = confusion_matrix(true, said, labels=range(len(classes)))
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        off = shares - np.diag(np.diag(shares))
        row, column = np.unravel_index(off.argmax(), off.shape)
        worst = float(off[row, column])
        words = f"{100 * worst:.1f} % of {classes[row]} are taken for {classes[column]}"
        table = pd.DataFrame(counts, columns=list(classes))
        table.insert(0, "true", list(classes))
        return Finding(
            figures={"confusion_matrix": partial(_matrix, counts, shares, classes)},
            tables={"confusion_matrix": table},
            numbers={"accuracy": float((true == said).mean()), "worst": worst},
            lines=(words if worst else "no image is taken for another class",),
        )


def _matrix(counts: np.ndarray, shares: np.ndarray, classes: tuple[str, ...]) -> Figure:
    count = len(classes)
    figure, axes = ink.canvas(max(2.6, min(9.0, 1.0 + 0.28 * count)), max(ink.WIDE, 0.36 * count))
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    step = max(1, count // 30)
    marks = range(0, count, step)
    axes.set_xticks(marks, classes[::step], rotation=90 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(marks, classes[::step])
    axes.set(xlabel="predicted", ylabel="true")
    for row, column in zip(*counts.nonzero(), strict=True) if count <= _MANY else ():
        colour = "white" if shares[row, column] > 0.6 else ink.INK
        look = {"ha": "center", "va": "center", "fontsize": 6, "color": colour}
        axes.text(column, row, str(counts[row, column]), **look)
    ink.plain(axes)
    axes.grid(visible=False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label("share of the true class", fontsize=ink.SIZE)
    bar.ax.tick_params(labelsize=ink.SIZE)
    return figure


@configured
class ClassificationReport:
    """Precision, recall and F1 of every class, and how many images it has.

    All in 0..1, HIGHER is better; the number kept is the mean F1 over classes. A class that is
    never predicted has no precision, and its F1 is 0.
    """

    shows: ClassVar[str] = "precision, recall and F1 by class"
    images: Images = 2000

    def __call__(self, subject: Subject) -> Finding:
        """The report."""
        true, said = answered(subject, self.images)
        classes = subject.data.classes
        counts = confusion_matrix(true, said, labels=range(len(classes))).astype(float)
        right, named, there = counts.diagonal(), counts.sum(0), counts.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            measures = (right / named, right / there, 2 * right / (named + there))
        known = there > 0
        names = ("precision", "recall", "F1")
        columns = {n: np.where(known, one, np.nan) for n, one in zip(names, measures, strict=True)}
        table = pd.DataFrame({"class": classes, **columns, "images": there.astype(int)})
        mean = float(np.nanmean(columns["F1"]))
        worst = table.loc[table["F1"].idxmin()]
        line = f"mean F1 {mean:.3f}, the least is that of {worst['class']} ({worst['F1']:.3f})"
        return Finding(
            figures={"classification_report": partial(_report, table)},
            tables={"classification_report": table},
            numbers={"f1": mean},
            lines=(line,),
        )


def _report(table: pd.DataFrame) -> Figure:
    figure, axes = ink.canvas(max(1.6, min(9.0, 0.9 + 0.24 * len(table))))
    names = ["precision", "recall", "F1"]
    values = table[names].to_numpy(float)
    look = {"vmin": 0, "vmax": 1, "aspect": "auto"}
    axes.imshow(values, cmap=colormaps["Blues"].with_extremes(bad="0.85"), **look)
    axes.set_xticks(range(3), names)
    axes.xaxis.tick_top()
    labels = [f"{one['class']} ({one['images']})" for _, one in table.iterrows()]
    step = max(1, len(table) // 36)
    axes.set_yticks(range(0, len(table), step), labels[::step])
    for row, column in np.ndindex(values.shape) if len(table) <= 36 else ():
        one = values[row, column]
        words = "-" if np.isnan(one) else f"{one:.2f}"
        colour = "white" if one > 0.6 else ink.INK
        axes.text(column, row, words, ha="center", va="center", fontsize=7, color=colour)
    ink.plain(axes)
    axes.grid(visible=False)
    axes.set_ylabel("class (images)")
    return figure


@configured
class ClassPredictionError:
    """A bar a true class, divided into what was predicted: sizes of classes and errors at once."""

    shows: ClassVar[str] = "what is predicted of each class"
    images: Images = 2000

    def __call__(self, subject: Subject) -> Finding:
        """The bars."""
        true, said = answered(subject, self.images)
        classes = subject.data.classes
        counts = confusion_matrix(true, said, labels=range(len(classes)))
        wrong = int(counts.sum() - np.trace(counts))
        return Finding(
            figures={"class_prediction_error": partial(_stacked, counts, classes)},
            numbers={"errors": wrong},
            lines=(f"{wrong} of {len(true)} images are taken for another class",),
        )


def palette(count: int) -> np.ndarray:
    """A colour for each class."""
    return colormaps["tab10" if count <= 10 else "turbo"].resampled(count)(np.arange(count))


def _stacked(counts: np.ndarray, classes: tuple[str, ...]) -> Figure:
    figure, axes = ink.canvas(3.2, max(ink.WIDE, 0.42 * len(classes)))
    bottom = np.zeros(len(classes))
    for k, colour in enumerate(palette(len(classes))):
        axes.bar(range(len(classes)), counts[:, k], bottom=bottom, color=colour, label=classes[k])
        bottom += counts[:, k]
    turned = 90 if max(map(len, classes)) > 3 else 0
    axes.set_xticks(range(len(classes)), classes, rotation=turned)
    axes.set(xlabel="true class", ylabel="images")
    ink.plain(axes, grid="y")
    if len(classes) <= _MANY:
        look = {"frameon": False, "fontsize": ink.SIZE, "title": "predicted"}
        figure.legend(loc="outside right upper", **look)
    return figure


@configured
class ClassBalance:
    """How many images of each class the splits have, and how often each is predicted.

    The number is the share of the rarest training class over that of the most frequent one, in
    0..1: 1 is balanced.
    """

    shows: ClassVar[str] = "how many images each class has"
    images: Images = 2000

    def __call__(self, subject: Subject) -> Finding:
        """The shares."""
        classes, data = subject.data.classes, subject.data
        _, said = answered(subject, self.images)
        counts = {
            "training": np.bincount(data.train.labels.cpu().numpy(), minlength=len(classes)),
            "test": np.bincount(data.test.labels.cpu().numpy(), minlength=len(classes)),
            "predicted": np.bincount(said, minlength=len(classes)),
        }
        shares = {name: one / max(1, one.sum()) for name, one in counts.items()}
        table = pd.DataFrame({"class": classes, **counts})
        balance = float(shares["training"].min() / shares["training"].max())
        return Finding(
            figures={"class_balance": partial(_balance, shares, classes)},
            tables={"class_balance": table},
            numbers={"balance": balance},
            lines=(f"the rarest class has {100 * balance:.0f} % of the images of the largest",),
        )


def _balance(shares: dict[str, np.ndarray], classes: tuple[str, ...]) -> Figure:
    figure, axes = ink.canvas(2.8, max(ink.WIDE, 0.42 * len(classes)))
    for place, (name, values) in enumerate(shares.items()):
        at = np.arange(len(classes)) + 0.27 * (place - 1)
        axes.bar(at, values, width=0.25, color=ink.SERIES[place], label=name)
    turned = 90 if max(map(len, classes)) > 3 else 0
    axes.set_xticks(range(len(classes)), classes, rotation=turned)
    axes.set(xlabel="class", ylabel="share of images")
    axes.yaxis.set_major_formatter("{x:.0%}")
    ink.plain(axes, grid="y")
    ink.legend(figure)
    return figure
