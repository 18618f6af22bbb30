"""Trackers beside MLflow keep what a run was and its scores, each once."""

import struct

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from torch import nn, zeros

from xai_exp.config import InputError
from xai_exp.tracking import Record, Tracker
from xai_exp.tracking.beside import Csv, TensorBoard, WandB, once


def test_runs_are_kept_as_csv_and_each_once(tmp_path):
    tracker = Csv(root=str(tmp_path / "csv")).open()
    assert isinstance(tracker, Tracker)
    scores = pd.DataFrame({"image": [0, 1], "metric": ["m", "m"], "score": [0.25, float("nan")]})
    record = Record(
        key="k1",
        name="lrp, n 2",
        tags={"explainer": "lrp", "study": None},
        params={"model": {"depth": 4}},
        metrics={"m": {"mean": 0.25, "low": 0.1}, "accuracy": 0.9},
    )
    for _ in range(2):
        history = [{"epoch": 1, "loss": 0.5}]
        example = zeros(2, 1, 4, 4)
        link = tracker.record_training(
            record, network=nn.Identity(), example=example, history=history
        )
        run = tracker.record_explanation(
            record, link=link, heatmaps={"heatmaps": np.zeros((2, 4, 4))}, scores=scores
        )
    assert run == "k1"
    rows = pd.read_csv(tmp_path / "csv" / "runs.csv")
    mine = rows[rows["type"] == "explain"]
    facts = {(what, name): value for what, name, value in mine.to_numpy()[:, 2:]}
    assert facts["name", "name"] == "lrp, n 2"
    assert facts["param", "model.depth"] == "4"
    assert facts["metric", "m"] == "0.25"
    assert facts["metric", "m.low"] == "0.1"
    assert ("tag", "study") not in facts
    assert not mine.duplicated().any()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "csv" / "scores-k1.csv"), scores)
    assert (tmp_path / "csv" / "history-k1.csv").is_file()
    assert tracker.explained("k1") is None


SCORES = pd.DataFrame({"image": [0, 1], "metric": ["m", "m"], "score": [0.25, 0.75]})
RECORD = Record(
    key="0123456789abcdef",
    name="lrp, n 2",
    tags={"explainer": "lrp", "study": None},
    params={"model": {"depth": 4}},
    metrics={"m": {"mean": 0.5, "low": 0.25}, "lost": float("nan")},
    figures={"gallery": Figure},
    note="what it says",
)


def written_twice(tracker):
    """The same network, explanation and report, as two commands leave them."""
    assert isinstance(tracker, Tracker)
    for _ in range(2):
        history = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
        link = tracker.record_training(
            RECORD, network=nn.Identity(), example=zeros(2, 1, 4, 4), history=history
        )
        maps = {"heatmaps": np.zeros((2, 4, 4))}
        run = tracker.record_explanation(RECORD, link=link, heatmaps=maps, scores=SCORES)
        tracker.record_report(RECORD, pages={"report": "<p>page</p>"}, tables={"scores": SCORES})
    assert run == RECORD.key
    assert tracker.explained(RECORD.key) is None


def test_tensorboard_has_scalars_histograms_pictures_and_texts_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoard(root=str(tmp_path)).open()
    half = tmp_path / "train-0123456789ab"
    half.mkdir()
    (half / "events.out.tfevents.0.killed").write_bytes(b"half a run")
    written_twice(tracker)
    assert str(tmp_path) in tracker.ui_command()
    found = {path.name.split("-")[0]: path for path in tmp_path.glob("*-0123456789ab")}
    assert set(found) == {"train", "explain", "report"}
    assert all(len(list(path.iterdir())) == 1 for path in found.values())
    read = {name: EventAccumulator(str(path)).Reload() for name, path in found.items()}
    assert [(e.step, e.value) for e in read["train"].Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    explained = read["explain"]
    assert set(explained.Tags()["scalars"]) == {"m", "m.low"}
    assert explained.Scalars("m.low")[0].value == 0.25
    assert explained.Histograms("scores/m")[0].histogram_value.num == 2
    assert explained.Tags()["images"] == ["gallery"]
    text = b"".join(
        one.string_val[0]
        for one in (
            explained.Tensors("configuration/text_summary")[0].tensor_proto,
            explained.Tensors("run/text_summary")[0].tensor_proto,
        )
    ).decode()
    assert "| model.depth | 4 |" in text
    assert "| explainer | lrp |" in text
    assert "study" not in text
    assert "what it says" in text


def records(path):
    """The records of wandb's file: a log of LevelDB, in blocks of 32 KiB, of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    data, at, part, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            one = wandb_internal_pb2.Record()
            one.ParseFromString(part)
            found.append(one)
            part = b""
    return found


def test_wandb_has_history_tables_pages_and_pictures_once_without_a_network(tmp_path):
    tracker = WandB(root=str(tmp_path)).open()
    half = tmp_path / "wandb" / "offline-run-20200101_000000-train-0123456789ab"
    half.mkdir(parents=True)
    written_twice(tracker)
    assert "wandb sync" in tracker.ui_command()
    assert WandB(root=str(tmp_path), mode="online").open().ui_command() == ""
    folders = {path.name.split("-")[3]: path for path in (tmp_path / "wandb").glob("offline-run-*")}
    assert set(folders) == {"train", "explain", "report"}
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 3
    found = {name: records(*path.glob("*.wandb")) for name, path in folders.items()}
    run = next(one.run for one in found["explain"] if one.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name, run.notes) == ("xai_exp", "lrp, n 2", "what it says")
    config = {one.key: one.value_json for one in run.config.update}
    assert config["model.depth"] == '"4"'
    assert "study" not in config
    rows = [one.history for one in found["train"] if one.WhichOneof("record_type") == "history"]
    told = [{(i.key or i.nested_key[0]): i.value_json for i in row.item} for row in rows]
    assert [row["loss"] for row in told if "loss" in row] == ["0.5", "0.25"]
    files = [path.name for path in folders["report"].rglob("*") if path.is_file()]
    assert any(name.startswith("gallery") and name.endswith(".png") for name in files)
    assert any(name.startswith("report") and name.endswith(".html") for name in files)
    assert any(name.startswith("scores") and name.endswith(".table.json") for name in files)


def test_a_library_that_is_not_there_is_answered_with_the_line_that_installs_it():
    with pytest.raises(InputError, match=r"pip install 'xai-exp\[tensorboard\]'"):
        once.library("tensorboard", "no_such_library_of_anybody")


def test_a_run_whose_writing_failed_is_written_the_next_time(tmp_path):
    def failing():
        with once.once(tmp_path, "train", "k") as new:
            assert new
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        failing()
    with once.once(tmp_path, "train", "k") as new:
        assert new
    with once.once(tmp_path, "train", "k") as new:
        assert not new


@pytest.mark.parametrize("kind", [Csv, TensorBoard, WandB])
def test_a_root_that_no_folder_can_be_is_found_before_work_begins(tmp_path, kind):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match="file"):
        kind(root=str(file)).open()


def test_a_project_that_wandb_would_refuse_after_training_is_refused_before():
    with pytest.raises(InputError, match=r"got 'a/b#'; allowed: a name without # /"):
        WandB(project="a/b#")
