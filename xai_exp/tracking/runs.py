"""Where results are kept: flat MLflow runs of three types, or nowhere.

`train` is one run for each trained model, `explain` one for each (model, explainer), `report` one
for each study; the tag `type` tells them apart and metric names are the same in every run, so runs
compare in the UI. A run has a key, a hash of everything that decides its content: a finished run
with the same key is reused, and one that was killed half-way is finished under its own id.

This is the only file that imports mlflow, and it does so when a tracker is opened.
"""

import logging
import math
import os
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from matplotlib.figure import Figure
from torch import nn

from xai_exp.config import InputError, configured
from xai_exp.types import Images

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

PORT = 5000
_KEY = {"train": "model_key", "explain": "explain_key", "report": "report_key"}
_SHORT = 8  # characters of a run id that the user is asked to type
_PARAMS_A_CALL = 100  # the most that MLflow takes
_METRICS_A_CALL = 1000
_LONGEST_VALUE = 500  # characters of a parameter; older servers refuse longer ones
_FILTERED_RUNS = 40  # the most run ids that an address still carries
_QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a trained model is tracked: its run of type `train` and the logged model."""

    run: str
    model: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """A finished run of type `explain`: its id and its scores, a row an image and metric."""

    run: str
    scores: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a run of any type has.

    Attributes:
        key: A hash of everything that decides the content of the run.
        name: The run's name in the UI.
        tags: Tags beside `type` and the key; those that are None are left out.
        params: The configuration, nested or flat; nested keys are joined by dots.
        metrics: Numbers by name. A mapping stands for an estimate: its `mean` is recorded under the
            name itself and the rest as NAME.low, NAME.high, NAME.n. NaN is not recorded.
        figures: Plots by name; each becomes NAME.png.
        seconds: How long the work took before it was recorded; the run is dated back by it.
    """

    key: str
    name: str
    tags: Mapping[str, object] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    seconds: float = 0.0


class Tracker(Protocol):
    """What the pipeline asks of tracking."""

    def record_training(
        self,
        record: Record,
        *,
        network: nn.Module,
        example: Images,
        history: Sequence[Mapping[str, float]],
    ) -> Link | None:
        """Record a trained model, or find the finished run with its key.

        Args:
            record: The key is the model's key, kept as the tag `model_key`.
            network: The trained network.
            example: At least two images, from which the shape of its input is read.
            history: A row an epoch; its `epoch` is the step of its other numbers.
        """
        ...

    def explained(self, key: str) -> Found | None:
        """The finished run of type `explain` with this key, if there is one."""
        ...

    def record_explanation(
        self,
        record: Record,
        *,
        link: Link | None,
        heatmaps: Mapping[str, np.ndarray],
        scores: pd.DataFrame,
    ) -> str | None:
        """Record one explainer on one model and return the run's id.

        Args:
            record: The key is kept as the tag `explain_key`.
            link: Where the model is tracked; it becomes an input of the run.
            heatmaps: Arrays by name, kept as heatmaps.npz.
            scores: A row an image and metric, kept as scores.parquet.
        """
        ...

    def record_report(
        self,
        record: Record,
        *,
        pages: Mapping[str, str],
        tables: Mapping[str, pd.DataFrame],
    ) -> str | None:
        """Record a study's report and return the run's id.

        Args:
            record: The key is kept as the tag `report_key`.
            pages: HTML by name, kept as NAME.html.
            tables: Tables by name, kept as NAME.parquet and NAME.csv.
        """
        ...

    def ui_command(self, runs: Iterable[str] = ()) -> str:
        """What the user types to see these runs (all if none are named), or an empty string."""
        ...

    def address(self, runs: Iterable[str] = ()) -> str:
        """The address of the runs table with these runs (all if none are named), or nothing."""
        ...


class Tracking(Protocol):
    """A choice of where results are kept."""

    def open(self) -> Tracker:
        """Make it ready for recording."""
        ...


@configured
class Off:
    """No tracking: everything is forgotten."""

    def open(self) -> Tracker:
        """A tracker that records nothing and finds nothing."""
        return _Nowhere()


class _Nowhere:
    """Records nothing and finds nothing."""

    def record_training(self, *_: object, **__: object) -> Link | None:
        return None

    def explained(self, *_: object) -> Found | None:
        return None

    def record_explanation(self, *_: object, **__: object) -> str | None:
        return None

    def record_report(self, *_: object, **__: object) -> str | None:
        return None

    def ui_command(self, *_: object) -> str:
        return ""

    def address(self, *_: object) -> str:
        return ""


@configured
class MLflow:
    """Runs in MLflow: a SQLite file and artifacts under `root`, or the server at `uri`."""

    root: str = "mlruns"
    uri: str | None = None
    experiment: str = "xai_exp"

    def open(self) -> Tracker:
        """Connect, making the database and the experiment at the first use.

        A new database is made under a file lock: several processes that make it at once would
        break it.

        Raises:
            InputError: when there is no such server, or the database can't be used.
        """
        root = Path(self.root).expanduser().resolve()
        uri = self.uri or f"sqlite:///{root / 'mlflow.db'}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / "mlflow.lock"), _quickly():
                client = _mlflow().MlflowClient(uri)
                experiment = self._experiment(client, root, uri)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"tracking: got {_public(uri)}, which can't be used ({_line(error)}); allowed: "
                "the address of a running MLflow server, or null for a file under tracking.root"
            ) from error
        return _Runs(client=client, experiment=experiment, root=root, uri=uri)

    def _experiment(self, client: "MlflowClient", root: Path, uri: str) -> str:
        """The experiment's id; it is made if there is none of this name."""
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            place = None if _is_server(uri) else str(root / "artifacts")
            return client.create_experiment(self.experiment, artifact_location=place)
        if found.lifecycle_stage != "active":
            raise InputError(
                f"tracking.experiment: got {self.experiment}, which was deleted; allowed: another "
                f"name, or restore it: mlflow experiments restore -x {found.experiment_id}"
            )
        return found.experiment_id


@dataclass(frozen=True, kw_only=True)
class _Runs:
    """The runs of one experiment."""

    client: "MlflowClient"
    experiment: str
    root: Path
    uri: str

    def record_training(
        self,
        record: Record,
        *,
        network: nn.Module,
        example: Images,
        history: Sequence[Mapping[str, float]],
    ) -> Link | None:
        with self._locked(record.key):
            done = self._find("train", record.key, "FINISHED")
            if done is not None:
                return _link(done)
            with self._written("train", record) as (run, folder):
                model = self._log_model(run, record, network, example)
                last = max((int(row["epoch"]) for row in history), default=0)
                points = _history(run, record, history) + _final(run, record, model, last)
                self._log_metrics(run, points)
                pd.DataFrame(list(history)).to_csv(folder / "history.csv", index=False)
                return Link(run=run.info.run_id, model=model)

    def explained(self, key: str) -> Found | None:
        run = self._find("explain", key, "FINISHED")
        if run is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = self.client.download_artifacts(run.info.run_id, "scores.parquet", folder)
            except Exception:  # its files were removed by hand: to be made again, not a mistake
                _log.warning("run %s has lost its scores; they are made again", run.info.run_id)
                return None
            return Found(run=run.info.run_id, scores=pd.read_parquet(path))

    def record_explanation(
        self,
        record: Record,
        *,
        link: Link | None,
        heatmaps: Mapping[str, np.ndarray],
        scores: pd.DataFrame,
    ) -> str | None:
        tags = dict(record.tags) | ({"train_run": link.run} if link else {})
        record = replace(record, tags=tags)
        with self._locked(record.key), self._written("explain", record) as (run, folder):
            model = link.model if link else None
            if model:
                self._use_model(run, model)
            self._log_metrics(run, _final(run, record, model, 0))
            np.savez_compressed(folder / "heatmaps.npz", **heatmaps)  # pyright: ignore
            scores.to_parquet(folder / "scores.parquet", index=False)
            return run.info.run_id

    def record_report(
        self,
        record: Record,
        *,
        pages: Mapping[str, str],
        tables: Mapping[str, pd.DataFrame],
    ) -> str | None:
        with self._locked(record.key), self._written("report", record) as (run, folder):
            self._log_metrics(run, _final(run, record, None, 0))
            for name, page in pages.items():
                (folder / f"{name}.html").write_text(page, encoding="utf-8")
            for name, table in tables.items():
                table.to_parquet(folder / f"{name}.parquet", index=False)
                table.to_csv(folder / f"{name}.csv", index=False)
            return run.info.run_id

    def ui_command(self, runs: Iterable[str] = ()) -> str:
        if _is_server(self.uri):
            return ""
        short = " ".join(run[:_SHORT] for run in runs)
        if Path("xai_exp/ui.py").is_file() and self.root == Path(MLflow.root).resolve():
            return f"make ui RUNS='{short}'" if short else "make ui"
        root = shlex.quote(os.path.relpath(self.root))
        return f"python -m xai_exp.ui {short} --root {root}".replace("  ", " ")

    def address(self, runs: Iterable[str] = (), port: int = PORT) -> str:
        """The runs table's address; `runs` are ids or the beginnings of ids."""
        base = _public(self.uri) if _is_server(self.uri) else f"http://127.0.0.1:{port}"
        table = f"{base.rstrip('/')}/#/experiments/{self.experiment}/runs"
        query = {"workflowType": "machine_learning"}
        ids = self._whole(list(runs))
        if 0 < len(ids) <= _FILTERED_RUNS:
            listed = ", ".join(f"'{run}'" for run in ids)
            query["searchFilter"] = f"attributes.run_id IN ({listed})"
        return f"{table}?{urlencode(query, quote_via=quote)}"

    def _whole(self, runs: Sequence[str]) -> list[str]:
        """Ids given by their beginnings, in full; those that are unknown are left out."""
        filters = [f"attributes.run_id LIKE '{run}%'" for run in runs if len(run) < 32]
        found = [r for f in filters for r in self.client.search_runs([self.experiment], f)]
        return [run for run in runs if len(run) >= 32] + [run.info.run_id for run in found]

    def _locked(self, key: str) -> FileLock:
        """One process at a time records a key, so a run that is RUNNING then was killed."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{key}.lock")

    def _find(self, kind: str, key: str, status: str) -> "Run | None":
        """The newest run of this type, key and status, inputs and outputs included."""
        found = self.client.search_runs(
            [self.experiment],
            f"tags.type = '{kind}' and tags.{_KEY[kind]} = '{key}' "
            f"and attributes.status = '{status}'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return self.client.get_run(found[0].info.run_id) if found else None

    @contextmanager
    def _written(self, kind: str, record: Record) -> "Iterator[tuple[Run, Path]]":
        """A run to write into and a folder whose files become its artifacts.

        A run left RUNNING by a killed process is gone on with; one that fails here is marked.
        """
        run = self._find(kind, record.key, "RUNNING") or self._create(kind, record)
        try:
            self._log_params(run, record.params)
            with tempfile.TemporaryDirectory() as folder:
                yield run, Path(folder)
                for name, figure in record.figures.items():
                    figure.savefig(Path(folder) / f"{name}.png")
                self.client.log_artifacts(run.info.run_id, folder)
        except BaseException:
            with suppress(Exception):
                self.client.set_terminated(run.info.run_id, "FAILED")
            raise
        self.client.set_terminated(run.info.run_id)

    def _create(self, kind: str, record: Record) -> "Run":
        tags = {"type": kind, _KEY[kind]: record.key, **record.tags}
        return self.client.create_run(
            self.experiment,
            start_time=int((time.time() - record.seconds) * 1000),
            tags={name: str(value) for name, value in tags.items() if value is not None},
            run_name=record.name,
        )

    def _log_params(self, run: "Run", params: Mapping[str, Any]) -> None:
        """Record those that a killed process had not."""
        from mlflow.entities import Param

        flat = {name: value for name, value in _flat(params) if name not in run.data.params}
        entries = [Param(name, value[:_LONGEST_VALUE]) for name, value in flat.items()]
        for start in range(0, len(entries), _PARAMS_A_CALL):
            part = entries[start : start + _PARAMS_A_CALL]
            self.client.log_batch(run.info.run_id, params=part)

    def _log_metrics(self, run: "Run", metrics: "Sequence[Metric]") -> None:
        finite = [metric for metric in metrics if math.isfinite(metric.value)]
        for start in range(0, len(finite), _METRICS_A_CALL):
            part = finite[start : start + _METRICS_A_CALL]
            self.client.log_batch(run.info.run_id, metrics=part)

    def _use_model(self, run: "Run", model: str) -> None:
        """Name the model among the run's inputs."""
        from mlflow.entities import LoggedModelInput

        if not (run.inputs and run.inputs.model_inputs):
            self.client.log_inputs(run.info.run_id, models=[LoggedModelInput(model)])

    def _log_model(self, run: "Run", record: Record, network: nn.Module, example: Images) -> str:
        """Save the network as a logged model that the run puts out, and return its id."""
        from mlflow.entities import LoggedModelOutput

        outputs = run.outputs.model_outputs if run.outputs else []
        for output in outputs:
            if self.client.get_logged_model(output.model_id).status == "READY":
                return output.model_id
        model = self.client.create_logged_model(
            self.experiment,
            name=record.name.replace("/", " "),
            source_run_id=run.info.run_id,
            params=dict(_flat(record.params)),
            tags={"model_key": record.key},
            model_type="classifier",
        )
        with tempfile.TemporaryDirectory() as folder:
            _save_network(Path(folder) / "model", model.model_id, run, network, example)
            self.client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        self.client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
        self.client.finalize_logged_model(model.model_id, "READY")
        return model.model_id


def _save_network(path: Path, model: str, run: "Run", network: nn.Module, example: Images) -> None:
    """Write the network as a graph that loads without this package, for any batch size."""
    from mlflow import pytorch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    shape = (-1, *example.shape[1:])
    with torch.no_grad():
        copy = deepcopy(network).cpu().eval().requires_grad_(False)
        inputs = example[:2].detach().cpu().contiguous()
        classes = copy(inputs).shape[1]
    pytorch.save_model(
        copy,
        path,
        mlflow_model=Model(run_id=run.info.run_id, model_uuid=model, model_id=model),
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), shape)]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
        ),
        input_example=inputs,  # pyright: ignore[reportArgumentType] # a tensor is not kept as JSON
        pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}", "mlflow"],
    )


def _mlflow() -> Any:  # noqa: ANN401
    """The mlflow module, imported quietly and without telemetry."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    logging.getLogger("alembic").setLevel(logging.WARNING)
    return mlflow


@contextmanager
def _quickly() -> Iterator[None]:
    """An unreachable server is reported in seconds; MLflow by itself tries for minutes."""
    own = {name: value for name, value in _QUICK.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


def _is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _public(uri: str) -> str:
    """An address without the name and password that it may carry."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _line(error: Exception) -> str:
    """The gist of an error in one line."""
    return " ".join(str(error).split())[:200]


def _link(run: "Run") -> Link:
    outputs = run.outputs.model_outputs if run.outputs else []
    return Link(run=run.info.run_id, model=outputs[0].model_id)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names joined by dots and values as text; Hydra's own keys are left out."""
    for name, value in tree.items():
        if str(name).startswith("_"):
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def _final(run: "Run", record: Record, model: str | None, step: int) -> "list[Metric]":
    """The record's metrics, tied to the model so that its page lists them too."""
    from mlflow.entities import Metric

    moment = int(run.info.start_time + record.seconds * 1000)
    values: dict[str, float] = {}
    for name, value in record.metrics.items():
        if isinstance(value, Mapping):
            values |= {name if key == "mean" else f"{name}.{key}": v for key, v in value.items()}
        else:
            values[name] = value
    return [Metric(k, float(v), moment, step, model_id=model) for k, v in values.items()]


def _history(run: "Run", record: Record, history: Sequence[Mapping[str, float]]) -> "list[Metric]":
    """The history's numbers at their epochs, spread evenly over the time that training took.

    The moments follow from the run alone: recorded again after a kill, they are the same points.
    """
    from mlflow.entities import Metric

    last = max((int(row["epoch"]) for row in history), default=1) or 1
    points = []
    for row in history:
        step = int(row["epoch"])
        moment = int(run.info.start_time + record.seconds * 1000 * step / last)
        points += [
            Metric(name, float(value), moment, step)
            for name, value in row.items()
            if name != "epoch"
        ]
    return points
