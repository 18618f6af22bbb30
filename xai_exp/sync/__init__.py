"""What a tracking server did not get is sent to it: `python -m xai_exp sync`.

The runs that a store of this machine kept for it (`xai_exp.tracking.away`) are known by their keys.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_exp.config import InputError
from xai_exp.tracking import reading, whole, writing
from xai_exp.tracking.away import UNSENT, answering
from xai_exp.tracking.runs import KEYS, MLflow, Runs
from xai_exp.tracking.told import notes

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric, Run

_ORDER = {"train": 0, "explain": 1, "report": 2}  # an explanation names the network that it is of
_OWN = ("mlflow.", UNSENT, "train_run")
_MADE_BY = ("mlflow.source.", "mlflow.user")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One run: its name, and whether the server got it now or had it before."""

    name: str
    new: bool


def sync(root: Path, experiment: str, uri: str | None = None) -> Iterator[Sent]:
    """Send every run that was kept for a server; killed on the way, the next call goes on.

    A run is known by its key, so that nothing is doubled: what the server has finished is only no
    longer waited with.

    Args:
        root: of the store on this machine.
        experiment: its name, the same on the server.
        uri: the server; None: the one that the runs name.

    Raises:
        InputError: when it, or the store of its files, can't be reached.
    """
    store = MLflow(root=str(root), experiment=experiment).store(make=False)
    wanted = f"attributes.status = 'FINISHED' and tags.{UNSENT} LIKE '%'"
    waiting = reading.matching(store.client, store.experiment, wanted)
    waiting.sort(key=lambda run: _ORDER.get(run.data.tags.get("type", ""), 3))
    servers: dict[str, Runs] = {}
    for run in waiting:
        if fault := whole.fault(store.client, run):
            raise InputError(
                f"sync: got run {whole.told(run)}, of which {fault}; allowed: whole runs (python "
                "-m xai_exp doctor --mend puts broken ones aside)"
            )
        place = uri or run.data.tags[UNSENT]
        if place not in servers:
            servers[place] = MLflow(root=str(root), uri=place, experiment=experiment).store()
        with answering("sync", place):
            new = _send(store, servers[place], run)
        store.client.delete_tag(run.info.run_id, UNSENT)
        yield Sent(name=run.info.run_name or run.info.run_id, new=new)


def _send(store: Runs, server: Runs, run: "Run") -> bool:
    """Send one run, unless the server has it; whether it was sent."""
    tags = run.data.tags
    kind = tags["type"]
    key = tags[KEYS[kind]]
    with server.locked(key):
        if server.finished(kind, key) is not None:
            return False
        network = _network(server, tags) if kind == "explain" else None
        made = server.unfinished(kind, key) or _created(server, run, network)
        writing.params(server.client, made, run.data.params)
        with whole.artifact(store.client, run) as folder:
            server.client.log_artifacts(made.info.run_id, str(folder))
        models = {}
        if kind == "train":
            models = _models(store.client, server.client, run, made)
        elif network is not None and network.outputs and network.outputs.model_outputs:
            writing.use_model(server.client, made, network.outputs.model_outputs[0].model_id)
        writing.metrics(server.client, made, list(_points(store.client, run, models)))
        _describe(store, server, run, made)
        server.client.set_terminated(made.info.run_id, end_time=run.info.end_time)
    return True


def _network(server: Runs, tags: Any) -> "Run | None":  # noqa: ANN401
    """The server's run of the network that was explained."""
    return server.finished("train", tags["model_key"]) if "model_key" in tags else None


def _created(server: Runs, run: "Run", network: "Run | None") -> "Run":
    tags = {
        key: value
        for key, value in run.data.tags.items()
        if key.startswith(_MADE_BY) or not key.startswith(_OWN)
    }
    if network is not None:
        tags["train_run"] = network.info.run_id
    return server.client.create_run(
        server.experiment,
        start_time=run.info.start_time,
        tags=tags,
        run_name=run.info.run_name,
    )


def _describe(store: Runs, server: Runs, run: "Run", made: "Run") -> None:
    """The run's data and its description, whose links lead to the server's runs."""
    data, known = (one.inputs and one.inputs.dataset_inputs for one in (run, made))
    if data and not known:
        server.client.log_inputs(made.info.run_id, datasets=data)
    if (text := run.data.tags.get(notes.TAG)) is None:
        return
    there = {run.info.run_id: made.info.run_id}
    for other in notes.others(text):
        tags = store.client.get_run(other).data.tags
        found = server.finished(tags["type"], tags[KEYS[tags["type"]]])
        if found is not None:
            there[other] = found.info.run_id
    told = notes.moved(text, there, server.experiment)
    server.client.set_tag(made.info.run_id, notes.TAG, told)


def _points(client: "MlflowClient", run: "Run", models: dict[str, str]) -> "Iterator[Metric]":
    """Every number of a run, of every step."""
    from mlflow.entities import Metric

    for name in run.data.metrics:
        for one in client.get_metric_history(run.info.run_id, name):
            model = models.get(one.model_id or "")
            yield Metric(one.key, one.value, one.timestamp, one.step, model_id=model)


def _models(
    mine: "MlflowClient", server: "MlflowClient", run: "Run", made: "Run"
) -> dict[str, str]:
    """The networks that a run put out, logged again; their new ids by the old ones."""
    from mlflow.entities import LoggedModelOutput

    outputs: Sequence[Any] = run.outputs.model_outputs if run.outputs else []
    there = made.outputs.model_outputs if made.outputs else []
    found = {}
    for place, output in enumerate(outputs):
        old = mine.get_logged_model(output.model_id)
        if place < len(there):
            found[output.model_id] = there[place].model_id
            continue
        new = next(iter(writing.models_of(server, made)), None) or server.create_logged_model(
            made.info.experiment_id,
            name=old.name,
            source_run_id=made.info.run_id,
            params=dict(old.params or {}),
            tags={k: v for k, v in (old.tags or {}).items() if not k.startswith("mlflow.")},
            model_type=old.model_type,
        )
        _copy(mine, server, old, new.model_id, {run.info.run_id: made.info.run_id})
        server.log_outputs(made.info.run_id, [LoggedModelOutput(new.model_id, step=0)])
        server.finalize_logged_model(new.model_id, "READY")
        found[output.model_id] = new.model_id
    return found


def _copy(
    mine: "MlflowClient",
    server: "MlflowClient",
    old: "LoggedModel",
    new: str,
    runs: dict[str, str],
) -> None:
    """The files of a logged model, in which its ids are the new ones."""
    from mlflow import artifacts

    with tempfile.TemporaryDirectory() as folder:
        uri = mine.tracking_uri
        path = artifacts.download_artifacts(
            artifact_uri=old.artifact_location, dst_path=folder, tracking_uri=uri
        )
        card = Path(path) / "MLmodel"
        if card.is_file():
            text = card.read_text()
            for before, after in ({old.model_id: new} | runs).items():
                text = text.replace(before, after)
            card.write_text(text)
        server.log_model_artifacts(new, path)
