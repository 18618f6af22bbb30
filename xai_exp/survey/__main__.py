"""`python -m xai_exp.survey` is `python -m xai_exp survey`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "survey")
    runpy.run_module("xai_exp", run_name="__main__")
