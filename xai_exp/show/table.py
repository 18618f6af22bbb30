"""Tables of scores for the terminal, whatever its width: explainers by metrics, or a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from xai_exp.show import numbers
from xai_exp.statistics import Interval, evened, mean_interval
from xai_exp.types import Metric

_COLUMN, _METRIC, _NARROW = 19, 26, 15
_LEAST = 54  # columns, below which there is a list
CAPTION = "mean over images, 95 % interval"
LONG_CAPTION = "mean over images and half the width of its 95 % interval"
_SHORT = "; n: images with a score, if not all have one"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line's scores: its label, whether it is a control, a row an image and metric."""

    label: str
    control: bool
    scores: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Every row's mean by every metric, and which is the best.

    Attributes:
        rows: methods first, controls last.
        metrics: those by which something was scored, family by family.
        means: by metric, a mean for each row.
        compared: whether rows may be compared; the best is marked then.
    """

    rows: Sequence[Row]
    metrics: Mapping[str, Metric]
    means: Mapping[str, Sequence[Interval]]
    compared: bool = True

    def best(self, metric: str) -> float | None:
        """The best mean of all methods, controls left aside; None with fewer than two."""
        pairs = zip(self.rows, self.means[metric], strict=True)
        means = [one.mean for row, one in pairs if one.n and not row.control]
        if len(means) < 2 or not self.compared or len(set(means)) < 2:
            return None
        return (max if self.metrics[metric].higher_is_better else min)(means)

    def images(self, metric: str, place: int) -> int:
        """How many images could have a score."""
        return int(np.count_nonzero(self.rows[place].scores["metric"] == metric))


def family(metric: Metric) -> str:
    """What kind of a measure it is, as the folder of its class has it.

    >>> from xai_exp.metrics.complexity import Sparseness
    >>> family(Sparseness())
    'complexity'
    """
    words = type(metric).__module__.split(".")
    return words[2] if words[:2] == ["xai_exp", "metrics"] and len(words) > 2 else "others"


def cells(rows: Sequence[Row], metrics: Mapping[str, Metric], *, compared: bool = True) -> Cells:
    """The means of these rows; metrics that scored nothing are left out."""
    ordered = sorted(rows, key=lambda row: row.control)
    scored = [n for n in metrics if any((row.scores["metric"] == n).any() for row in rows)]
    order = list(dict.fromkeys(family(metrics[name]) for name in scored))
    scored.sort(key=lambda name: order.index(family(metrics[name])))
    means = {
        name: [mean_interval(evened(r.scores.loc[r.scores["metric"] == name])) for r in ordered]
        for name in scored
    }
    return Cells(
        rows=ordered,
        metrics={name: metrics[name] for name in scored},
        means=means,
        compared=compared,
    )


def printed(console: Console, found: Cells, head: str = "explainer") -> None:
    """Print the table in the widest form that fits."""
    if not found.metrics:
        return
    first = max(map(len, [*(one.label for one in found.rows), head])) + 4
    if len(found.metrics) <= (console.width - first) // _COLUMN:
        console.print(_wide(found, head))
        caption = CAPTION
    elif console.width < _LEAST:
        _list(console, found)
        caption = LONG_CAPTION
    else:
        fit = max(1, (console.width - _METRIC - 13) // _NARROW)
        for start in range(0, len(found.rows), fit):
            console.print(_long(found, range(start, min(start + fit, len(found.rows)))))
        caption = LONG_CAPTION
    marks = [name for name in found.metrics if found.best(name) is not None]
    tail = "; the best method is bold" if marks else ""
    console.print(caption + tail + _SHORT, style="italic", highlight=False)


def _wide(found: Cells, head: str) -> Table:
    """A row a method, a column a metric; controls below a line."""
    table = Table()
    table.add_column(head, no_wrap=True)
    for name, metric in found.metrics.items():
        words = fill(name.replace("_", " "), _COLUMN - 3)
        table.add_column(f"{words}\n[dim]{_better(metric)}[/]", justify="right", no_wrap=True)
    for place, row in enumerate(found.rows):
        if row.control and place and not found.rows[place - 1].control:
            table.add_section()
        shown = (_cell(found, name, place, "\n") for name in found.metrics)
        table.add_row(row.label, *shown)
    return table


def _long(found: Cells, places: range) -> Table:
    """A row a metric, a column for each of some methods; families are headings."""
    table = Table()
    table.add_column("metric")
    table.add_column("better")
    for place in places:
        row = found.rows[place]
        words = fill(row.label.replace("_", " "), _NARROW - 3)
        table.add_column("[dim]control[/]\n" * row.control + words, justify="right")
    heads = {name: family(metric) for name, metric in found.metrics.items()}
    last = ""
    for name, metric in found.metrics.items():
        if heads[name] != last and len(set(heads.values())) > 1:
            last = heads[name]
            table.add_section()
            table.add_row(f"[italic]{last}[/]")
        table.add_row(
            fill(name.replace("_", " "), _METRIC),
            "higher" if metric.higher_is_better else "lower",
            *(_cell(found, name, place, " ") for place in places),
        )
    return table


def _list(console: Console, found: Cells) -> None:
    """A paragraph a metric: for terminals of 40 columns."""
    for name, metric in found.metrics.items():
        console.print(f"[bold]{name.replace('_', ' ')}[/] ({_better(metric)})", highlight=False)
        for place, row in enumerate(found.rows):
            mark = " [dim](control)[/]" * row.control
            cell = _cell(found, name, place, " ± ")
            console.print(f"  {row.label}{mark}: {cell}", highlight=False)


def _better(metric: Metric) -> str:
    return f"{'higher' if metric.higher_is_better else 'lower'} is better"


def _cell(found: Cells, metric: str, place: int, between: str) -> str:
    mean, low, high, n = found.means[metric][place]
    if n == 0:
        return "[dim]undefined[/]"
    shown = numbers.known(mean, low, high)
    best = not found.rows[place].control and mean == found.best(metric)
    shown = f"[bold]{shown}[/]" if best else shown
    spread = numbers.spread(low, high) if between == "\n" else numbers.half(low, high)
    short = f"[dim]n = {n}[/]" if n < found.images(metric, place) else ""
    tail = ("\n" if between != " ± " else " ") + short if short else ""
    return shown + (f"{between}[dim]{spread}[/]" if spread else "") + tail
