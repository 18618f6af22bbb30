"""Runs in MLflow, through explicit run ids: no run is ever `active`, nothing global is kept."""

import logging
import os
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from torch import nn

from xai_exp.compute.loading import undisturbed
from xai_exp.compute.machine import fingerprint
from xai_exp.config import InputError, configured, refuse_empty
from xai_exp.errors import unknown
from xai_exp.files import digest, locked, write_csv
from xai_exp.tracking import reading, whole, writing
from xai_exp.tracking.away import Away
from xai_exp.tracking.connection import (
    gist,
    is_server,
    make_database,
    mlflow,
    public,
    quickly,
    refuse_no_boto3,
)
from xai_exp.tracking.entries import final, history_points
from xai_exp.tracking.interface import Arrays, Found, Kept, Link, Number, Record
from xai_exp.tracking.told import inputs, notes, provenance
from xai_exp.tracking.views import TAG, view
from xai_exp.types import Images

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_UI = "http://127.0.0.1:5000"  # where `make ui` answers unless the port is taken
KEYS = {"train": "model_key", "explain": "explain_key", "report": "report_key"}
_log = logging.getLogger(__name__)
_APART = 6  # characters of a key that tell apart runs of one name
_SHORT = 8  # characters of a run id that the user is asked to type
_NEWEST = 50  # how many runs the columns of a view are chosen by


@configured
class MLflow:
    """Runs in MLflow: a SQLite file and artifacts under `root`, or the server at `uri`.

    `figures` is whether pictures are drawn for the runs; a large study is quicker without. `onnx`
    is whether a trained network is kept as network.onnx as well, beside the logged model.
    """

    root: str = "mlruns"
    uri: str | None = None
    experiment: str = "xai_exp"
    figures: bool = True
    onnx: bool = True

    def __post_init__(self) -> None:
        """An empty name would mean the current folder."""
        for name in ("root", "uri", "experiment"):
            refuse_empty(f"tracking.{name}", getattr(self, name))

    def open(self, *, make: bool = True) -> "Runs | Away":
        """As `store`; a server that goes away later has its results kept under `root`.

        Args:
            make: whether there will be an experiment of this name if there is none.

        Raises:
            InputError: when there is no such server, or the database can't be used.
        """
        runs = self.store(make=make)
        if self.uri is None or not is_server(self.uri):
            return runs
        return Away(
            server=runs,
            uri=self.uri,
            store=replace(self, uri=None).store,
            root=self.root,
        )

    def store(self, *, make: bool = True) -> "Runs":
        """Connect, making the database and the experiment at the first use.

        A new database is made under a file lock: several processes that make it at once would
        break it. One that can't be written to can be read.

        Args:
            make: whether there will be an experiment of this name if there is none.

        Raises:
            InputError: when there is no such server, or the database can't be used.
        """
        root = Path(self.root).expanduser().resolve()
        if time.time() < 0:
            raise InputError("the clock: got a time before 1970; allowed: set it, runs have dates")
        if self.uri is None and (strange := sorted(set(str(root)) & set("?%"))):
            raise InputError(
                f"tracking.root: got {root}; allowed: a folder whose path has no "
                f"{' '.join(strange)}, which MLflow takes for parts of an address"
            )
        uri = self.uri or f"sqlite:///{root / 'mlflow.db'}"
        try:
            frozen = self.uri is None and is_frozen(root)
            lock = nullcontext() if frozen else locked(root / "mlflow.lock", f"opens {root}")
            with lock, quickly(), undisturbed():  # the client is loaded here
                if self.uri is None:
                    make_database(root / "mlflow.db")
                client = mlflow().MlflowClient(uri)
                experiment = self._experiment(client, root, uri, make=make)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"tracking: got {public(uri)}, which can't be used ({gist(error)}); allowed: "
                "the address of a running MLflow server, or null for a file under tracking.root"
            ) from error
        return Runs(
            client=client, experiment=experiment, settings=self, root=root, uri=uri, frozen=frozen
        )

    def _experiment(self, client: "MlflowClient", root: Path, uri: str, *, make: bool) -> str:
        """The experiment's id; it is made if there is none of this name."""
        found = client.get_experiment_by_name(self.experiment)
        if found is None and not make:
            names = [one.name for one in client.search_experiments()]
            raise InputError(unknown("experiment", self.experiment, names))
        if found is None:
            place = None if is_server(uri) else str(root / "artifacts")
            found = client.get_experiment(
                client.create_experiment(self.experiment, artifact_location=place)
            )
        refuse_no_boto3(str(found.artifact_location))
        if found.lifecycle_stage != "active":
            raise InputError(
                f"tracking.experiment: got {self.experiment}, which was deleted; allowed: another "
                f"name, or restore it: mlflow experiments restore -x {found.experiment_id}"
            )
        return found.experiment_id


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs of one experiment."""

    client: "MlflowClient"
    experiment: str
    settings: "MLflow"
    root: Path
    uri: str
    frozen: bool = False

    def record_training(
        self,
        record: Record,
        *,
        network: nn.Module,
        example: Images,
        history: Sequence[Mapping[str, Number]],
    ) -> Link | None:
        with self.locked(record.key):
            done = self.finished("train", record.key)
            if done is not None and done.outputs and done.outputs.model_outputs:
                return _link(done)
            with self._written("train", record) as (run, folder):
                exports = record.exports if self.settings.onnx else {}
                record = replace(record, exports=exports)
                model = writing.model(self.client, run, record, network, example)
                last = max((int(row["epoch"]) for row in history), default=0)
                points = history_points(run, record, history) + final(run, record, model, last)
                writing.metrics(self.client, run, points)
                pd.DataFrame(list(history)).to_csv(folder / "history.csv", index=False)
                return Link(run=run.info.run_id, model=model)

    def explained(self, key: str) -> Found | None:
        run = self.finished("explain", key)
        if run is None:
            return None
        scores = reading.artifact(self.client, run, "scores.parquet", pd.read_parquet)
        return Found(run=run.info.run_id, scores=scores) if scores is not None else None

    def record_explanation(
        self,
        record: Record,
        *,
        link: Link | None,
        heatmaps: Arrays,
        scores: pd.DataFrame,
        anew: bool = False,
    ) -> str | None:
        tags = dict(record.tags) | ({"train_run": link.run} if link else {})
        links = ({"the network": link.run} if link else {}) | dict(record.links)
        record = replace(record, tags=tags, links=links)
        with self.locked(record.key), ExitStack() as stack:
            # Another process may have made the same in the meantime.
            done = None if anew else self.finished("explain", record.key)
            if done is not None:
                return done.info.run_id
            run, folder = stack.enter_context(self._written("explain", record))
            model = link.model if link else None
            if model:
                writing.use_model(self.client, run, model)
            writing.metrics(self.client, run, final(run, record, model, 0))
            writing.arrays(folder / "heatmaps.npz", heatmaps)
            scores.to_parquet(folder / "scores.parquet", index=False)
            return run.info.run_id

    def record_report(
        self,
        record: Record,
        *,
        pages: Mapping[str, str],
        tables: Mapping[str, pd.DataFrame],
    ) -> str | None:
        with self.locked(record.key), ExitStack() as stack:
            done = self.finished("report", record.key)
            if done is not None:
                return done.info.run_id
            if self.frozen:
                _log.warning("%s can't be written to: the report is not recorded there", self.root)
                return None
            run, folder = stack.enter_context(self._written("report", record))
            writing.metrics(self.client, run, final(run, record, None, 0))
            for name, page in pages.items():
                (folder / f"{name}.html").write_text(page, encoding="utf-8")
            for name, table in tables.items():
                table.to_parquet(folder / f"{name}.parquet", index=False)
                write_csv(table, folder / f"{name}.csv")
            return run.info.run_id

    def attach(self, run: str, record: Record, tables: Mapping[str, pd.DataFrame]) -> None:
        if self.frozen:
            return
        found = self.client.get_run(run)
        writing.metrics(self.client, found, final(found, record, None, 0))
        with tempfile.TemporaryDirectory() as folder:
            for name, drawn in record.figures.items() if self.settings.figures else ():
                drawn().savefig(Path(folder) / f"{name}.png")
            for name, table in tables.items():
                table.to_csv(Path(folder) / f"{name}.csv", index=False)
            self.client.log_artifacts(run, folder, artifact_path=record.name)

    def reported(self, key: str) -> str | None:
        run = self.finished("report", key)
        return run.info.run_id if run else None

    def kept(self, runs: Iterable[str] | None = None, condition: str = "") -> list[Kept]:
        if runs is not None:
            found = [self.client.get_run(run) for run in runs]
        else:
            wanted = "tags.type = 'explain' and attributes.status = 'FINISHED'"
            both = f"{wanted} and {condition}" if condition else wanted
            try:
                found = reading.matching(self.client, self.experiment, both)
            except Exception as error:
                raise InputError(
                    f"filter: got {condition!r}, which can't be searched by ({gist(error)}); "
                    "allowed: such as tags.dataset = 'counting' and tags.seed = '0'"
                ) from error
        return reading.kept(self.client, found, KEYS["explain"])

    def of_model(self, model: str, keys: Iterable[str]) -> dict[str, Kept]:
        wanted = "tags.type = 'explain' and attributes.status = 'FINISHED'"
        mine = f"{wanted} and tags.{KEYS['train']} = '{model}'"
        name, known = KEYS["explain"], set(keys)
        runs = reading.matching(self.client, self.experiment, mine)
        asked = [run for run in runs if run.data.tags.get(name) in known]
        return {one.tags[name]: one for one in reading.kept(self.client, asked, name)}

    def tag(self, runs: Iterable[str], tags: Mapping[str, str]) -> None:
        for run in () if self.frozen else runs:
            for name, value in tags.items():
                self.client.set_tag(run, name, value)

    def ui_command(self, runs: Iterable[str] = ()) -> str:
        """`make ui` in a checkout with the usual settings; empty if another server shows them."""
        if self.settings.uri:
            return ""
        words = [run[:_SHORT] for run in runs]
        usual = MLflow()
        if self.settings == usual and Path("xai_exp/ui/__init__.py").is_file():
            return f"make ui RUNS='{' '.join(words)}'" if words else "make ui"
        for name in ("root", "experiment"):
            value = getattr(self.settings, name)
            words += [f"--{name}", shlex.quote(value)] if value != getattr(usual, name) else []
        return " ".join(["python -m xai_exp.ui", *words])

    def address(self, runs: Iterable[str] = (), base: str = _UI) -> str:
        """The runs table's address; `runs` are ids or the beginnings of ids.

        The view that it opens is kept as a tag of the experiment.
        """
        base = public(self.uri).rstrip("/") if is_server(self.uri) else base
        words = list(runs)
        shown = self._chosen(words) if words else self._search("")
        table = f"{base}/#/experiments/{self.experiment}/runs?workflowType=machine_learning"
        kept = view(shown, only=bool(words)) if shown else None
        if kept is None:
            return table
        if self.frozen:
            return table
        self.client.set_experiment_tag(self.experiment, TAG + kept[0], kept[1])
        return f"{table}&viewStateShareKey={kept[0]}"

    def _chosen(self, words: Sequence[str]) -> "list[Run]":
        """The runs whose ids begin with these words; unknown ones are left out."""
        clean = ["".join(c for c in word if c.isalnum()) for word in words]
        return [run for word in clean for run in self._search(f"attributes.run_id LIKE '{word}%'")]

    def _search(self, condition: str) -> "list[Run]":
        """The newest runs that fulfil a condition."""
        order = ["attributes.start_time DESC"]
        return list(
            self.client.search_runs(
                [self.experiment], condition, max_results=_NEWEST, order_by=order
            )
        )

    def locked(self, key: str) -> AbstractContextManager[None]:
        """One process at a time records a key, so a run that is RUNNING then was killed."""
        if self.frozen:
            return nullcontext()
        return locked(self.root / "locks" / f"{key}.lock", f"records {key}")

    def newest(self, kind: str, status: str = "FINISHED", condition: str = "") -> "Run | None":
        """The newest run of this type and status, its inputs and outputs included."""
        wanted = f"tags.type = '{kind}' and attributes.status = '{status}'{condition}"
        found = self._search(wanted)
        return self.client.get_run(found[0].info.run_id) if found else None

    def _every(self, kind: str, key: str) -> "list[Run]":
        """The newest runs of this key, whatever became of them."""
        # Explanations and reports have keys of their own; a network's is on all that is made of it.
        typed = f" and tags.type = '{kind}'" if kind == "train" else ""
        return self._search(f"tags.{KEYS[kind]} = '{key}'{typed}")

    def finished(self, kind: str, key: str) -> "Run | None":
        """The finished run of this key whose files are whole; a broken one is said."""
        runs = (run for run in self._every(kind, key) if run.info.status == "FINISHED")
        run = next(runs, None)
        if run is None:
            return None
        if fault := whole.fault(self.client, run):
            _log.warning("%s is broken, %s: it is made again", whole.told(run), fault)
            return None
        # Inputs and outputs, such as a logged model, come with no search.
        return self.client.get_run(run.info.run_id) if kind == "train" else run

    def unfinished(self, kind: str, key: str) -> "Run | None":
        """What a process that ended early left of this key, or a finished run that is broken.

        Under the lock of its key nobody else works on it.
        """
        runs = self._every(kind, key)
        for status in ("RUNNING", "KILLED", "FAILED", "FINISHED"):
            run = next((one for one in runs if one.info.status == status), None)
            if run is not None and (status != "FINISHED" or whole.fault(self.client, run)):
                if status != "RUNNING":
                    self.client.update_run(run.info.run_id, status="RUNNING")
                return self.client.get_run(run.info.run_id)
        return None

    @contextmanager
    def _written(self, kind: str, record: Record) -> "Iterator[tuple[Run, Path]]":
        """A run to write into and a folder whose files become its artifacts.

        A run that a process left unfinished is gone on with; one that ends here early is marked.
        """
        run = self.unfinished(kind, record.key)
        if run is None:
            run = self._create(kind, record)
        else:
            self.tag([run.info.run_id], fingerprint())
        try:
            writing.params(self.client, run, record.params)
            with tempfile.TemporaryDirectory() as folder:
                yield run, Path(folder)
                figures = record.figures if self.settings.figures else {}
                for name, drawn in figures.items():
                    drawn().savefig(Path(folder) / f"{name}.png")
                for name, told in record.texts.items():
                    (Path(folder) / name).write_text(told(), encoding="utf-8")
                self._say(run, replace(record, figures=figures))
                (Path(folder) / whole.SUMS).write_text(whole.sums(Path(folder)))
                self.client.log_artifacts(run.info.run_id, folder)
                known = digest(Path(folder) / whole.SUMS)
                self.client.set_tag(run.info.run_id, whole.TAG, known)
        except BaseException as error:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            with suppress(Exception):
                self.client.set_terminated(run.info.run_id, status)
            raise
        self.client.set_terminated(run.info.run_id)

    def _say(self, run: "Run", record: Record) -> None:
        """What a person reads on the run's page."""
        number = run.info.run_id
        told = notes.content(record, number, self.experiment, record.links)
        self.client.set_tag(number, notes.TAG, told)
        if record.data is not None:
            inputs.log(self.client, run, record.data)

    def _named(self, record: Record) -> str:
        """The record's name, and the beginning of its key where another run has that name."""
        name = record.name.replace("'", "")
        taken = self._search(f"attributes.run_name = '{name}'")
        return f"{name} · {record.key[:_APART]}" if taken else name

    def _create(self, kind: str, record: Record) -> "Run":
        own = {**fingerprint(), **provenance.tags()}
        tags = {"type": kind, KEYS[kind]: record.key, **record.tags, **own}
        return self.client.create_run(
            self.experiment,
            start_time=max(0, int((time.time() - record.seconds) * 1000)),
            tags={name: str(value) for name, value in tags.items() if value is not None},
            run_name=self._named(record),
        )


def is_frozen(root: Path) -> bool:
    """Whether there is a store here that can be read and not written to."""
    there = (root / "mlflow.db").is_file()
    return there and not all(os.access(one, os.W_OK) for one in (root, root / "mlflow.db"))


def _link(run: "Run") -> Link:
    outputs = run.outputs.model_outputs if run.outputs else []
    return Link(run=run.info.run_id, model=outputs[0].model_id)
