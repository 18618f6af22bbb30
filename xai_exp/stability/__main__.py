"""`python -m xai_exp.stability study=NAME`: the stability report on what tracking holds."""

import sys
from collections.abc import Sequence
from typing import Any

from xai_exp.config import InputError
from xai_exp.studies.stability_report import report
from xai_exp.tracking import MLflow

_KEYS = ("study", "least_accuracy", "root", "uri", "experiment")


def main(arguments: Sequence[str]) -> None:
    """Report on one study.

    Raises:
        InputError: for a key that does not exist, or without a study.
    """
    parts = [word.partition("=") for word in arguments]
    given: dict[str, Any] = {key: value for key, _, value in parts}
    if "study" not in given or set(given) - set(_KEYS):
        raise InputError(
            f"got {' '.join(arguments) or 'nothing'}; allowed: study=NAME and any of "
            "least_accuracy=0.95 root=mlruns uri=URL experiment=xai_exp"
        )
    study, least = given.pop("study"), given.pop("least_accuracy", "0.95")
    try:
        number = float(least)
    except ValueError as error:
        raise InputError(f"least_accuracy: got {least}; allowed: a number in 0..1") from error
    report(MLflow(**given).open(), study, number)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as wrong:
        sys.exit(f"error: {wrong}")
