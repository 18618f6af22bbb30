"""Locks say for whom one waits."""

import os
import threading

from xai_exp import files


def test_who_waits_for_a_lock_is_told_for_whom(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "_PATIENCE", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold():
        with files.locked(tmp_path / "lock", "writes pages"):
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(20)
    threading.Timer(0.3, done.set).start()
    with files.locked(tmp_path / "lock", "writes pages"):
        pass
    holder.join()
    (line,) = [one.getMessage() for one in caplog.records]
    assert line.startswith(f"process {os.getpid()} on ")
    assert line.endswith(" writes pages: waiting for it")
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
