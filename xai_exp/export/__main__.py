"""`python -m xai_exp.export` is `python -m xai_exp export`, of a dataset."""

import sys

from xai_exp import errors
from xai_exp.config import config_folder
from xai_exp.export import export

if __name__ == "__main__":
    try:
        export(sys.argv[1:])
    except Exception as error:
        line = errors.one_line(error, config_folder(), sys.argv[1:])
        if line is None:
            raise
        sys.exit(f"error: {line}")
