"""What a child of the warm process does: become the command that it is told to be.

Run by its path in a process that was forked where the libraries had been imported already, so that
dozens of commands do not import them again. All of `xai_exp` is imported by the command itself.
"""

import atexit
import os
import runpy
import sys

TOLD: dict = globals()["TOLD"]  # put there by `runpy.run_path`

os.setsid()
for number, name in ((1, "out"), (2, "err")):
    there = os.open(TOLD[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(there, number)
    os.close(there)
os.chdir(TOLD["folder"])
os.environ.clear()
os.environ.update(TOLD["environment"])
first = os.environ.get("PYTHONPATH", "").split(os.pathsep)
sys.path[:] = [TOLD["folder"], *filter(None, first), *TOLD["path"]]
sys.argv = ["", *TOLD["arguments"]]
try:
    if "module" in TOLD:
        runpy.run_module(TOLD["module"], run_name="__main__", alter_sys=True)
    elif "code" in TOLD:
        exec(compile(TOLD["code"], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path[0] = os.path.dirname(TOLD["script"])  # noqa: PTH120
        runpy.run_path(TOLD["script"], run_name="__main__")
finally:
    atexit._run_exitfuncs()
