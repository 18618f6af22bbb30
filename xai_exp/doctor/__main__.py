"""`python -m xai_exp.doctor` is `python -m xai_exp doctor`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "doctor")
    runpy.run_module("xai_exp", run_name="__main__")
