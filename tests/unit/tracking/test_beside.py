"""Trackers beside MLflow keep what a run was and its scores, each once."""

import numpy as np
import pandas as pd
from torch import nn, zeros

from xai_exp.tracking import Record, Tracker
from xai_exp.tracking.beside import Csv


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
