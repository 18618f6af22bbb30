"""Tracking against a real SQLite file."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from xai_exp.compute.machine import fingerprint
from xai_exp.config import InputError
from xai_exp.tracking import MLflow, Off, Record, connection
from xai_exp.tracking import runs as runs_module

SCORES = pd.DataFrame(
    {
        "image": [0, 1],
        "label": [3, 4],
        "prediction": [3, 5],
        "target": [3, 5],
        "metric": ["relevance_mass", "relevance_mass"],
        "score": [0.25, float("nan")],
        "reason": ["", "the mask is empty"],
    }
)
MASS = {"mean": 0.25, "low": 0.1, "high": float("nan"), "n": 1}
HISTORY = [
    {"epoch": 1, "train_loss": 0.5, "validation_accuracy": 0.8},
    {"epoch": 2, "train_loss": 0.2, "validation_accuracy": 0.9},
]


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    return MLflow(root=str(tmp_path_factory.mktemp("a folder #1") / "mlruns")).open()


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def train(tracker, key: str):
    record = Record(
        key=key,
        name=f'cnn {key} · dropout 0.1, a: "b" of 5 %, it\'s c/d',
        tags={"dataset": "counting", "seed": 0, "study": None},
        params={"dataset": {"_target_": "x.Y", "size": 8, "radii": [1, 2]}, "seed": 0},
        metrics={"accuracy": 0.9},
        figures={"learning_curves": Figure},
        seconds=60,
    )
    example = torch.rand(4, 1, 8, 8)
    return tracker.record_training(record, network=network(), example=example, history=HISTORY)


def explain(tracker, key: str, link=None):
    record = Record(key=key, name=key, params={"explainer": "lrp"}, metrics={"mass": MASS})
    maps = {"heatmaps": np.arange(8.0).reshape(2, 2, 2)}
    return tracker.record_explanation(record, link=link, heatmaps=maps, scores=SCORES)


def runs(tracker, condition: str):
    return tracker.client.search_runs([tracker.experiment], condition)


def test_a_training_run_holds_tags_params_history_and_files(tracker):
    before = time.time()
    run = tracker.client.get_run(train(tracker, "whole").run)
    assert run.info.status == "FINISHED"
    lasted = 1000 * (time.time() - before)
    assert 60_000 <= run.info.end_time - run.info.start_time <= 60_001 + lasted
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
    assert len(tags.pop("sha256")) == 64
    machine = {name: tags.pop(name) for name in list(tags) if name.startswith("machine.")}
    assert machine == fingerprint()
    assert machine["machine.threads"] == "1"
    assert f"torch {torch.__version__.partition('+')[0]}" in tags.pop("versions")
    assert tags.pop("command")
    assert tags == {"type": "train", "model_key": "whole", "dataset": "counting", "seed": "0"}
    assert run.data.params == {"dataset.size": "8", "dataset.radii": "[1, 2]", "seed": "0"}
    assert run.data.metrics["accuracy"] == 0.9
    losses = tracker.client.get_metric_history(run.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in losses] == [(1, 0.5), (2, 0.2)]
    files = {file.path for file in tracker.client.list_artifacts(run.info.run_id)}
    assert files == {"history.csv", "learning_curves.png", "SHA256SUMS"}


def test_the_logged_model_loads_and_gives_the_same_logits_for_any_batch_size(tracker):
    from mlflow import pytorch

    link = train(tracker, "reload")
    place = tracker.client.get_logged_model(link.model).artifact_location
    loaded = pytorch.load_model(place)
    images = torch.rand(7, 1, 8, 8)
    assert torch.allclose(loaded(images), network().eval()(images), atol=1e-6)


def test_a_network_is_kept_in_other_formats_beside_the_model(tracker, caplog):
    """One that can't be written is said, and the run has all else; without onnx nobody is asked."""

    def write(network, images, path):
        path.write_text(f"{images.shape[1]} {type(network).__name__}")

    def refuse(*_):
        raise InputError("export: got a strange network; allowed: others")

    def of(key, tracker):
        exports = {"net.one": write, "net.two": refuse}
        record = Record(key=key, name=key, exports=exports)
        example = torch.rand(2, 1, 8, 8)
        link = tracker.record_training(record, network=network(), example=example, history=[])
        assert tracker.finished("train", key)
        return Path(tracker.client.get_logged_model(link.model).artifact_location)

    place = of("exported", tracker)
    assert (place / "net.one").read_text() == "1 Sequential"
    assert (place / "MLmodel").is_file()
    assert not (place / "net.two").exists()
    assert "net.two is not kept with the run: export: got a strange network" in caplog.text
    without = MLflow(root=tracker.settings.root, onnx=False).open()
    assert not (of("not exported", without) / "net.one").exists()


def test_the_same_model_key_is_recorded_once(tracker):
    assert train(tracker, "once") == train(tracker, "once")
    assert len(runs(tracker, "tags.model_key = 'once'")) == 1


def test_threads_that_record_the_same_key_share_one_run(tracker):
    links = []
    threads = [threading.Thread(target=lambda: links.append(train(tracker, "t"))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert links[0] == links[1]


@pytest.mark.parametrize("logged", ["nothing", "all"])
def test_a_run_left_by_a_killed_process_is_finished_under_its_own_id(tracker, logged):
    key = f"killed {logged}".replace(" ", "_")
    if logged == "all":
        killed = train(tracker, key).run
        tracker.client.update_run(killed, status="RUNNING")
    else:
        tags = {"type": "train", "model_key": key}
        killed = tracker.client.create_run(tracker.experiment, tags=tags).info.run_id
        half = {"name": "half", "source_run_id": killed, "tags": {"model_key": key}}
        tracker.client.create_logged_model(tracker.experiment, **half)
    assert train(tracker, key).run == killed
    run = tracker.client.get_run(killed)
    assert run.info.status == "FINISHED"
    assert len(run.outputs.model_outputs) == 1
    whose = f"source_run_id = '{killed}'"
    (model,) = tracker.client.search_logged_models([tracker.experiment], whose)
    assert (model.status, model.model_id) == ("READY", run.outputs.model_outputs[0].model_id)
    assert len(tracker.client.get_metric_history(killed, "train_loss")) == len(HISTORY)


def test_a_run_whose_recording_fails_is_marked_and_not_reused(tracker):
    class Broken(Figure):
        def savefig(self, *_: object, **__: object) -> None:
            raise OSError("disk full")

    record = Record(key="broken", name="broken", figures={"gallery": Broken})
    with pytest.raises(OSError, match="disk full"):
        tracker.record_explanation(record, link=None, heatmaps={}, scores=SCORES)
    (run,) = runs(tracker, "tags.explain_key = 'broken'")
    assert run.info.status == "FAILED"
    assert tracker.explained("broken") is None


def test_scores_come_back_as_they_were_recorded(tracker):
    assert tracker.explained("scores") is None
    run = explain(tracker, "scores")
    found = tracker.explained("scores")
    assert found.run == run
    pd.testing.assert_frame_equal(found.scores, SCORES)


def test_heatmaps_come_back_as_they_were_recorded(tracker, tmp_path):
    run = explain(tracker, "heatmaps")
    path = tracker.client.download_artifacts(run, "heatmaps.npz", str(tmp_path))
    assert np.array_equal(np.load(path)["heatmaps"], np.arange(8.0).reshape(2, 2, 2))


def test_an_estimate_becomes_its_mean_and_bounds_and_missing_bounds_are_left_out(tracker):
    run = tracker.client.get_run(explain(tracker, "estimate"))
    assert run.data.metrics == {"mass": 0.25, "mass.low": 0.1, "mass.n": 1.0}


def test_an_explanation_has_the_model_among_its_inputs(tracker):
    link = train(tracker, "linked")
    run = tracker.client.get_run(explain(tracker, "linked", link))
    assert [put.model_id for put in run.inputs.model_inputs] == [link.model]
    assert run.data.tags["train_run"] == link.run


def test_an_explanation_whose_files_were_removed_is_made_again(tracker):
    run = tracker.client.get_run(explain(tracker, "removed"))
    Path(run.info.artifact_uri, "scores.parquet").unlink()
    assert tracker.explained("removed") is None


def test_without_figures_nothing_is_drawn(tmp_path):
    drawn = []

    def gallery() -> Figure:
        drawn.append(1)
        return Figure()

    record = Record(key="bare", name="bare", figures={"gallery": gallery})
    for figures, files in ((False, {"SHA256SUMS"}), (True, {"SHA256SUMS", "gallery.png"})):
        tracker = MLflow(root=str(tmp_path / str(figures)), figures=figures).open()
        run = tracker.record_report(record, pages={}, tables={})
        assert {file.path for file in tracker.client.list_artifacts(run)} == files
    assert len(drawn) == 1


def test_a_report_keeps_its_pages_tables_and_figures(tracker):
    record = Record(key="study", name="study", figures={"ranks": Figure})
    run = tracker.record_report(record, pages={"report": "<p>"}, tables={"scores": SCORES})
    files = {file.path for file in tracker.client.list_artifacts(run)}
    assert files == {"report.html", "scores.parquet", "scores.csv", "ranks.png", "SHA256SUMS"}


def test_an_address_opens_a_view_of_these_runs_with_their_metrics(tracker):
    ids = [explain(tracker, f"view{i}") for i in range(2)]
    address = tracker.address(ids)
    assert address == tracker.address([run[:12] for run in ids])
    key = address.partition("viewStateShareKey=")[2]
    tags = tracker.client.get_experiment(tracker.experiment).tags
    view = json.loads(tags[f"mlflow.sharedViewState.{key}"])
    assert all(run in view["searchFilter"] for run in ids)
    assert "metrics.`mass`" in view["selectedColumns"]
    assert "metrics.`mass.low`" not in view["selectedColumns"]


def test_the_ui_command_names_the_runs_and_what_is_unusual(tracker):
    words = tracker.ui_command(["1234567890abcdef"])
    assert words.startswith("python -m xai_exp.ui 12345678 --root '")
    assert "--experiment" not in words


def test_a_database_that_several_processes_make_at_once_is_whole(tmp_path, begun):
    code = (
        "import sys; from xai_exp.tracking import MLflow\n"
        "t = MLflow(root=sys.argv[1]).open()\n"
        "print(t.experiment, t.client.create_run(t.experiment).info.run_id)"
    )
    root = tmp_path / "new" / "mlruns"
    processes = [begun(tmp_path, root, code=code) for _ in range(4)]
    said = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert len({out.split()[0] for out, _ in said}) == 1
    tracker = MLflow(root=str(tmp_path / "new" / "mlruns")).open()
    assert {out.split()[1] for out, _ in said} == {r.info.run_id for r in runs(tracker, "")}


def test_tracking_off_records_nothing_and_never_imports_mlflow():
    code = (
        "import sys; from xai_exp.tracking import Off, Record\n"
        "t = Off().open(); r = Record(key='k', name='n')\n"
        "assert t.record_training(r, network=None, example=None, history=[]) is None\n"
        "assert t.explained('k') is None and t.address() == t.ui_command() == ''\n"
        "assert t.record_explanation(r, link=None, heatmaps={}, scores=None) is None\n"
        "assert t.record_report(r, pages={}, tables={}) is None\n"
        "assert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
    assert Off() == Off()


@pytest.mark.parametrize(
    "uri", ["http://someone:secret@127.0.0.1:9", "sqlite:////proc/nowhere/mlflow.db", "ftp://a/b"]
)
def test_a_server_that_can_not_be_used_is_one_line_without_its_password(tmp_path, uri):
    with pytest.raises(InputError) as caught:
        MLflow(root=str(tmp_path), uri=uri).open()
    line = str(caught.value)
    assert "\n" not in line
    assert "secret" not in line
    assert line.startswith("tracking: got ")


def test_a_deleted_experiment_is_one_line(tracker):
    settings = MLflow(root=tracker.settings.root, experiment="gone")
    tracker.client.delete_experiment(settings.open().experiment)
    with pytest.raises(InputError, match=r"tracking.experiment: got gone, which was deleted"):
        settings.open()


def test_kept_explanations_are_read_back_the_newest_of_each_key(tracker):
    scores = pd.DataFrame({"image": [0, 1], "metric": "mass", "score": [0.5, np.nan]})
    for key, study in (("a", "one"), ("a", "one"), ("b", "two")):
        record = Record(
            key=key, name=key, tags={"study": study}, params={"x": 1}, metrics={"accuracy": 0.9}
        )
        last = tracker.record_explanation(
            record, link=None, heatmaps={"heatmaps": np.ones((2, 3, 3))}, scores=scores
        )
    found = tracker.kept(condition="tags.study != 'none'")
    assert sorted(kept.tags["explain_key"] for kept in found) == ["a", "b"]
    (two,) = tracker.kept(condition="tags.study = 'two'")
    assert two.run == last
    assert [kept.run for kept in tracker.kept([last])] == [last]
    pd.testing.assert_frame_equal(two.scores, scores)
    assert two.accuracy == 0.9
    assert np.isnan(two.seconds)
    assert two.params["x"] == "1"
    assert two.arrays()["heatmaps"].shape == (2, 3, 3)
    with pytest.raises(InputError, match="filter: got 'nonsense here'"):
        tracker.kept(condition="nonsense here")


def test_what_a_network_left_is_found_by_keys_in_one_look(tracker, monkeypatch):
    for key, model in (("of-1", "net-1"), ("of-2", "net-1"), ("of-3", "net-2"), ("of-1", "net-1")):
        record = Record(key=key, name=key, tags={"model_key": model}, metrics={"accuracy": 0.9})
        maps = {"heatmaps": np.ones((2, 3, 3))}
        last = tracker.record_explanation(
            record, link=None, heatmaps=maps, scores=SCORES, anew=True
        )
    looks, search = [], type(tracker.client).search_runs
    monkeypatch.setattr(
        type(tracker.client), "search_runs", lambda *a, **k: looks.append(1) or search(*a, **k)
    )
    found = tracker.of_model("net-1", ["of-1", "of-2", "of-3", "never"])
    assert sorted(found) == ["of-1", "of-2"]
    assert found["of-1"].run == last  # the newest of its key
    assert len(looks) == 1


@pytest.mark.parametrize("name", ["a?b=1 %20", "a?b", "50%"])
def test_a_root_that_mlflow_would_take_for_an_address_is_refused_and_nothing_made(tmp_path, name):
    with pytest.raises(
        InputError, match=r"tracking.root: got .*; allowed: a folder whose path"
    ) as e:
        MLflow(root=str(tmp_path / name)).open()
    assert "\n" not in str(e.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["heatmaps.npz", "scores.parquet", "SHA256SUMS", "folder"])
@pytest.mark.parametrize("cut", [True, False])
def test_a_finished_run_whose_files_are_broken_is_made_again_and_stays_out(tracker, name, cut):
    key = f"broken_{name}_{cut}"
    run = explain(tracker, key)
    assert tracker.explained(key).run == run
    place = Path(tracker.client.get_run(run).info.artifact_uri.removeprefix("file://"))
    for path in place.iterdir() if name == "folder" else [place / name]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]) if cut else path.unlink()
    assert tracker.explained(key) is None
    assert not tracker.kept([run])
    assert explain(tracker, key) == run
    assert tracker.explained(key).run == run
    assert len(tracker.kept([run])) == 1


def test_equal_explanations_leave_one_run_unless_they_are_asked_for_anew(tracker):
    assert explain(tracker, "equal") == explain(tracker, "equal")
    assert len(runs(tracker, "tags.explain_key = 'equal'")) == 1


def test_the_doctor_finds_what_dead_processes_left_and_mends_it(tmp_path):
    from xai_exp.tracking.doctor import faults

    kept = MLflow(root=str(tmp_path / "mlruns")).open()
    explain(kept, "whole")
    assert not list(faults(kept.root, "xai_exp"))
    tags = {"type": "train", "model_key": "dead"}
    run = kept.client.create_run(kept.experiment, tags=tags).info.run_id
    kept.client.create_logged_model(kept.experiment, name="half", source_run_id=run, tags=tags)
    broken = explain(kept, "broken")
    place = Path(kept.client.get_run(broken).info.artifact_uri.removeprefix("file://"))
    (place / "heatmaps.npz").unlink()
    with kept.locked("dead"):
        assert len(list(faults(kept.root, "xai_exp"))) == 1
    found = list(faults(kept.root, "xai_exp"))
    assert len(found) == 3
    for fault in found:
        fault.mend()
    assert not list(faults(kept.root, "xai_exp"))
    assert explain(kept, "broken") != broken
    assert kept.explained("whole") is not None


def test_a_store_that_can_not_be_written_to_is_read_and_left_as_it_is(tracker, monkeypatch):
    run = explain(tracker, "frozen")
    monkeypatch.setattr(runs_module.os, "access", lambda *_: False)
    before = listing(tracker.root)
    frozen = MLflow(root=str(tracker.root)).open()
    assert frozen.frozen
    assert frozen.explained("frozen").run == explain(frozen, "frozen") == run
    assert [one.run for one in frozen.kept([run])] == [run]
    frozen.tag([run], {"study.x": ""})
    assert frozen.address([run])
    record = Record(key="page", name="page")
    assert frozen.record_report(record, pages={"report": "x"}, tables={}) is None
    assert listing(tracker.root) == before


def listing(root):
    return {
        path: path.read_bytes() if path.name == "mlflow.db" else path.stat().st_mtime_ns
        for path in root.rglob("*")
    }


def test_a_database_whose_making_is_cut_short_is_made_again(tmp_path, monkeypatch):
    class Killed:
        __version__ = "of no library"

        def MlflowClient(self, address):  # noqa: N802
            Path(address.removeprefix("sqlite:///")).write_bytes(b"half a database")
            raise KeyboardInterrupt

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(connection, "mlflow", Killed)
    with pytest.raises(KeyboardInterrupt):
        MLflow(root=str(tmp_path)).open()
    assert not [path for path in tmp_path.rglob("*.db*") if path.is_file()]


@pytest.mark.parametrize("blank", [b"", b"no database" * 500])
def test_an_empty_database_that_is_broken_is_not_copied(tmp_path, monkeypatch, blank):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "xai_exp" / f"blank-{connection.mlflow().__version__}.db"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(blank)
    made = MLflow(root=str(tmp_path / "runs")).store()
    assert made.client.get_experiment(made.experiment).name == "xai_exp"
    assert made.client.get_experiment("0").name == "Default"


def test_a_clock_before_1970_is_refused_before_work_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(runs_module.time, "time", lambda: -1000.0)
    with pytest.raises(InputError, match="the clock: got a time before 1970"):
        MLflow(root=str(tmp_path)).open()
    assert not list(tmp_path.iterdir())


def test_commands_that_read_make_no_experiment(tracker):
    with pytest.raises(InputError, match="unknown experiment: got 'nope'"):
        MLflow(root=str(tracker.root), experiment="nope").open(make=False)
    assert tracker.client.get_experiment_by_name("nope") is None
