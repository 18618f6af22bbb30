"""A transformer is explained by what suits it; what does not is skipped with a line."""

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.slow


def test_methods_that_can_not_explain_a_network_are_skipped_with_a_line(
    tmp_path: Path, run_module: Run
) -> None:
    small = ["dataset=digits", "trainer=quick", "images=8", "metric=sparseness"]
    names = "explainer=[lrp,rap,attn_lrp,attention_rollout]"
    vit = ["model=vit", "model.depth=1", names]
    printed = run_module(tmp_path, "xai_exp", *small, *vit).stdout
    assert "explainer rap is skipped: layer blocks.0.attend.1 (Attention)" in printed
    assert "lrp is skipped" not in printed
    mlp = ["model=mlp", "model.width=16", names]
    printed = run_module(tmp_path, "xai_exp", *small, *mlp).stdout
    assert "explainer attention_rollout is skipped: " in printed
    assert "got a network without attention" in printed
    with sqlite3.connect(tmp_path / "mlruns" / "mlflow.db") as database:
        rows = database.execute(
            "select t.value, m.key from metrics m join tags t using (run_uuid) where "
            "t.key = 'explainer' and m.key like 'guard/%'"
        ).fetchall()
    assert {name for name, _ in rows} == {"lrp", "rap", "attn_lrp"}
    assert ("attn_lrp", "guard/conservation_error/05 head") in rows
    assert ("lrp", "guard/distance_to_input_x_gradient") in rows
