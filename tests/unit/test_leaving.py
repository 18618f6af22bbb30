"""A command ends at once, and nothing that was to be done at its end is left out."""

import subprocess
import sys

import pytest

OWN = ["python", "-W", "ignore", "-m", "xai_exp", "-m", "seed=1,2"]
CODE = """
import atexit, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from xai_exp import __main__ as commands

class Last:
    def __del__(self, write=os.write):
        write(1, b"taken apart ")

last = Last()
pool = ThreadPoolExecutor(1)

def main():
    atexit.register(print, "registered", end=" ")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread", end=" "))).start()
    pool.submit(lambda: print("executor", end=" ")).result()
    {end}

commands.main = main
sys.orig_argv = {started}
commands.command()
"""


def ended(end, started=OWN):
    code = CODE.format(end=end, started=started)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    return found.returncode, found.stdout, found.stderr


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("return", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(143)", 143, ""),
        ("sys.exit('error: a line')", 1, "error: a line\n"),
    ],
)
def test_threads_and_what_was_registered_come_first(end, code, told):
    assert ended(end) == (code, "executor thread registered ", told)


def test_a_fault_is_told_as_python_tells_it():
    code, _, told = ended("raise ValueError('new')")
    assert code == 1
    assert told.startswith("Traceback")
    assert told.endswith("ValueError: new\n")


@pytest.mark.parametrize(
    "started",
    [
        ["python", "-m", "cProfile", "-m", "xai_exp"],
        ["python", "-m", "ipykernel_launcher"],
        ["python", "-c", "a script that calls it"],
        ["python"],
    ],
)
def test_in_anothers_process_it_ends_as_anything_else(started):
    """`%run -m xai_exp` must leave a notebook alive, and a profiler writes what it has seen."""
    code, out, _ = ended("sys.exit(3)", started)
    assert code == 3
    assert "registered" in out
    assert "taken apart" in out


@pytest.mark.parametrize(
    "started",
    [OWN, ["python", "-m", "xai_exp.report"], ["python", "/somewhere/bin/xai-exp", "-m", "seed=1"]],
)
def test_a_process_of_its_own_is_not_taken_apart(started):
    assert "taken apart" not in ended("return", started)[1]
