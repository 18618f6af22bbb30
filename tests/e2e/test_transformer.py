"""A transformer is explained by what suits it; what does not is skipped with a line."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def xai_exp(folder: Path, *arguments: str) -> str:
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "400"}
    small = ["dataset=digits", "trainer=quick", "images=8", "metric=sparseness"]
    done = subprocess.run(
        [sys.executable, "-m", "xai_exp", *small, *arguments],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_methods_that_can_not_explain_a_network_are_skipped_with_a_line(tmp_path: Path) -> None:
    names = "explainer=[lrp,attn_lrp,attention_rollout]"
    printed = xai_exp(tmp_path, "model=vit", "model.depth=1", names)
    assert "explainer lrp is skipped: layer blocks.0.attend.0 (LayerNorm)" in printed
    assert "attn_lrp is skipped" not in printed
    printed = xai_exp(tmp_path, "model=mlp", "model.width=16", names)
    assert "explainer attention_rollout is skipped: " in printed
    assert "got a network without attention" in printed
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        rows = database.execute(
            "select t.value, m.key from metrics m join tags t using (run_uuid) where "
            "t.key = 'explainer' and m.key like 'guard/%'"
        ).fetchall()
    assert {name for name, _ in rows} == {"lrp", "attn_lrp"}
    assert ("attn_lrp", "guard/conservation_error/05 head") in rows
    assert ("lrp", "guard/distance_to_input_x_gradient") in rows
