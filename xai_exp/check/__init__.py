"""Read a whole dataset before it is used: `python -m xai_exp.check dataset=image_folder ...`.

Lists what the pictures are, what will be done to their pixels, and every fault: those that a run
would refuse (exit code 1) and those that a person should know of.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from xai_exp import errors
from xai_exp.config import config_folder


def check(arguments: Sequence[str]) -> int:
    """Examine the dataset that the arguments compose; 0 if a run would take it, else 1."""
    conf = config_folder()
    try:
        return _examined(arguments, conf)
    except Exception as error:
        line = errors.one_line(error, conf, arguments)
        if line is None:
            raise
        sys.stderr.write(f"error: {line}\n")
        return 1


def _examined(arguments: Sequence[str], conf: Path) -> int:
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from xai_exp import trust

    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("config", list(arguments))

    from xai_exp.data.own import doctor

    # The data alone: whatever else an experiment has need not be right yet.
    found = doctor.examine(instantiate(trust.checked(config.dataset, "dataset"), _convert_="all"))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in found.told:
        console.print(line)
    for line in found.warned:
        console.print(f"warning: {line}")
    for line in found.refused:
        console.print(f"refused: {line}")
    faults = f"{len(found.refused)} faults that a run refuses, {len(found.warned)} warnings"
    console.print(faults if found.refused or found.warned else "nothing to find fault with")
    return 1 if found.refused else 0
