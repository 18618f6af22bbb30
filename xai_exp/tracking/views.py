"""What the UI's runs table shows: MLflow keeps a view as a tag of the experiment.

An address names its view by a key, so it opens on just these runs with the columns that tell them
apart; by itself the table shows neither parameters nor metrics.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run

TAG = "mlflow.sharedViewState."
_TAGS = ("type", "dataset", "explainer", "study", "seed")
_COLUMNS = 12  # the most parameters, and the most metrics
_BOUNDS = (".low", ".high", ".n")
_LONGEST = 5000  # characters of a tag


def view(runs: "Sequence[Run]", only: bool) -> tuple[str, str] | None:
    """A view's key and state: columns for these runs, and whether only these are shown.

    None if there are more runs than a view can name.
    """
    ids = ", ".join(f"'{run.info.run_id}'" for run in runs)
    state = {
        "searchFilter": f"attributes.run_id IN ({ids})" if only else "",
        "selectedColumns": columns(runs),
    }
    text = json.dumps(state, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    return (key, text) if len(text) <= _LONGEST else None


def columns(runs: "Sequence[Run]") -> list[str]:
    """Tags, the parameters that differ (those of the explainer for a single run), and means.

    Beside explanations only the accuracy of their models is worth a column.
    """
    telling = [run for run in runs if run.data.tags.get("type") != "train"]
    metrics = {name for run in telling or runs for name in run.data.metrics}
    metrics = {name for name in metrics if not name.endswith(_BOUNDS) and "/" not in name}
    if telling and any("accuracy" in run.data.metrics for run in runs):
        metrics.add("accuracy")
    names = sorted({name for run in runs for name in run.data.params})
    differ = [name for name in names if len({run.data.params.get(name) for run in runs}) > 1]
    params = differ or [name for name in names if name.startswith("explainer")]
    tags = [tag for tag in _TAGS if any(tag in run.data.tags for run in runs)]
    return [
        *(f"metrics.`{name}`" for name in sorted(metrics)[:_COLUMNS]),
        *(f"tags.`{name}`" for name in tags),
        *(f"params.`{name}`" for name in params[:_COLUMNS]),
    ]
