"""`python -m xai_exp.check` is `python -m xai_exp check`."""

import sys

from xai_exp.check import check

if __name__ == "__main__":
    sys.exit(check(sys.argv[1:]))
