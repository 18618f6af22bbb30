"""The validity of metrics as a plot."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from xai_exp.report import tables
from xai_exp.report.figures import ink

_COLOURS = {"within": ink.BLUE, "means": ink.RED, "doses": ink.SOFT}
_LABELS = {
    "within": "within an image",
    "means": "over explainers' means",
    "doses": "cost of known damage",
}


def chart(table: pd.DataFrame, *, truth: str) -> Figure:
    """Every metric's rank correlation with exact truth, the most valid first.

    Args:
        table: as `xai_exp.studies.validity.validity` gives it.
        truth: what was taken as true.
    """
    rows = table.iloc[::-1].reset_index(drop=True)
    figure, axes = ink.canvas(1 + 0.22 * len(rows))
    axes.axvline(0, color=ink.SOFT, linewidth=0.8)
    there = [name for name in _LABELS if name in table and bool(table[name].notna().any())]
    for name, offset in zip(there, (0.2, 0.0, -0.2), strict=False):
        place = np.arange(len(rows)) + offset
        value = rows[name].to_numpy(float)
        low, high = (rows[f"{name}_{end}"].fillna(rows[name]).to_numpy(float) for end in _ENDS)
        axes.hlines(place, low, high, color=_COLOURS[name], linewidth=1.5)
        axes.plot(value, place, "o", ms=4, color=_COLOURS[name], label=_LABELS[name])
    axes.set_yticks(range(len(rows)), [tables.words(name) for name in rows["metric"]])
    axes.set(xlim=(-1.05, 1.05), xlabel=f"Spearman correlation\nwith exact truth ({truth})")
    axes.set_ylim(-0.7, len(rows) - 0.3)
    ink.plain(axes, grid="x")
    ink.legend(figure)
    return figure


def listed(table: pd.DataFrame) -> str:
    """A row a metric, as HTML."""
    heads = ["metric", *_LABELS.values(), "one explainer left out", "leans on"]
    heads += ["levels", "hangs on", "stands"]
    heads += ["images", "models", "explainers"]
    body = [
        [
            tables.cell(tables.words(row["metric"])),
            *(
                tables.estimate(row[kind], row[f"{kind}_low"], row[f"{kind}_high"])
                for kind in _LABELS
            ),
            tables.cell(f"{row['within_least']:.3g} .. {row['within_most']:.3g}"),
            tables.cell(tables.words(row["leans_on"]), kind="text"),
            tables.cell(str(row["levels"]), row["levels"]),
            tables.cell(tables.words(row["hangs_on"]), kind="text"),
            tables.cell("yes" if row["stands"] else "no", kind="text"),
            *(
                tables.cell(str(row[name]), row[name])
                for name in ("images", "models", "explainers")
            ),
        ]
        for row in table.to_dict("records")
    ]
    return tables.table(heads, body, name="validity")


_ENDS = ("low", "high")
