"""Libraries that only formats need, imported when they are asked for."""

from importlib import import_module
from typing import Any

from xai_exp.config import InputError


def library(name: str) -> Any:  # noqa: ANN401
    """A library of the extra `formats`.

    Raises:
        InputError: with the line that installs it, when it is not there.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise InputError(
            f"{package}: it is not installed ({error}); allowed: pip install 'xai-exp[formats]'"
        ) from error
