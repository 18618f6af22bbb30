"""A job of Slurm comes to an end of its own, whatever Slurm or its accounting says."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus

from xai_exp.config import InputError
from xai_exp.sweeping import held, slurm

CONF = Path(__file__).parents[3] / "conf"


def answers(monkeypatch, **told):
    """Each program's (exit code, stdout, stderr); one that is not named is not installed."""

    def run(command, **_):
        if command[0] not in told:
            raise FileNotFoundError(command[0])
        return subprocess.CompletedProcess(command, *told[command[0]])

    monkeypatch.setattr(slurm.subprocess, "run", run)


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([(0, "CANCELLED by 0\n", "")], "CANCELLED"),
        ([(0, "OUT_OF_MEMORY\n", ""), (0, "JobState=RUNNING", "")], "OUT_OF_MEMORY"),
        ([(1, "", "disabled"), (0, "JobId=7 JobState=PENDING R", "")], "PENDING"),
        ([(0, "\n", ""), (1, "", "error: Invalid job id specified")], slurm.GONE),
        ([(1, "", "disabled"), (1, "", "Unable to contact slurm controller")], ""),
        ([], ""),
    ],
)
def test_a_state_is_asked_of_accounting_and_else_of_the_controller(monkeypatch, told, state):
    answers(monkeypatch, **dict(zip(("sacct", "scontrol"), told, strict=False)))
    assert slurm.state_of("7_1") == state


@pytest.fixture
def clock(monkeypatch):
    """Time that passes by sleeping alone."""
    now = [100.0]
    monkeypatch.setattr(slurm.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def job(folder, result=None):
    paths = SimpleNamespace(folder=folder, result_pickle=folder / "r", stderr=folder / "log")
    return SimpleNamespace(job_id="7_1", paths=paths, result=lambda: result)


def test_a_cancelled_job_is_a_failed_one_that_says_so(monkeypatch, clock, tmp_path):
    states = iter(["RUNNING", "", "RUNNING"])
    monkeypatch.setattr(slurm, "state_of", lambda _: next(states, "CANCELLED"))
    found = slurm.ended(job(tmp_path))
    assert found.status == JobStatus.FAILED
    with pytest.raises(RuntimeError, match="Slurm: job 7_1 ended as CANCELLED without a result"):
        found.return_value  # noqa: B018
    assert clock[0] < 200


def test_a_job_that_is_queued_again_is_waited_for(monkeypatch, clock, tmp_path):
    def state(_):
        if clock[0] > 200:
            (tmp_path / "r").touch()
        return "PREEMPTED" if clock[0] < 115 else "PENDING"

    monkeypatch.setattr(slurm, "state_of", state)
    done = JobReturn(status=JobStatus.COMPLETED)
    assert slurm.ended(job(tmp_path, done)) is done
    assert clock[0] > 200


def made(folder):
    """What a job of slurm_gpu runs, and its settings."""
    pytest.importorskip("submitit")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["hydra/launcher=slurm_gpu"], return_hydra_config=True)
    launcher = config.hydra.launcher
    params = {key: value for key, value in launcher.items_ex(resolve=False) if key != "_target_"}
    params["submitit_folder"] = str(folder / "jobs")
    return slurm.job(params), launcher


def test_without_slurm_a_batch_is_refused_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    job, launcher = made(tmp_path)
    assert (launcher.gpus_per_node, launcher.additional_parameters) == (1, {"requeue": True})
    with pytest.raises(InputError, match=r"got no job from Slurm .*; allowed: settings that"):
        slurm.submitted(job, [["seed=1"]], 0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_jobs_python_is_started_with_its_signals_held_back(monkeypatch, tmp_path, jobs):
    for name, does in (
        ("sbatch", f"cp $1 {tmp_path}/given; echo Submitted batch job 7"),
        ("srun", ""),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    slurm.submitted(made(tmp_path)[0], [[f"seed={seed}"] for seed in range(jobs)], 0)
    lines = (tmp_path / "given").read_text().splitlines()
    (words,) = (shlex.split(line) for line in lines if line.startswith("srun"))
    at = words.index(held.__file__)
    assert words[at - 2 : at] == [sys.executable, "-IS"]
    assert words[at + 1 : at + 5] == [sys.executable, "-u", "-m", "submitit.core._submit"]


IMPORTING = """
import signal, sys
print("imports", flush=True)
sys.stdin.readline()
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(7))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGUSR2])
sys.exit(1)
"""


@pytest.mark.parametrize(
    ("start", "code"), [([], -15), ([sys.executable, "-IS", held.__file__], 7)]
)
def test_a_signal_that_comes_while_a_job_imports_waits_for_its_handler(start, code):
    words = [*start, sys.executable, "-c", IMPORTING]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as process:
        assert process.stdout.readline() == "imports\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGUSR2)
        process.communicate("go on\n")
    assert process.returncode == code


def test_a_preempted_job_ends_before_its_function_begins():
    begun = []

    def answered(*_):
        raise SystemExit(7)

    known = signal.signal(signal.SIGUSR2, answered)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held.held())
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)  # no other thread takes it
        with pytest.raises(SystemExit):
            slurm.Listening(begun.append)("config")
        assert not begun
        slurm.Listening(begun.append)("config")
        assert begun == ["config"]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGUSR2, known)


def test_a_clusters_own_signal_is_held_back(monkeypatch):
    monkeypatch.setenv("SUBMITIT_PREEMPT_SIGNAL", "USR1")
    assert held.held() == {signal.SIGTERM, signal.SIGUSR1}
