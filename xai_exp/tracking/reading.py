"""What finished runs hold, read back."""

import io
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyarrow import parquet

from xai_exp.tracking import whole
from xai_exp.tracking.interface import Kept

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 1000  # runs that one call asks for

_log = logging.getLogger(__name__)


def matching(client: "MlflowClient", experiment: str, condition: str) -> "list[Run]":
    """All runs that fulfil a condition, the newest first."""
    order, found, token = ["attributes.start_time DESC"], [], None
    while True:
        page = client.search_runs(
            [experiment], condition, order_by=order, max_results=_PAGE, page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def kept(client: "MlflowClient", runs: "Iterable[Run]", key: str) -> list[Kept]:
    """Of runs of type `explain`, the first of every key, without those whose scores are lost."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.data.tags.get(key, run.info.run_id), run)
    held = (_held(client, run) for run in first.values())
    return [one for one in held if one is not None]


def _held(client: "MlflowClient", run: "Run") -> Kept | None:
    fault = whole.fault(client, run)
    if fault:
        _log.warning("%s is left out: %s", whole.told(run), fault)
        return None
    scores = artifact(client, run, "scores.parquet", _table)
    if scores is None:
        return None
    return Kept(
        run=run.info.run_id,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        scores=scores,
        accuracy=run.data.metrics.get("accuracy", math.nan),
        seconds=run.data.metrics.get("explain_seconds_per_image", math.nan),
        arrays=partial(_heatmaps, client, run),
    )


def _table(path: Path) -> pd.DataFrame:
    """A small table, without the threads that a large one would be read by."""
    with parquet.ParquetFile(path) as file:
        return file.read(use_threads=False).to_pandas(use_threads=False)


def _heatmaps(client: "MlflowClient", run: "Run") -> Mapping[str, np.ndarray]:
    return artifact(client, run, "heatmaps.npz", _Packed) or {}


class _Packed(Mapping[str, np.ndarray]):
    """The arrays of a file, each unpacked once, when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self._file: Any = np.load(io.BytesIO(path.read_bytes()))
        self._known: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._known:
            self._known[name] = self._file[name]
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.files)

    def __len__(self) -> int:
        return len(self._file.files)


def artifact(client: "MlflowClient", run: "Run", name: str, read: Callable[[Path], Any]) -> Any:  # noqa: ANN401
    """One file of a run, read; None if it was removed by hand, to be made again.

    Raises:
        Unreachable: when a server's files can't be asked for.
    """
    try:
        with whole.artifact(client, run, name) as path:
            return read(path)
    except whole.Unreachable:
        raise
    except Exception:
        _log.warning("run %s has lost its %s; it is made again", run.info.run_id[:8], name)
        return None
