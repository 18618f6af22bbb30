"""`python -m xai_exp.sync` is `python -m xai_exp sync`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "sync")
    runpy.run_module("xai_exp", run_name="__main__")
