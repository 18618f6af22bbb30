"""A real sweep from proposals to the stability report, on digits."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest

from xai_exp.models.cnn import CNN
from xai_exp.tracking import MLflow

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.slow


def test_a_sweep_needs_no_m_and_ends_with_a_stability_report(
    tmp_path: Path, run_module: Run
) -> None:
    small = ["dataset=digits", "trainer=quick", "images=6", "metric=sparseness"]
    words = [
        "sweep=seeds",
        "seed=0,1,2",
        "explainer=[gradient,input_x_gradient]",
        "least_accuracy=0.5",
    ]
    done = run_module(tmp_path, "xai_exp", *words, *small)
    study = optuna.load_study(
        study_name="seeds-digits", storage=f"sqlite:///{tmp_path}/mlruns/optuna.db"
    )
    assert [trial.params["seed"] for trial in study.trials] == [0, 1, 2]
    (table,) = (tmp_path / "mlruns" / "artifacts").rglob("similarity.parquet")
    found = pd.read_parquet(table)
    assert set(found["explainer"]) == {"gradient", "input_x_gradient"}
    assert set(found["kind"]) == {"other seed", "other images", "random"}
    for name in ("similarity.png", "side_by_side.png", "accuracy.png"):
        assert table.with_name(name).stat().st_size > 5_000
    assert "How stable are heatmaps? seeds-digits" in table.with_name("stability.html").read_text()
    assert "report run" in done.stdout
    runs = MLflow(root=str(tmp_path / "mlruns")).open().kept()
    assert {(one.tags["explainer"], one.tags["study.seeds-digits"]) for one in runs} == {
        (name, trial) for name in ("gradient", "input_x_gradient") for trial in ("0", "1", "2")
    }


def test_two_objectives_end_in_a_front_of_networks(tmp_path: Path, run_module: Run) -> None:
    name = "architectures_small_and_accurate"
    same = {
        "depth": 2,
        "kernel": 3,
        "head": "gap",
        "norm": "batch",
        "activation": "relu",
        "pooling": "max",
    }
    fixed = [f"model.{key}={value}" for key, value in same.items()]
    small = ["dataset=digits", "trainer=quick", "images=4", "metric=sparseness"]
    words = [f"sweep={name}", "explainer=gradient", "hydra.sweeper.trials=3"]
    varied = ["model.width=2,16,32", "model.dropout=0"]
    done = run_module(tmp_path, "xai_exp", *words, *fixed, *varied, *small)
    study = optuna.load_study(
        study_name=f"{name}-digits", storage=f"sqlite:///{tmp_path}/mlruns/optuna.db"
    )
    found = {t.params["model.width"]: t for t in study.trials if t.values is not None}
    assert set(found) == {2, 16, 32}
    for width, trial in found.items():
        network = CNN(width=width, dropout=0.0, **same).build(1, (8, 8), 10)
        assert trial.values[1] == sum(p.numel() for p in network.parameters())
    front = study.best_trials
    assert found[2].number in {trial.number for trial in front}
    best = max(trial.values[0] for trial in found.values())
    assert 0.3 < best == max(trial.values[0] for trial in front)
    assert all(f"best: trial {trial.number} " in done.stderr for trial in front)
