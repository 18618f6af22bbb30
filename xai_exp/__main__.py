"""The command line: `python -m xai_exp dataset=counting explainer=lrp`.

Imports nothing heavy, so that --help and every error of the command line answer at once.
"""

import os
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from xai_exp import errors


def config_folder() -> Path:
    """Where the YAML files are: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "conf"
    return checkout if (checkout / "config.yaml").is_file() else package / "conf"


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
def experiment(config: DictConfig) -> float | None:
    """One experiment as composed by Hydra; the value that a sweep optimises."""
    from xai_exp import pipeline

    return pipeline.run(config)


def main() -> None:
    """Run the experiment; what the user got wrong becomes one line and exit code 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        experiment()
    except KeyboardInterrupt:
        sys.exit("interrupted; finished runs are kept and the same command goes on from here")
    except Exception as error:
        line = errors.one_line(error, config_folder(), sys.argv[1:])
        if line is None:
            raise
        sys.exit(f"error: {line}")


if __name__ == "__main__":
    main()
