"""What a child of the warm process does: become the command that it is told to be.

Run by its path in a process that was forked where the libraries had been imported already, so that
dozens of commands do not import them again. All of `xai_exp` is imported by the command itself.
"""

import atexit
import os
import runpy
import sys


def become(told: dict) -> None:
    """Run the module, code or script that is told, in its folder and environment."""
    os.setsid()
    for number, name in ((1, "out"), (2, "err")):
        there = os.open(told[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(there, number)
        os.close(there)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    first = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [told["folder"], *filter(None, first), *told["path"]]
    sys.argv = ["", *told["arguments"]]
    try:
        if "module" in told:
            runpy.run_module(told["module"], run_name="__main__", alter_sys=True)
        elif "code" in told:
            exec(compile(told["code"], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.path[0] = os.path.dirname(told["script"])  # noqa: PTH120
            runpy.run_path(told["script"], run_name="__main__")
    finally:
        atexit._run_exitfuncs()


if "TOLD" in globals():  # put there by `runpy.run_path`
    become(globals()["TOLD"])
