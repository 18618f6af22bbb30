"""What goes wrong around a run: exit codes that can be believed, files that are whole."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("dataset=digits", "explainer=gradient", "metric=sparseness", "images=4"),
    *("trainer.max_epochs=1", "model.width=2", "model.depth=1", "model.hidden=4"),
    "tracking.figures=false",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def started(folder, *arguments, **keys):
    command = [sys.executable, "-m", "xai_exp", *arguments]
    keys = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | keys
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, **keys)


def ended(folder, *arguments, **keys):
    process = started(folder, *arguments, **keys)
    said, errors = process.communicate(timeout=300)
    return process.returncode, said, errors


@pytest.fixture(scope="module")
def store(tmp_path_factory, run_module):
    """A folder with one finished experiment."""
    folder = tmp_path_factory.mktemp("store")
    run_module(folder, "xai_exp", *TINY)
    return folder


@pytest.fixture
def copied(store, tmp_path):
    shutil.copytree(store, tmp_path / "copy")
    return tmp_path / "copy"


REPORT = "+hydra.callbacks.report={_target_: xai_exp.studies.callbacks.Report, title: x}"


def test_a_study_whose_page_cannot_be_written_does_not_end_as_if_all_were_well(
    tmp_path, run_module
):
    (tmp_path / "reports").write_text("a file")
    errors = run_module(tmp_path, "xai_exp", *TINY, REPORT, "study=mine", code=1).stderr
    assert errors.splitlines()[-1].startswith("error: ")
    assert "reports" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_what_a_callback_raises_is_no_warning(copied, tmp_path, run_module):
    off = [one for one in TINY if not one.startswith("tracking")] + ["tracking=off"]
    wrong = REPORT.replace("title: x", "title: 3")
    run_module(tmp_path, "xai_exp", *off, wrong)  # nothing is kept, so there is no report
    wrong = REPORT.replace("title: x", "pairs: [[3]], title: x")
    errors = run_module(copied, "xai_exp", *TINY, wrong, code=1).stderr
    assert "UserWarning" in errors or errors.startswith("error: ")


def test_a_closed_pipe_is_quiet_and_a_full_device_one_line(copied):
    there, here = os.pipe()
    os.close(there)
    code, _, errors = ended(copied, *TINY, stdout=here)
    os.close(here)
    assert (code, errors) == (128 + signal.SIGPIPE, "")
    with open("/dev/full", "w") as full:  # noqa: PTH123
        code, _, errors = ended(copied, *TINY, stdout=full)
    assert code == 1
    assert errors.startswith("error: standard output: No space left on device; allowed: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_in_order_with_its_own_code(tmp_path, sent, code):
    process = started(tmp_path, *TINY, "trainer.max_epochs=100000", "trainer.target_accuracy=1")
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(sent)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == code, said + errors
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob(".*.part"))


def children(pid):
    """The processes that a process has started."""
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in told]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "to", "code", "said"),
    [
        (signal.SIGINT, "parent", 130, "interrupted; finished runs are kept"),
        (signal.SIGKILL, "child", 1, "error: training: got an end of process 2 of 2 by SIGKILL"),
    ],
)
def test_a_training_on_two_processes_ends_whole(tmp_path, sent, to, code, said):
    long = ("trainer.max_epochs=100000", "trainer.target_accuracy=1", "tracking=off")
    process = started(tmp_path, *TINY[:-1], "trainer=ddp", *long)
    deadline = time.monotonic() + 240
    while not list(tmp_path.rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    both = sorted(children(process.pid))
    assert len(both) == 2
    os.kill(process.pid if to == "parent" else both[1], sent)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code, errors
    assert errors.splitlines()[-1].startswith(said)
    assert "Traceback" not in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in both)
    assert not list(tmp_path.rglob(".*.part"))
    assert list(tmp_path.rglob("last.ckpt"))
