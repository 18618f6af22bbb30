"""`python -m xai_exp.view` is `python -m xai_exp view`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "view")
    runpy.run_module("xai_exp", run_name="__main__")
