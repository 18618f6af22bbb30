"""`python -m xai_exp.check` is `python -m xai_exp check`."""

import sys

from xai_exp import cli

if __name__ == "__main__":
    cli.main(["check", *sys.argv[1:]])
