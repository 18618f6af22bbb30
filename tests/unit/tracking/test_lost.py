"""A store whose database is cut, overwritten or emptied is not called whole."""

import sqlite3
from contextlib import closing

import pytest

from xai_exp.config import InputError
from xai_exp.tracking.doctor import faults


def _store(root, runs):
    """Files of two runs, and a database of so many that is larger than a page."""
    for name in "ab":
        (root / "artifacts" / name).mkdir(parents=True)
    path = root / "mlflow.db"
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, words TEXT)")
        rows = [(f"{n:032x}", "x" * 400) for n in range(runs)]
        made.executemany("INSERT INTO runs VALUES (?, ?)", rows)
    return path


def _cut(path):
    path.write_bytes(path.read_bytes()[:-8192])


def _overwritten(path):
    data = bytearray(path.read_bytes())
    data[8192:12288] = b"\x5a" * 4096
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [_cut, _overwritten])
def test_a_damaged_database_is_refused_by_name(tmp_path, harm):
    harm(_store(tmp_path, runs=100))
    with pytest.raises(InputError, match=r"mlflow\.db: got a damaged database"):
        list(faults(tmp_path, "xai_exp"))


@pytest.mark.parametrize("lost", ["rows", "content", "file"])
def test_files_of_runs_that_no_database_knows_are_told(tmp_path, lost):
    path = _store(tmp_path, runs=0)
    if lost == "content":
        path.write_bytes(b"")
    if lost == "file":
        path.unlink()
    with pytest.raises(InputError, match="no run in it and the files of 2 beside it"):
        list(faults(tmp_path, "xai_exp"))


def test_an_empty_folder_has_no_fault(tmp_path):
    assert list(faults(tmp_path, "xai_exp")) == []
