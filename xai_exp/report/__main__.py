"""`python -m xai_exp.report` is `python -m xai_exp report`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "report")
    runpy.run_module("xai_exp", run_name="__main__")
