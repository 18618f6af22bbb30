"""Where results are kept: flat MLflow runs of three types, or nowhere.

`train` is one run for each trained model, `explain` one for each (model, explainer), `report` one
for each study; the tag `type` tells them apart and metric names are the same in every run, so runs
compare in the UI. A run has a key, a hash of everything that decides its content: a finished run
with the same key is reused, and one that was killed half-way is finished under its own id.

Only this package imports mlflow, and it does so when a tracker is opened.
"""

from xai_exp.tracking.interface import (
    Blocks,
    Data,
    Found,
    Kept,
    Link,
    Off,
    Record,
    Tracker,
    Tracking,
)
from xai_exp.tracking.runs import MLflow

__all__ = [
    "Blocks",
    "Data",
    "Found",
    "Kept",
    "Link",
    "MLflow",
    "Off",
    "Record",
    "Tracker",
    "Tracking",
]
