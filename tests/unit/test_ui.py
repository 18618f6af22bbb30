"""`python -m xai_exp.ui` from outside the repository."""

import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest

from xai_exp.config import InputError
from xai_exp.tracking import MLflow, Record
from xai_exp.ui import free_port, main


def test_no_runs_yet_is_one_line(tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["--root", str(tmp_path / "mlruns")])
    assert str(caught.value).startswith("error: no runs yet: there is no ")
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_left_alone():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InputError, match=f"--port: got {taken}, which can't be used"):
            free_port(taken)
    assert free_port() > 0


@pytest.mark.slow
def test_the_pages_are_served_until_the_user_interrupts(tmp_path):
    tracker = MLflow(root=str(tmp_path / "runs")).open()
    run = tracker.record_report(Record(key="k", name="n"), pages={}, tables={})
    command = [sys.executable, "-m", "xai_exp.ui", run[:8], "--root", "runs"]
    command += ["--port", str(free_port())]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        assert address == tracker.address([run], address.partition("/#")[0])
        with urlopen(address.partition("#")[0], timeout=300) as page:
            assert b"MLflow" in page.read()
    finally:
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert said.endswith("stopped\n")
    with pytest.raises(OSError, match="refused"):
        urlopen(address.partition("#")[0], timeout=5)
