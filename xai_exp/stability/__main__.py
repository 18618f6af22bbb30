"""`python -m xai_exp.stability` is `python -m xai_exp stability`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv.insert(1, "stability")
    runpy.run_module("xai_exp", run_name="__main__")
