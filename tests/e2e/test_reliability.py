"""`make fuzz` in short; `make chaos` takes minutes, what it compares by is looked at here."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]


def test_odd_command_lines_and_damaged_files_end_well_or_with_one_line(tmp_path, begun):
    told = tmp_path / "fuzz.json"
    amount = ["--lines", "6", "--files", "2", "--out", str(told)]
    process = begun(ROOT, *amount, module="scripts.reliability.fuzz")
    out, err = process.communicate()
    assert process.returncode == 0, out[-3000:] + err[-3000:]
    found = json.loads(told.read_text())
    assert (found["lines"]["tried"], found["files"]["tried"]) == (6, 2)
    assert found["lines"]["ended"]["one line"] >= 1


def test_what_chaos_compares_by_sees_the_last_bit_of_a_weight_and_runs_left_behind(tmp_path):
    sys.path.insert(0, str(ROOT))
    from scripts.reliability.chaos import state

    weights = tmp_path / "mlruns" / "models" / "k" / "model.pt"
    weights.parent.mkdir(parents=True)
    torch.save({"w": torch.ones(3)}, weights)
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as there:
        there.execute("CREATE TABLE runs (run_uuid, status, artifact_uri, lifecycle_stage)")
        there.execute("CREATE TABLE tags (key, value, run_uuid)")
        there.execute("CREATE TABLE logged_models (status, lifecycle_stage)")
        there.execute("INSERT INTO runs VALUES ('r', 'FINISHED', '/nowhere', 'active')")
        there.execute("INSERT INTO tags VALUES ('type', 'train', 'r'), ('model_key', 'k', 'r')")
        there.commit()
        before = state(tmp_path)
        assert before["train k"] == [["FINISHED"]]
        torch.save({"w": torch.ones(3).nextafter(torch.tensor(2.0))}, weights)
        assert {k for k, v in state(tmp_path).items() if v != before[k]} == {"weights k"}
        there.execute("UPDATE runs SET status = 'RUNNING'")
        there.execute("INSERT INTO logged_models VALUES (1, 'active')")
        there.commit()
    changed = {k for k, v in state(tmp_path).items() if v != before[k]}
    assert changed == {"weights k", "train k", "pending models"}
