"""Learning and validation curves, of networks that are trained for them and then thrown away."""

import math
import tempfile
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from tqdm import tqdm

from xai_exp.config import InputError, Range, configured
from xai_exp.errors import unknown
from xai_exp.insight import Finding, Subject
from xai_exp.report.figures import ink
from xai_exp.training import Trainer
from xai_exp.types import Architecture, Dataset, Images, Labels, Parts, Positions, Scenes, Split

Share = Annotated[float, Range(0, 1, exclusive_low=True)]


@dataclass(frozen=True, kw_only=True)
class FirstOf:
    """The first images of a split."""

    whole: Split
    count: int

    @property
    def labels(self) -> Labels:
        return self.whole.labels[: self.count]

    def __len__(self) -> int:
        return self.count

    def images(self, index: Positions) -> Images:
        return self.whole.images(index)

    def scenes(self, index: Positions) -> Scenes | None:
        return self.whole.scenes(index)

    def parts(self, index: Positions) -> Parts | None:
        return self.whole.parts(index)


@dataclass(frozen=True, kw_only=True)
class Less:
    """A dataset of which only the first training images are learnt."""

    whole: Dataset
    count: int

    @property
    def classes(self) -> tuple[str, ...]:
        return self.whole.classes

    @property
    def channels(self) -> int:
        return self.whole.channels

    @property
    def size(self) -> tuple[int, int]:
        return self.whole.size

    @property
    def train(self) -> Split:
        return FirstOf(whole=self.whole.train, count=self.count)

    @property
    def validation(self) -> Split:
        return self.whole.validation

    @property
    def test(self) -> Split:
        return self.whole.test


def trained_accuracy(
    subject: Subject, data: Dataset, architecture: Architecture, trainer: Trainer
) -> float:
    """The validation accuracy, in 0..1, of a network that is trained here.

    Raises:
        InputError: when there is nothing to learn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.seed)
        network = architecture.build(data.channels, data.size, len(data.classes))
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(
            "curves of learning: got a network with nothing to learn; allowed: one that is trained"
        )
    with tempfile.TemporaryDirectory() as folder:
        options = {"seed": subject.seed, "folder": Path(folder), "device": subject.device}
        result = trainer.fit(data, network, progress=False, **options)
    return result.validation_accuracy


def _short(trainer: Trainer, samples: int) -> Trainer:
    return replace(trainer, samples=samples, max_epochs=None, processes=1)


@configured
class LearningCurve:
    """Validation accuracy by the number of training images, each from a training of its own.

    Every training sees `samples` images in all, so that what differs is how many of them are
    different ones. In 0..1, HIGHER is better.

    Args:
        shares: of the training split.
        samples: images that each training sees.
    """

    shows: ClassVar[str] = "accuracy by the number of training images, trained for it"
    shares: tuple[Share, ...] = (0.01, 0.1, 1.0)
    samples: Annotated[int, Range(64)] = 10_000

    def __call__(self, subject: Subject) -> Finding:
        """The curve."""
        trainer, whole, rows = _short(subject.trainer, self.samples), len(subject.data.train), []
        for share in tqdm(self.shares, desc="learning curve", leave=False, disable=None):
            count = max(2, math.ceil(share * whole))
            data = Less(whole=subject.data, count=count)
            rows.append((count, trained_accuracy(subject, data, subject.architecture, trainer)))
        table = pd.DataFrame(rows, columns=["images", "validation_accuracy"])
        axis = "training images"
        return Finding(
            figures={"learning_curve": partial(_curve, table, axis, self.samples)},
            tables={"learning_curve": table},
            numbers={"gain": float(table.iloc[-1, 1] - table.iloc[0, 1])},
            lines=(_words(table, axis),),
        )


@configured
class ValidationCurve:
    """Validation accuracy by a field of the model or the trainer, each from a training of its own.

    In 0..1, HIGHER is better. A short training tells how fast, not how far a choice goes.

    Args:
        field: as the command line has it, trainer.NAME or model.NAME.
        values: what it is set to.
        samples: images that each training sees.
    """

    shows: ClassVar[str] = "accuracy by a setting, trained for it"
    field: str = "trainer.learning_rate"
    values: tuple[float, ...] = (0.0005, 0.005, 0.05)
    samples: Annotated[int, Range(64)] = 10_000

    def __call__(self, subject: Subject) -> Finding:
        """The curve.

        Raises:
            InputError: for a field that there is not.
        """
        group, _, name = self.field.partition(".")
        if group not in ("trainer", "model"):
            raise InputError(
                f"validation_curve.field: got {self.field!r}; allowed: trainer.NAME or model.NAME"
            )
        rows = []
        for value in tqdm(self.values, desc="validation curve", leave=False, disable=None):
            trainer, architecture = _short(subject.trainer, self.samples), subject.architecture
            if group == "trainer":
                trainer = _with(trainer, name, value)
            else:
                architecture = _with(architecture, name, value)
            rows.append((value, trained_accuracy(subject, subject.data, architecture, trainer)))
        table = pd.DataFrame(rows, columns=[name, "validation_accuracy"])
        best = table.loc[table["validation_accuracy"].idxmax()]
        return Finding(
            figures={"validation_curve": partial(_curve, table, self.field, self.samples)},
            tables={"validation_curve": table},
            numbers={"best": float(best[name])},
            lines=(_words(table, self.field),),
        )


def _with(thing: Any, name: str, value: float) -> Any:  # noqa: ANN401
    """A configured thing with another value of a field; whole numbers stay whole."""
    known = [one.name for one in fields(thing)]
    if name not in known:
        raise InputError(unknown(f"field of {type(thing).__name__}", name, known))
    whole = isinstance(getattr(thing, name), int) or getattr(thing, name) is None
    return replace(thing, **{name: int(value) if whole and value == int(value) else value})


def _words(table: pd.DataFrame, axis: str) -> str:
    told = [f"{row.iloc[0]:g}: {100 * row.iloc[1]:.1f} %" for _, row in table.iterrows()]
    return f"validation accuracy by {axis}: {', '.join(told)}"


def _curve(table: pd.DataFrame, axis: str, samples: int) -> Figure:
    figure, axes = ink.canvas(2.6)
    axes.plot(table.iloc[:, 0], table.iloc[:, 1], "o-", color=ink.BLUE, ms=4)
    low = float(table.iloc[:, 0].min())
    axes.set(xlabel=axis, ylabel="validation accuracy", xscale="log" if low > 0 else "linear")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(f"each trained on {samples:,} images seen", fontsize=ink.SIZE)
    ink.plain(axes)
    return figure
