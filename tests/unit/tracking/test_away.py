"""A server that goes away loses nothing: what was kept here is sent later, and once only."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import requests
import torch
from torch import nn

from xai_exp import cli
from xai_exp.config import InputError
from xai_exp.sync import sync
from xai_exp.tracking import Data, MLflow, Off, Record, away, connection, reading, whole

URI = "http://someone:secret@127.0.0.1:9"
SCORES = pd.DataFrame({"image": [0, 1], "metric": "mass", "score": [0.5, np.nan]})
HISTORY = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]


class Fading:
    """A server's tracker that answers for a while."""

    def __init__(self, runs, answers):
        self.runs, self.left = runs, answers

    def __getattr__(self, name):
        def call(*given, **named):
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("the client's own words") from requests.ConnectionError("gone")
            return getattr(self.runs, name)(*given, **named)

        return call


@pytest.fixture
def dead(monkeypatch):
    monkeypatch.setattr(away, "PATIENCE", 0.0)
    monkeypatch.setattr(away, "answers", lambda _: False)


def settings(tmp_path, name):
    return MLflow(root=str(tmp_path / name), figures=False)


def worked(tracker):
    """A network, two explanations and a report, as the pipeline records them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    data = Data(name="scenes", digest="0a", source="there", context="training", profile={"test": 1})
    trained = Record(
        key="net", name="cnn", params={"seed": 0}, metrics={"accuracy": 0.9}, data=data
    )
    example = torch.rand(2, 1, 3, 3)
    link = tracker.record_training(trained, network=network, example=example, history=HISTORY)
    made = []
    for key in ("one", "two"):
        record = Record(key=key, name=key, tags={"model_key": "net"}, metrics={"mass": 0.25})
        maps = {"heatmaps": np.ones((2, 3, 3))}
        made.append(tracker.record_explanation(record, link=link, heatmaps=maps, scores=SCORES))
    record = Record(key="page", name="page")
    made.append(tracker.record_report(record, pages={"report": "<p>"}, tables={}))
    tracker.tag([link.run, *made], {"study.mine": ""})
    return link, made


def told(runs):
    """What a store has, apart from ids and moments."""
    found = {}
    for run in runs.client.search_runs([runs.experiment]):
        kind = run.data.tags["type"]
        path = Path(run.info.artifact_uri)
        files = {file.name: file.read_bytes() for file in path.iterdir()}
        steps = {
            name: [
                (one.step, one.value)
                for one in runs.client.get_metric_history(run.info.run_id, name)
            ]
            for name in run.data.metrics
        }
        assert run.info.status == "FINISHED"
        assert not whole.fault(runs.client, run)
        assert (kind, run.info.run_name) not in found
        found[kind, run.info.run_name] = (files, steps, run.data.params, _said(runs, run))
    return found


def _said(runs, run):
    """Who made a run, on which data, and its description, in which links lead to runs there."""
    tags, data = run.data.tags, runs.client.get_run(run.info.run_id).inputs.dataset_inputs
    text = tags["mlflow.note.content"].replace(run.info.run_id, "here")
    for other in re.findall(r"runs/(\w{32})", text):
        text = text.replace(other, runs.client.get_run(other).info.run_name)
    return text, tags["mlflow.user"], tags["mlflow.source.name"], [one.dataset.name for one in data]


@pytest.fixture(scope="module")
def due(tmp_path_factory):
    """What a store has that was never away."""
    runs = settings(tmp_path_factory.mktemp("due"), "whole").store()
    worked(runs)
    return told(runs)


@pytest.mark.usefixtures("dead")
def test_what_a_server_does_not_answer_is_kept_here_and_sent_once(tmp_path, due, caplog):
    server, store = settings(tmp_path, "server"), settings(tmp_path, "here")
    faded = away.Away(server=Fading(server.store(), 2), uri=URI, store=store.store, root="here")
    worked(faded)
    assert "secret" not in caplog.text
    assert caplog.text.count("does not answer") == 1
    runs = store.store()
    kept = runs.client.search_runs([runs.experiment])
    assert [run.data.tags[away.UNSENT] for run in kept] == ["http://127.0.0.1:9"] * 3
    uri = f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}"
    sent = list(sync(tmp_path / "here", "xai_exp", uri))
    assert [(one.name, one.new) for one in sent] == [("cnn", False), ("two", True), ("page", True)]
    assert told(server.store()) == due
    assert not list(sync(tmp_path / "here", "xai_exp", uri))


@pytest.mark.usefixtures("dead")
def test_a_sync_that_is_killed_goes_on_and_the_network_is_that_of_its_explanations(
    tmp_path, due, monkeypatch
):
    from mlflow import MlflowClient, pytorch

    server, store = settings(tmp_path, "server"), settings(tmp_path, "here")
    worked(away.Away(server=Fading(server.store(), 0), uri=URI, store=store.store, root="here"))
    uri = f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}"
    log, left = MlflowClient.log_batch, [4]

    def killed(*given, **named):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return log(*given, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        list(sync(tmp_path / "here", "xai_exp", uri))
    list(sync(tmp_path / "here", "xai_exp", uri))
    runs = server.store()
    assert told(runs) == due
    (network,) = runs.client.search_logged_models([runs.experiment])
    assert network.status == "READY"
    made = runs.explained("one").run
    assert [put.model_id for put in runs.client.get_run(made).inputs.model_inputs] == [
        network.model_id
    ]
    assert pytorch.load_model(network.artifact_location)(torch.rand(3, 1, 3, 3)).shape == (3, 2)


class Nowhere(type(Off().open())):
    """Finds nothing, says how often it was asked, and does not answer or refuses at first."""

    asked = 0

    def reported(self, key):
        self.asked += 1
        if key == "refused":
            raise InputError(f"no {key}")
        if self.asked == 1:
            raise requests.ConnectionError("gone")


def test_a_server_that_comes_back_is_asked_again_and_its_own_errors_are_its_own(monkeypatch):
    monkeypatch.setattr(away, "answers", lambda uri: uri == URI)
    server = Nowhere()
    tracker = away.Away(server=server, uri=URI, store=Off().open, root="here")
    assert tracker.reported("nothing") is None
    assert server.asked == 2
    with pytest.raises(InputError, match="no refused"):
        tracker.reported("refused")
    assert server.asked == 3


def test_only_paths_are_read_where_they_lie(tmp_path):
    def copied(run, name, folder):
        assert Path(folder).is_dir()
        return str(tmp_path / run / name)

    client = SimpleNamespace(download_artifacts=copied)
    for uri in ("mlflow-artifacts:/1/x/artifacts", "s3://bucket/x", "https://there/x"):
        run = SimpleNamespace(info=SimpleNamespace(artifact_uri=uri, run_id="x"))
        with whole.artifact(client, run, "a") as path:
            assert path == tmp_path / "x" / "a"
    for uri in (str(tmp_path / "a#b"), (tmp_path / "a#b").as_uri()):
        run = SimpleNamespace(info=SimpleNamespace(artifact_uri=uri, run_id="x"))
        with whole.artifact(client, run, "c") as path:
            assert path == tmp_path / "a#b" / "c"


class Shut:
    """A server's client while its store is away, as MLflow speaks of it."""

    def download_artifacts(self, _, name, __):
        raise RuntimeError(f"Failed to download artifacts from path '{name}'")

    def list_artifacts(self, _):
        raise RuntimeError("too many 500 error responses")


def test_a_file_that_a_store_away_may_have_is_not_called_broken():
    run = SimpleNamespace(
        info=SimpleNamespace(artifact_uri="s3://xai/1", run_id="1"), data=SimpleNamespace(tags={})
    )
    shut = Shut()
    with pytest.raises(whole.Unreachable, match="s3://xai/1: too many 500"):
        whole.fault(shut, run)
    with pytest.raises(whole.Unreachable):
        reading.artifact(shut, run, "scores.parquet", Path.read_bytes)
    shut.list_artifacts = lambda _: []
    assert whole.fault(shut, run) == "its artifacts can't be read (RuntimeError)"
    assert reading.artifact(shut, run, "scores.parquet", Path.read_bytes) is None


@pytest.mark.usefixtures("dead")
def test_what_a_server_has_stays_finished_while_its_store_is_away(tmp_path, due, monkeypatch):
    server, store = settings(tmp_path, "server"), settings(tmp_path, "here")
    runs = server.store()
    worked(runs)
    known = whole.artifact

    def shut(client, run, name=""):
        if client is runs.client:
            raise whole.Unreachable("s3://xai/1")
        return known(client, run, name)

    monkeypatch.setattr(whole, "artifact", shut)
    tracker = away.Away(server=runs, uri=URI, store=store.store, root="here")
    assert tracker.explained("one") is None
    worked(tracker)
    monkeypatch.setattr(whole, "artifact", known)
    assert told(runs) == due
    sent = list(sync(tmp_path / "here", "xai_exp", f"sqlite:///{tmp_path}/server/mlflow.db"))
    assert [one.new for one in sent] == [False] * 4
    assert told(runs) == due


def test_errors_of_a_stores_own_client_are_those_of_a_lost_server():
    gone = type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})
    upload = type("S3UploadFailedError", (Exception,), {"__module__": "boto3.exceptions"})
    assert away.is_lost(gone("no connection"))
    assert away.is_lost(upload("SlowDown"))
    assert not away.is_lost(ValueError("boto3"))


def test_a_store_that_clients_reach_themselves_needs_boto3(monkeypatch):
    monkeypatch.setattr(connection.importlib.util, "find_spec", lambda _: None)
    connection.refuse_no_boto3("mlflow-artifacts:/1")
    with pytest.raises(InputError, match=r"in s3://xai/direct to its clients.*xai-exp\[s3\]"):
        connection.refuse_no_boto3("s3://xai/direct")


@pytest.mark.usefixtures("dead")
def test_a_sync_whose_store_is_away_ends_with_one_line_and_is_typed_again(
    tmp_path, due, monkeypatch
):
    from mlflow import MlflowClient

    server, store = settings(tmp_path, "server"), settings(tmp_path, "here")
    worked(away.Away(server=Fading(server.store(), 0), uri=URI, store=store.store, root="here"))
    uri = f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}"
    with monkeypatch.context() as shut:

        def lost(*_, **__):
            raise RuntimeError("500") from requests.exceptions.ConnectionError("gone")

        shut.setattr(MlflowClient, "log_artifacts", lost)
        with pytest.raises(
            InputError, match=r"sync: got sqlite.* does not answer \(500\); allowed"
        ):
            list(sync(tmp_path / "here", "xai_exp", uri))
    list(sync(tmp_path / "here", "xai_exp", uri))
    assert told(server.store()) == due


def test_what_only_a_server_can_do_keeps_errors_of_its_own():
    with pytest.raises(KeyError), away.answering("sync", URI):
        raise KeyError("x")
    with pytest.raises(InputError, match=r"^mine$"), away.answering("sync", URI):
        raise InputError("mine") from requests.ConnectionError("gone")
    said = r"sync: got http://127\.0\.0\.1:9, where"
    with pytest.raises(InputError, match=said), away.answering("sync", URI):
        raise requests.ConnectionError("gone")


def test_a_page_is_made_of_what_a_server_has_or_refused_while_its_store_is_away(
    tmp_path, monkeypatch
):
    worked(settings(tmp_path, "server").store())
    uri = f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}"
    given = {}

    def publish(kept, _, asked):
        given.update(keys=sorted(one.tags["explain_key"] for one in kept), words=asked.commands)
        return "page", None

    monkeypatch.setattr("xai_exp.studies.publish.publish", publish)
    cli.report(["--uri", uri, "--root", str(tmp_path / "none")])
    assert given == {"keys": ["one", "two"], "words": [f"python -m xai_exp report --uri {uri}"]}

    def shut(*_):
        raise whole.Unreachable("s3://xai/1")

    monkeypatch.setattr(whole, "fault", shut)
    with pytest.raises(InputError, match=r"--uri: got sqlite.*\(s3://xai/1\); allowed: the same"):
        cli.report(["--uri", uri, "--root", str(tmp_path / "none")])


def test_stability_is_of_what_the_server_has_alone_or_refused_while_it_is_away(
    tmp_path, monkeypatch
):
    uri, given = f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}", {}
    worked(settings(tmp_path, "server").store())

    def report(tracker, study, _):
        given.update(keys=sorted(one.tags["explain_key"] for one in tracker.kept()), study=study)

    monkeypatch.setattr("xai_exp.studies.stability_report.report", report)
    words = [f"uri={uri}", f"root={tmp_path / 'none'}", "study=a"]
    cli.stability(words)
    assert given == {"keys": ["one", "two"], "study": "a"}

    def lost(*_):
        raise requests.ConnectionError("gone")

    monkeypatch.setattr("xai_exp.studies.stability_report.report", lost)
    with pytest.raises(InputError, match=r"uri: got sqlite.*\(gone\); allowed: the same"):
        cli.stability(words)
