"""`python -m xai_exp.check` is `python -m xai_exp check`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "check")
    runpy.run_module("xai_exp", run_name="__main__")
