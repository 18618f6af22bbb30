"""How good the network's probabilities are: ROC, precision and recall, thresholds, calibration."""

from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from xai_exp.config import InputError, Range, configured
from xai_exp.insight import Finding, Subject
from xai_exp.insight.diagnostics.answers import Images
from xai_exp.report.figures import ink

_NAMED = 12  # classes whose lines are named


def told(subject: Subject, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Each image's class, and the probability of every class (image, class)."""
    chances = subject.logits(count).double().softmax(1).cpu().numpy()
    return subject.labels(count).cpu().numpy(), chances


def _known(subject: Subject, true: np.ndarray) -> list[int]:
    """The classes of which there are images, and others too.

    Raises:
        InputError: when all images are of one class.
    """
    found = [k for k in range(len(subject.data.classes)) if 0 < (true == k).sum() < len(true)]
    if not found:
        raise InputError(
            "diagnostics: got test images of one class only; allowed: two classes or more"
        )
    return found


@configured
class RocCurves:
    """True against false positives of every class against the rest, and the areas below.

    The area (AUC) is the chance that an image of the class gets a higher probability of it than
    another one (Fawcett 2006): 0..1, HIGHER is better, 0.5 knows nothing. `auc` is the mean over
    classes; classes without test images have none.
    """

    shows: ClassVar[str] = "true against false positives of each class"
    images: Images = 2000

    def __call__(self, subject: Subject) -> Finding:
        """The curves."""
        true, chances = told(subject, self.images)
        classes = subject.data.classes
        curves, areas = {}, {}
        for k in _known(subject, true):
            rates = roc_curve(true == k, chances[:, k])
            curves[classes[k]] = (rates[0], rates[1])
            areas[classes[k]] = float(roc_auc_score(true == k, chances[:, k]))
        labels = ("false positives", "true positives")
        table = pd.DataFrame({"class": list(areas), "auc": list(areas.values())})
        mean = float(np.mean(list(areas.values())))
        return Finding(
            figures={"roc_auc": partial(_curves, curves, areas, labels, "AUC")},
            tables={"roc_auc": table},
            numbers={"auc": mean},
            lines=(f"mean area below the ROC curve {mean:.4f}",),
        )


@configured
class PrecisionRecall:
    """Precision against recall of every class, and average precision.

    Average precision: the sum of precisions weighed by the steps of recall, 0..1, HIGHER is better;
    a class's share of the images knows nothing. `average_precision` is the mean over classes.
    """

    shows: ClassVar[str] = "precision against recall of each class"
    images: Images = 2000

    def __call__(self, subject: Subject) -> Finding:
        """The curves."""
        true, chances = told(subject, self.images)
        classes = subject.data.classes
        curves, areas = {}, {}
        for k in _known(subject, true):
            precision, recall, _ = precision_recall_curve(true == k, chances[:, k])
            curves[classes[k]] = (recall, precision)
            areas[classes[k]] = float(average_precision_score(true == k, chances[:, k]))
        table = pd.DataFrame({"class": list(areas), "average_precision": list(areas.values())})
        mean = float(np.mean(list(areas.values())))
        labels = ("recall", "precision")
        return Finding(
            figures={"precision_recall": partial(_curves, curves, areas, labels, "AP")},
            tables={"precision_recall": table},
            numbers={"average_precision": mean},
            lines=(f"mean average precision {mean:.4f}",),
        )


def _curves(
    curves: dict[str, tuple[np.ndarray, np.ndarray]],
    areas: dict[str, float],
    labels: tuple[str, str],
    short: str,
) -> Figure:
    figure, axes = ink.canvas(3.2 + 0.08 * min(len(curves), _NAMED))
    worst = sorted(areas, key=lambda name: areas[name])
    named = set(worst[:_NAMED])
    for place, (name, (x, y)) in enumerate(curves.items()):
        label = f"{name}: {short} {areas[name]:.3f}" if name in named else None
        axes.step(x, y, where="post", label=label, linewidth=1.2, **ink.series(place))
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ink.plain(axes)
    ink.legend(figure)
    return figure


@configured
class DiscriminationThreshold:
    """Precision, recall, F1 and the share of positives by the threshold of probability.

    Of two classes the second is the positive one. The number is the threshold of the largest F1, in
    0..1; 0.5 is what the network itself uses.
    """

    shows: ClassVar[str] = "precision and recall by the threshold, of two classes"
    images: Images = 2000

    def __call__(self, subject: Subject) -> Finding:
        """The curves.

        Raises:
            InputError: for other than two classes.
        """
        count = len(subject.data.classes)
        if count != 2:
            raise InputError(
                f"discrimination_threshold: got {count} classes; allowed: two, such as those of "
                "dataset=triangles_squares"
            )
        true, chances = told(subject, self.images)
        _known(subject, true)
        table = thresholds(true == 1, chances[:, 1])
        best = table.loc[table["F1"].idxmax()]
        name = subject.data.classes[1]
        return Finding(
            figures={"discrimination_threshold": partial(_thresholds, table, name)},
            tables={"discrimination_threshold": table},
            numbers={"threshold": float(best["threshold"]), "f1": float(best["F1"])},
            lines=(f"F1 is largest ({best['F1']:.3f}) at the threshold {best['threshold']:.2f}",),
        )


def thresholds(positive: np.ndarray, chances: np.ndarray) -> pd.DataFrame:
    """Precision, recall, F1 and the share called positive, at 101 thresholds from 0 to 1.

    >>> thresholds(np.array([False, True]), np.array([0.2, 0.8])).loc[50].tolist()
    [0.5, 1.0, 1.0, 1.0, 0.5]
    """
    rows = []
    for one in np.linspace(0, 1, 101).round(2):
        called = chances >= one
        right = float((called & positive).sum())
        precision = right / called.sum() if called.any() else 1.0
        recall = right / positive.sum()
        total = precision + recall
        f1 = 2 * precision * recall / total if total else 0.0
        rows.append((one, precision, recall, f1, float(called.mean())))
    return pd.DataFrame(rows, columns=["threshold", "precision", "recall", "F1", "called"])


def _thresholds(table: pd.DataFrame, name: str) -> Figure:
    figure, axes = ink.canvas(3.2)
    for place, one in enumerate(("precision", "recall", "F1", "called")):
        label = f"share called {name}" if one == "called" else one
        axes.plot(table["threshold"], table[one], label=label, **ink.series(place))
    best = table.loc[table["F1"].idxmax(), "threshold"]
    axes.axvline(best, color=ink.SOFT, linestyle=":", linewidth=1)
    axes.set(xlabel=f"threshold of the probability of {name}", ylim=(-0.02, 1.02))
    ink.plain(axes)
    ink.legend(figure)
    return figure


@configured
class Calibration:
    r"""How often the network is right where it says that it is so sure (Guo et al. 2017).

    Of the predicted class, in bins of equal width. `ece` is the expected calibration error
    $\sum_b \frac{n_b}{n} |\mathrm{right}_b - \mathrm{sure}_b|$ (eq. 3), 0..1, LOWER is better;
    `sure` minus the accuracy tells overconfidence.

    Args:
        images: the first of the test split.
        bins: of the probability.
    """

    shows: ClassVar[str] = "how often it is right where it is so sure"
    images: Images = 2000
    bins: Annotated[int, Range(2, 100)] = 10

    def __call__(self, subject: Subject) -> Finding:
        """The curve."""
        true, chances = told(subject, self.images)
        sure, right = chances.max(1), chances.argmax(1) == true
        table = calibrated(sure, right, self.bins)
        gap = np.abs(table["right"].to_numpy() - table["sure"].to_numpy())
        ece = float(np.average(gap, weights=table["images"].to_numpy()))
        return Finding(
            figures={"calibration": partial(_calibration, table)},
            tables={"calibration": table},
            numbers={"ece": ece, "overconfidence": float(sure.mean() - right.mean())},
            lines=(f"expected calibration error {ece:.4f}",),
        )


def calibrated(sure: np.ndarray, right: np.ndarray, bins: int) -> pd.DataFrame:
    """How sure and how right each bin is on average, and how many images it has; empty ones not.

    >>> calibrated(np.array([0.6, 0.9, 1.0]), np.array([True, True, False]), 2).values.tolist()
    [[0.8333333333333334, 0.6666666666666666, 3.0]]
    """
    place = np.minimum((sure * bins).astype(int), bins - 1)
    rows = [
        (float(sure[place == b].mean()), float(right[place == b].mean()), int((place == b).sum()))
        for b in range(bins)
        if (place == b).any()
    ]
    return pd.DataFrame(rows, columns=["sure", "right", "images"])


def _calibration(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(ink.WIDE, 3.4), dpi=150, layout="constrained")
    both = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    above: Axes = both[0]
    above.plot([0, 1], [0, 1], color=ink.SOFT, linestyle=":", linewidth=1)
    above.plot(table["sure"], table["right"], "o-", color=ink.BLUE, ms=4)
    above.set(ylabel="share that is right", xlim=(0, 1.02), ylim=(0, 1.02))
    both[1].bar(table["sure"], table["images"], width=0.05, color=ink.SOFT)
    both[1].set(xlabel="probability of the predicted class", ylabel="images", yscale="log")
    for axes in both:
        ink.plain(axes)
    return figure
