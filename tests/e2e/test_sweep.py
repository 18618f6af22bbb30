"""A real sweep from proposals to the stability report, on digits."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def test_a_sweep_needs_no_m_and_ends_with_a_stability_report(tmp_path: Path) -> None:
    small = ["dataset=digits", "trainer=quick", "images=6", "metric=sparseness"]
    words = [
        "sweep=seeds",
        "seed=0,1,2",
        "explainer=[gradient,input_x_gradient]",
        "hydra.callbacks.stability.least_accuracy=0.5",
    ]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-m", "xai_exp", *words, *small],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    study = optuna.load_study(study_name="seeds", storage=f"sqlite:///{tmp_path}/mlruns/optuna.db")
    assert [trial.params["seed"] for trial in study.trials] == [0, 1, 2]
    (table,) = (tmp_path / "mlruns" / "artifacts").rglob("similarity.parquet")
    found = pd.read_parquet(table)
    assert set(found["explainer"]) == {"gradient", "input_x_gradient"}
    assert set(found["kind"]) == {"other seed", "other images", "random"}
    for name in ("similarity.png", "side_by_side.png", "accuracy.png"):
        assert table.with_name(name).stat().st_size > 5_000
    assert "report run" in done.stdout
