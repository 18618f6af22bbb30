"""The main job from pixels to MLflow, as a user runs it, on few images."""

import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
METHODS = ["dataset=counting", "explainer=[lrp,exact_mask]"]
SMALL = ["dataset.count=2000", "trainer=quick", "trainer.samples=4000", "images=12"]

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.slow


def runs(folder: Path) -> pd.DataFrame:
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as database:
        tags = pd.read_sql("select run_uuid, key, value from tags", database)
        status = pd.read_sql("select run_uuid, status from runs", database)
    wide = tags.pivot_table(index="run_uuid", columns="key", values="value", aggfunc="first")
    return wide.join(status.set_index("run_uuid"))


def artifact(folder: Path, name: str) -> Path:
    found = sorted((folder / "mlruns" / "artifacts").rglob(name))
    assert found, f"no {name} among the artifacts"
    return found[0]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, run_module: Run) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("main_job")
    return folder, run_module(folder, "xai_exp", *METHODS, *SMALL).stdout


def test_the_table_and_the_way_to_the_runs_are_printed(done: tuple[Path, str]) -> None:
    _, printed = done
    for word in ("lrp", "exact_mask", "relevance mass", "test accuracy", "see these runs:"):
        assert word in printed


def test_one_train_run_and_one_explain_run_for_each_explainer(done: tuple[Path, str]) -> None:
    table = runs(done[0])
    assert (table["status"] == "FINISHED").all()
    assert table["type"].value_counts().to_dict() == {"explain": 2, "train": 1, "report": 1}
    assert table["model_key"].nunique() == 1
    assert set(table["explainer"].dropna()) == {"lrp", "exact_mask"}
    assert "mlflow.parentRunId" not in table


def test_heatmaps_scores_and_pictures_are_kept(done: tuple[Path, str]) -> None:
    folder, _ = done
    heatmaps = np.load(artifact(folder, "heatmaps.npz"))["heatmaps"]
    assert heatmaps.shape == (12, 64, 64)
    assert np.isfinite(heatmaps).all()
    scores = pd.read_parquet(artifact(folder, "scores.parquet"))
    assert set(scores.columns) >= {"image", "label", "target", "metric", "score", "reason"}
    assert (scores["reason"] == "").eq(scores["score"].notna()).all()
    for name in ("gallery.png", "learning.png"):
        assert artifact(folder, name).stat().st_size > 10_000


def test_the_exact_mask_points_at_an_object_in_every_image(done: tuple[Path, str]) -> None:
    explained = runs(done[0]).query("type == 'explain' and explainer == 'exact_mask'").index[0]
    folder = done[0] / "mlruns" / "artifacts" / explained / "artifacts"
    scores = pd.read_parquet(folder / "scores.parquet")
    hits = scores.loc[scores["metric"] == "pointing_game"]
    empty = hits["label"] == 0
    assert (hits.loc[~empty, "score"] == 1).all()
    assert hits.loc[empty, "score"].isna().all()
    assert (hits.loc[empty, "reason"] != "").all()


def test_a_second_run_trains_nothing_and_records_nothing(
    done: tuple[Path, str], run_module: Run
) -> None:
    folder, first = done
    before = runs(folder)
    printed = run_module(folder, "xai_exp", *METHODS, *SMALL).stdout
    assert "found trained" in printed
    assert len(runs(folder)) == len(before)
    row = next(line for line in first.splitlines() if "lrp" in line and "│" in line)
    assert row in printed


def test_a_multirun_trains_each_model_once(tmp_path: Path, run_module: Run) -> None:
    small = ["dataset=digits", "trainer=quick", "images=8", "metric=sparseness"]
    run_module(tmp_path, "xai_exp", "-m", "explainer=lrp,gradient,deconvnet", "seed=0,1", *small)
    table = runs(tmp_path)
    assert table["type"].value_counts().to_dict() == {"explain": 6, "train": 2}
    results = list((tmp_path / "mlruns" / "models").glob("*/result.json"))
    assert len(results) == 2
    assert all(json.loads(path.read_text())["accuracy"] > 0.8 for path in results)


def test_without_tracking_mlflow_is_never_imported(tmp_path: Path, run_module: Run) -> None:
    (tmp_path / "mlflow.py").write_text("raise ImportError('imported')")
    small = ["dataset=digits", "trainer=quick", "images=8", "metric=sparseness", "tracking=off"]
    run_module(tmp_path, "xai_exp", *small, path=f"{tmp_path}:{ROOT}", cold=True)
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()


def test_the_wheel_works_outside_of_the_repository(tmp_path: Path, run_module: Run) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    small = ["dataset=digits", "trainer=quick", "images=8", "metric=sparseness", "tracking=off"]
    done = run_module(tmp_path, "xai_exp", *small, path=tmp_path / "site", cold=True)
    assert "test accuracy" in done.stdout


def test_metrics_are_graded_against_exact_truth_and_graded_again_without_work(
    tmp_path: Path, run_module: Run
) -> None:
    few = ["explainer=[exact_mask,gradient,sobel,random]", "seed=0", "images=6", "least_accuracy=0"]
    few += ["value=centred", "reference=black", "hydra.callbacks.report.grains=[]"]
    metrics = "metric=[relevance_mass,sparseness,part_shapley]"
    truth = ["hydra.callbacks.report.truth=part_shapley", "hydra.callbacks.report.truths=[]"]
    study = ["experiment=metric_validity", *few, metrics, *truth, *SMALL[:3]]
    printed = run_module(tmp_path, "xai_exp", *study).stdout
    assert "validity" in printed
    graded = artifact(tmp_path, "validity.parquet")
    first = pd.read_parquet(graded).set_index("metric")
    kept = pd.read_parquet(graded.with_name("scores.parquet"))
    assert {"relevance_mass", "sparseness"} == set(first.index)
    by = kept[kept["metric"].isin(["relevance_mass", "part_shapley"])]
    wide = by.pivot_table(index=["image", "explainer"], columns="metric", values="score")
    wide["part_shapley"] *= -1
    rhos = [
        rows.corr("spearman").iloc[0, 1]
        for _, rows in wide.dropna().groupby("image")
        if len(rows) >= 3
    ]
    assert first.loc["relevance_mass", "within"] == pytest.approx(np.mean(rhos))
    before = len(runs(tmp_path))
    assert "found trained" in run_module(tmp_path, "xai_exp", *study).stdout
    assert len(runs(tmp_path)) == before
