"""What a stability report says in the terminal."""

from typing import Any

import numpy as np
from rich.table import Table

from xai_exp.show.terminal import signed
from xai_exp.stability.tables import SHOWN, Found


def printed(found: Found) -> Any:  # noqa: ANN401
    """The mean Spearman correlations for the terminal."""
    kinds = [kind for kind in dict.fromkeys(found.means["kind"]) if kind != "random"]
    shown = Table(title="Spearman correlation of heatmaps, mean and 95 % interval")
    shown.add_column("explainer", no_wrap=True)
    for kind in kinds:
        shown.add_column(kind, justify="right")
    part = found.means[found.means["measure"] == SHOWN].set_index(["explainer", "kind"])
    ends = part[["mean", "low", "high"]]
    for name in found.matrices:
        shown.add_row(name, *(signed(*ends.loc[(name, kind)]) for kind in kinds))
    return shown


def tracked(found: Found) -> Any:  # noqa: ANN401
    """Whether heatmaps differ as the networks do, for the terminal; None without exact values."""
    if found.tracking.empty:
        return None
    title = (
        "Distance of heatmaps' part shares over that of exact part values: what is left where two "
        "networks use the parts alike, and how far heatmaps follow the networks"
    )
    parts: Any = found.tracking[found.tracking["distance"] == "parts"]
    if np.isnan(parts["correlation"].to_numpy(float)).all():
        return "whether heatmaps differ as the networks do: the exact part values do not differ"
    shown = Table(title=title)
    shown.add_column("explainer", no_wrap=True)
    for name in ("left at 0", "slope", "correlation"):
        shown.add_column(name, justify="right")
    for row in parts.to_dict("records"):
        ends = [
            signed(row[name], row[f"{name}_low"], row[f"{name}_high"])
            for name in ("intercept", "slope")
        ]
        shown.add_row(row["explainer"], *ends, f"{row['correlation']:+.2f}")
    return shown
