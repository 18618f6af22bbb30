"""A real sweep from proposals to the stability report, on digits."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest

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
    study = optuna.load_study(study_name="seeds", storage=f"sqlite:///{tmp_path}/mlruns/optuna.db")
    assert [trial.params["seed"] for trial in study.trials] == [0, 1, 2]
    (table,) = (tmp_path / "mlruns" / "artifacts").rglob("similarity.parquet")
    found = pd.read_parquet(table)
    assert set(found["explainer"]) == {"gradient", "input_x_gradient"}
    assert set(found["kind"]) == {"other seed", "other images", "random"}
    for name in ("similarity.png", "side_by_side.png", "accuracy.png"):
        assert table.with_name(name).stat().st_size > 5_000
    assert "report run" in done.stdout
