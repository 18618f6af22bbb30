"""The command line: `python -m xai_exp dataset=counting explainer=lrp`.

Imports nothing heavy, so that --help and every error of the command line answer at once.
"""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from xai_exp import cli, errors
from xai_exp.config import config_folder
from xai_exp.show import progress


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
def experiment(config: DictConfig) -> float | list[float] | None:
    """One experiment as composed by Hydra; the value that a sweep optimises."""
    from xai_exp import build, pipeline

    try:
        return pipeline.run(build.experiment(config))
    except Exception as error:
        # Alone, a job ends here with its one line; in a sweep Hydra adds which job it was.
        if HydraConfig.get().mode == RunMode.RUN:
            _exit(error)
        raise


def _exit(error: Exception) -> None:
    """Leave with one line if the error is of the user's making."""
    line = errors.one_line(error, config_folder(), sys.argv[1:])
    if line is not None:
        sys.exit(f"error: {line}")


def main() -> None:
    """Run the experiment; what the user got wrong becomes one line and exit code 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Read when torch is loaded. Threads that wait actively take the processor from the very thread
    # they wait for when anything else runs on the machine: training then falls to a fourth.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        if not cli.main(sys.argv[1:]):
            experiment()
    except KeyboardInterrupt:
        sys.exit("interrupted; finished runs are kept and the same command goes on from here")
    except Exception as error:
        _exit(error)
        raise
    finally:
        progress.stop()


if __name__ == "__main__":
    main()
