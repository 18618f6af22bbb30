"""SIGTERM ends a command in order, whoever catches what it raises."""

import signal
import subprocess
import sys

import pytest

COMMAND = """
import os, signal, sys, time
from xai_exp import __main__ as program, cli

def work(_):
    {work}
    return True

cli.main = work
sys.argv[1:] = []
program.main()
"""
SENT = "os.kill(os.getpid(), signal.SIGTERM)"
SWALLOWED = f"""
    try:
        {SENT}
        time.sleep(9)
    except BaseException:
        print("swallowed", flush=True)
    time.sleep(9)
    print("went on")"""
DESTROYED = f"""
    class Thing:
        def __del__(self):
            {SENT}
            time.sleep(0.1)
    Thing()
    time.sleep(9)
    print("went on")"""
CLEANED = f"""
    try:
        {SENT}
        time.sleep(9)
    finally:
        time.sleep(2.5)
        try:
            raise KeyError
        except KeyError:
            {SENT}
            time.sleep(1.5)
        print("cleaned", flush=True)"""


def ran(work: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-c", COMMAND.format(work=work)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("work", "said"), [(SWALLOWED, "swallowed\n"), (DESTROYED, ""), (CLEANED, "cleaned\n")]
)
def test_an_end_that_is_swallowed_is_asked_for_again_and_one_under_way_is_not(work, said):
    done = ran(work)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, said)
    assert "Traceback" not in done.stderr or "Exception ignored" in done.stderr


def test_a_command_that_ends_leaves_no_clock_behind():
    done = ran(f"""
    try:
        {SENT}
    except BaseException:
        pass""")
    assert (done.returncode, done.stderr) == (0, "")
